import keras
import pytest
from keras import layers, ops

from rap_keras.backends.keras3.trace import trace
from rap_keras.network import layer_types


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (layers.Dense(2, activation="relu"), "relu"),
        (layers.Dense(2), None),
        (layers.Dense(2, activation=lambda x: x), "custom"),
        (layers.Dense(2, activation=layers.Softmax()), "softmax"),
        (layers.Conv2D(2, 3, activation="swish"), "silu"),
        (layers.Activation("sigmoid"), "sigmoid"),
        (layers.ReLU(), "relu"),
        (layers.ReLU(6.0), "relu6"),
        (layers.ReLU(negative_slope=0.1), "leaky_relu"),
        (layers.LeakyReLU(), "leaky_re_l_u"),
        (layers.Flatten(), None),
    ],
)
def test_activations_have_one_name(layer, name):
    assert layer_types.activation_name(layer) == name


def test_names_count_only_for_keras_classes():
    impostor = type("Dense", (), {})()
    assert not layer_types.is_a(impostor, {"Dense"})
    assert layer_types.lookup(impostor, {type(impostor): 1}) == 1
    named = type("Own", (layers.Dense,), {})(2)
    other = type("Own", (layers.Dense,), {"call": lambda self, x: x})(2)
    assert layer_types.is_a(named, {"Dense"})
    assert not layer_types.is_a(other, {"Dense"})


def facts_before_the_last_layer(*stack, shape=(8, 8, 4)):
    x = inputs = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    graph = trace(model)
    return graph, graph.nodes[-1]


NONNEGATIVE = [
    ([layers.ReLU()], True),
    ([layers.Activation("sigmoid"), layers.MaxPooling2D(), layers.Dropout(0.1)], True),
    ([layers.Conv2D(3, 1, activation="relu"), layers.ZeroPadding2D()], True),
    ([layers.ReLU(), layers.BatchNormalization()], False),
    ([layers.ReLU(), layers.UpSampling2D(interpolation="bicubic")], False),
    ([layers.ReLU(), lambda x: x - 1.0], False),
    (
        [layers.ReLU(), lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1)],
        False,
    ),
    ([layers.Activation("tanh")], False),
    ([layers.LeakyReLU()], False),
    ([layers.MaxPooling2D()], False),
    ([layers.Dense(3, activation="relu"), lambda x: layers.Add()([x, x])], True),
]


@pytest.mark.parametrize(("stack", "expected"), NONNEGATIVE)
def test_signs_are_known_from_the_layers(stack, expected):
    graph, node = facts_before_the_last_layer(*stack)
    assert graph.nonnegative(node) == expected


def test_gates_are_bounded_or_broadcast():
    image = keras.Input((8, 8, 4))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(image)
    gated = {
        "sigmoid": (layers.Activation("sigmoid")(image), image, [True, False]),
        "broadcast": (image, layers.Conv2D(4, 1)(squeezed), [False, True]),
        "scaled": (image, layers.ReLU(6.0)(image + 3.0) * (1 / 6), [False, True]),
        "equal": (image, layers.Conv2D(4, 1)(image), [False, False]),
    }
    for a, b, expected in gated.values():
        graph = trace(keras.Model(image, layers.Multiply()([a, b])))
        assert graph.gates(graph.nodes[-1]) == expected


def test_first_and_last_linear_layers():
    inputs = keras.Input((8,))
    a = layers.Dense(4, name="a")(inputs)
    b = layers.Dense(4, name="b")(inputs)
    c = layers.Dense(4, name="c")(a)
    joined = layers.Concatenate()([b, c])
    out = layers.Dense(4, name="out")(joined)
    skip = layers.Dense(4, name="skip")(inputs)
    graph = trace(keras.Model(inputs, layers.Add()([out, skip])))
    assert graph.first_linear() == {"a", "b", "skip"}
    assert graph.last_linear() == {"out", "skip"}
