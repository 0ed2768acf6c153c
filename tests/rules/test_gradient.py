import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
from helpers.layer_cases import close
from helpers.tensors import array, graphed, tensor

from rap_keras.rules import gradient

L = keras.layers
F64 = {"dtype": "float64"}


def differences(function, xs, r, step=1e-6):
    """d <function(xs), r> / d xs, by central differences, one element at a time."""
    gradients = []
    for k, x in enumerate(xs):
        result = np.zeros(x.shape)
        for index in np.ndindex(*x.shape):
            values = []
            for sign in (1, -1):
                moved = [a.copy() for a in xs]
                moved[k][index] += sign * step
                values.append(np.sum(array(function([tensor(a) for a in moved])) * r))
            result[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(result)
    return gradients


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (L.Dense(3, activation="tanh", **F64), [(4,)]),
        (L.Conv2D(2, 2, activation="relu", **F64), [(3, 3, 2)]),
        (L.Conv1D(2, 3, padding="causal", activation="gelu", **F64), [(4, 2)]),
        (L.SeparableConv1D(2, 2, activation="sigmoid", **F64), [(4, 2)]),
        (L.Conv2DTranspose(2, 3, strides=2, activation="elu", **F64), [(2, 2, 2)]),
        (L.ReLU(**F64), [(5,)]),
        (L.Softmax(**F64), [(5,)]),
        (L.BatchNormalization(**F64), [(3, 2)]),
        (L.LayerNormalization(**F64), [(5,)]),
        (L.MaxPooling2D(2, padding="same", **F64), [(3, 3, 2)]),
        (L.AveragePooling1D(2, **F64), [(4, 2)]),
        (L.Flatten(**F64), [(2, 3)]),
        (L.Add(**F64), [(2, 3), (1, 3)]),
        (L.Multiply(**F64), [(2, 3), (2, 3)]),
        (L.Maximum(**F64), [(2, 3), (2, 3)]),
        (L.Subtract(**F64), [(4,), (4,)]),
        (L.Concatenate(**F64), [(2, 3), (2, 1)]),
        (L.Dot(1, **F64), [(4,), (4,)]),
        (L.Dropout(0.5, **F64), [(4,)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, L.Layer) else "",
)
def test_gradient_is_the_slope(layer, shapes):
    rng = cases.generator(type(layer).__name__)
    xs = [rng.normal(size=(2, *shape)) for shape in shapes]

    def call(xs):
        return layer(xs if len(xs) > 1 else xs[0])

    @graphed
    def graph(xs, r):
        outputs = [call(xs)]
        return gradient.gradient(layer, xs, outputs, [r])

    tensors = [tensor(x) for x in xs]
    shape = call(tensors).shape
    weights = [rng.normal(size=value.shape) for value in layer.get_weights()]
    layer.set_weights([np.abs(w) + 0.1 if w.ndim == 1 else w for w in weights])
    r = rng.normal(size=shape)
    expected = differences(call, xs, r)
    assert any(a.any() for a in expected)
    for found, slope in zip(graph(tensors, tensor(r)), expected, strict=True):
        close(found, slope, 1e-6)


def test_inputs_without_influence_get_zeros():
    x, y, r = (tensor([[value, value]]) for value in (1.0, 2.0, 3.0))

    def doubled(xs):
        return 2 * xs[0]

    found = gradient.gradient(doubled, [x, y], [doubled([x, y])], [r])
    np.testing.assert_array_equal(found[0], 2 * r)
    np.testing.assert_array_equal(found[1], 0 * r)


def test_gradient_takes_a_given_transposed_map():
    r = tensor([[3.0, 4.0]])
    found = gradient.gradient(None, [r], [r], [r], transposed=lambda s: [5 * t for t in s])
    np.testing.assert_array_equal(found[0], 5 * r)
