"""Convolutions whose transposed maps are computed as forward convolutions: grouped, or by processor."""

import pytest
from helpers.compare import FLOAT64, assert_same
from helpers.layer_cases import unoptimized_graphs  # noqa: F401

tf = pytest.importorskip("tensorflow")
convolutions = pytest.importorskip("rap_keras.tensors.tensorflow_convolutions")
pytestmark = [
    pytest.mark.tensorflow("its convolutions"),
    pytest.mark.usefixtures("unoptimized_graphs"),
]


SETTINGS = [  # sizes, kernel sizes, strides, dilations, padding
    ((9,), (3,), 1, 1, "VALID"),
    ((8,), (4,), 2, 1, "SAME"),
    ((9,), (3,), 1, 2, "SAME"),
    ((7, 8), (3, 2), 1, 1, "SAME"),
    ((7, 8), (3, 2), 2, 1, "VALID"),
    ((6, 9), (1, 5), 3, 1, "SAME"),
    ((7, 8), (2, 3), 3, 1, "VALID"),
    ((7, 9), (3, 4), 1, 2, "SAME"),
    ((7, 9), (3, 4), 1, 2, "VALID"),
]


@pytest.mark.parametrize("groups", [3, 1])
@pytest.mark.parametrize(
    ("sizes", "lengths", "strides", "dilations", "padding"), SETTINGS, ids=repr
)
@pytest.mark.quick(
    "(8,)-(4,)-2-1-'SAME'-3",
    "(7, 8)-(3, 2)-1-1-'SAME'-3",
    "(7, 8)-(3, 2)-2-1-'VALID'-3",
    "(7, 8)-(2, 3)-3-1-'VALID'-3",
)
def test_gradients_equal_those_of_each_group(
    sizes, lengths, strides, dilations, padding, groups, rng, monkeypatch
):
    monkeypatch.setattr(convolutions, "_transposed_faster_as_forward", lambda shape: True)
    rank = len(sizes)
    apply = convolutions._grouped((strides,) * rank, (dilations,) * rank, groups)
    x = rng.normal(size=(2, *sizes, 6))
    kernel = rng.normal(size=(*lengths, 6 // groups, 9))

    def by_groups(x, kernel):
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        settings = {"strides": strides, "padding": padding, "dilations": dilations}
        return tf.concat([tf.nn.convolution(*part, **settings) for part in parts], -1)

    def together(x, kernel):
        return apply(x, kernel, padding)

    results = []
    for function in (together, by_groups):

        @tf.function(input_signature=[tf.TensorSpec([None] * (rank + 1) + [6], tf.float64)])
        def run(x, function=function):
            weights = tf.constant(kernel)
            with tf.GradientTape() as tape:
                tape.watch([x, weights])
                z = function(x, weights)
            s = tf.sin(tf.cast(tf.range(tf.size(z)), z.dtype))
            return z, *tape.gradient(z, [x, weights], tf.reshape(s, tf.shape(z)))

        results.append(run(tf.constant(x)))
    for found, expected in zip(*results, strict=True):
        assert_same(found, expected, FLOAT64)
