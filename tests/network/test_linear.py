import functools

import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
from helpers import reference
from helpers.layer_cases import ALL_CASES, CASES, close, unoptimized_graphs  # noqa: F401
from helpers.tensors import array, tensor

from rap_keras.errors import InputError
from rap_keras.network import kernels, layer_types, linear

pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
every_case = pytest.mark.parametrize("case", ALL_CASES, ids=repr)


@functools.cache
def computed(case):
    """For a signed batch and a random s: every stage's x, z and back(s), and the last z plus bias."""
    layer = cases.build(case)
    shapes = cases.matrices(case)[1]
    rng = cases.generator(case.name, "back")
    s = [rng.normal(size=(cases.BATCH, *shape)) for shape in shapes[1:]]

    @functools.partial(cases.outside_a_graph, case)
    def run(x, s):
        stages = linear.stages(layer, x)
        found = [(g.x, g.z, g.back(t), g.kernel) for g, t in zip(stages, s, strict=True)]
        return found, stages[-1].output

    found, value = run(tensor(cases.inputs(case, "signed")), list(map(tensor, s)))
    return s, [[array(t) for t in stage] for stage in found], array(value)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_reference_and_stages_give_what_keras_computes(case):
    layer = cases.build(case)
    x = cases.inputs(case, "signed")
    expected = array(layer(x))
    matrices, shapes = cases.matrices(case)
    z = functools.reduce(np.matmul, matrices, x.reshape(len(x), -1)).reshape(-1, *shapes[-1])
    close(z + reference.bias_of(layer, shapes[-1]), expected)
    close(computed(case)[2], expected)


@every_case
def test_stages_are_the_matrices(case):
    matrices, shapes = cases.matrices(case)
    _, found, value = computed(case)
    assert len(found) == len(matrices) == len(shapes) - 1
    before = cases.inputs(case, "signed")
    for (x, z, _, _), matrix, shape in zip(found, matrices, shapes[1:], strict=True):
        close(x, before)
        close(z, (x.reshape(len(x), -1) @ matrix).reshape(-1, *shape))
        before = z
    close(value, before + reference.bias_of(cases.build(case), shapes[-1]))


@every_case
def test_back_is_the_transposed_map(case):
    matrices, shapes = cases.matrices(case)
    s, found, _ = computed(case)
    for t, (x, z, back, _), matrix, shape in zip(s, found, matrices, shapes, strict=False):
        close(back, (t.reshape(len(t), -1) @ matrix.T).reshape(-1, *shape))
        close(np.sum(z * t), np.sum(x * back))


@every_case
def test_a_stage_takes_other_kernels(case):
    x = tensor(cases.inputs(case, "signed"))
    stages = linear.stages(cases.build(case), x)
    found = [stage.with_kernel(keras.ops.relu(stage.kernel))(stage.x) for stage in stages]
    matrices, shapes = cases.matrices(case)
    inputs = [x for x, *_ in computed(case)[1]]
    for x, z, matrix, shape in zip(inputs, found, matrices, shapes[1:], strict=True):
        close(z, (x.reshape(len(x), -1) @ np.maximum(matrix, 0)).reshape(-1, *shape))


def test_the_weights_of_the_layer_do_not_change():
    layer = cases.build(CASES[0])
    before = layer.get_weights()
    linear.stages(layer, tensor(cases.inputs(CASES[0], "signed")))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_activation_is_ignored():
    layer = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer="ones", dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 2))
    expected = array(layer(x))
    z = array(linear.stages(layer, tensor(x))[-1].output)
    assert (z < 0).any()
    close(np.maximum(z, 0), expected)


@pytest.mark.tensorflow("a graph of unknown sizes")
@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(3, 3, padding="same", strides=2, dtype="float64"),
        keras.layers.SeparableConv2D(3, 3, dtype="float64"),
        keras.layers.Conv2DTranspose(3, 3, strides=2, dtype="float64"),
        keras.layers.Conv2DTranspose(
            3, 3, strides=2, padding="same", output_padding=1, dtype="float64"
        ),
    ],
    ids=["conv", "separable", "transpose", "transpose_output_padding"],
)
def test_sizes_may_be_unknown_when_the_graph_is_built(layer):

    x = np.random.default_rng(1).normal(size=(2, 5, 4, 2))
    expected = array(layer(x))

    import tensorflow as tf

    @functools.partial(
        tf.function,
        autograph=False,
        input_signature=[tf.TensorSpec((None, None, None, 2), tf.float64)],
    )
    def graph(x):
        stage = linear.stages(layer, x)[-1]
        return stage.z, stage.x, stage.back(stage.z)

    z, inner, back = graph(tensor(x))
    close(z, expected)
    assert back.shape == inner.shape


def test_kernels_take_the_precision_of_the_input():
    layer = cases.build(CASES[0], "float32")
    x = tensor(cases.inputs(CASES[0], "signed"), "float64")
    stage = linear.stages(layer, x)[0]
    assert stage.kernel.dtype == stage.z.dtype == x.dtype
    assert stage.output.dtype == x.dtype


def test_low_rank_updates_count():
    layer = keras.layers.Dense(4, dtype="float64")
    layer.build((None, 6))
    layer.enable_lora(2)
    rng = np.random.default_rng(2)
    layer.set_weights([rng.normal(size=value.shape) for value in layer.get_weights()])
    x = rng.normal(size=(3, 6))
    close(linear.stages(layer, tensor(x))[0].output, array(layer(x)))


@pytest.mark.parametrize(
    "layer",
    [keras.layers.Dense(4), keras.layers.EinsumDense("ab,bc->ac", 4)],
    ids=["Dense", "EinsumDense"],
)
def test_quantized_layers_are_refused(layer):
    layer.build((None, 6))
    layer.quantize("int8")
    with pytest.raises(InputError, match="quantized"):
        linear.stages(layer, keras.ops.zeros((2, 6)))


def test_other_layers_are_refused():
    with pytest.raises(InputError, match="register a rule"):
        linear.stages(keras.layers.ReLU(), keras.ops.zeros((2, 6)))


def test_is_linear():
    assert all(linear.is_linear(cases.build(case)) for case in ALL_CASES)
    others = [keras.layers.ReLU(), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    assert not any(map(linear.is_linear, others))


def test_each_kernel_type_has_one_record():
    assert kernels.TYPES.keys() == layer_types.KERNEL | layer_types.BATCH_NORMALIZATION


@every_case
def test_records_fit_their_layers(case):
    layer, x = cases.build(case), tensor(cases.inputs(case, "signed"))
    known = kernels.type_of(layer)
    assert kernels.can_fold(layer) == (known.input_scaled is not None) == bool(known.neurons)
    if not known.neurons:
        assert isinstance(layer, keras.layers.EinsumDense)
        return
    # What the axes of neurons span: the output channels, or what the next map takes.
    stages = linear.stages(layer, x)
    for stage, axes in zip(stages, known.neurons, strict=True):
        count = np.prod([stage.kernel.shape[axis] for axis in axes])
        assert count == stage.z.shape[kernels.channel_axis(layer, len(stage.z.shape))]
