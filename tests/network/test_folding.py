import contextlib

import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
from helpers import reference
from helpers.compare import FLOAT32, FLOAT64, assert_same
from helpers.layer_cases import CASES, unoptimized_graphs  # noqa: F401
from helpers.tensors import array, tensor
from helpers.thinned import pairwise_or_slow, slow_unless

from rap_keras import create_analyzer
from rap_keras.analyzers.registry import read_method
from rap_keras.backends.keras3.trace import trace
from rap_keras.composites import lrp
from rap_keras.network import kernels, linear
from rap_keras.network.folding import fold
from rap_keras.propagate import backward, forward

L = keras.layers
FIRST_CHANNELS = {"data_format": "channels_first"}
EXPLAINED = ("lrp.z", "lrp.epsilon", "lrp.alpha_2_beta_1", "lrp.w_square")


def bn(name="bn", **settings):
    return L.BatchNormalization(name=name, **settings)


def conv(filters=4, size=3, name="conv", **settings):
    return L.Conv2D(filters, size, name=name, **settings)


def depthwise(**settings):
    return L.DepthwiseConv2D(3, depth_multiplier=2, name="conv", **settings)


def separable(**settings):
    return L.SeparableConv2D(4, 3, depth_multiplier=2, name="conv", **settings)


def transposed(**settings):
    return L.Conv2DTranspose(4, 3, strides=2, name="conv", **settings)


IMAGE = (5, 4, 2)
FOUR = (4, 4, 4)
# Chains in which one linear layer takes all normalizations: a shape, and the layers.
FOLDED = {
    "conv_bn": (IMAGE, lambda: [conv(), bn()]),
    "conv_bn_no_bias": (IMAGE, lambda: [conv(use_bias=False), bn()]),
    "conv_bn_no_scale": (IMAGE, lambda: [conv(), bn(scale=False)]),
    "conv_bn_no_center": (IMAGE, lambda: [conv(strides=2), bn(center=False)]),
    "bn_conv": (IMAGE, lambda: [bn(), conv()]),
    "bn_conv_same": (IMAGE, lambda: [bn(), conv(padding="same", strides=2)]),
    "bn_conv_no_bias": (IMAGE, lambda: [bn(), conv(padding="same", use_bias=False)]),
    "bn_conv_dilation": (IMAGE, lambda: [bn(center=False), conv(size=2, dilation_rate=2)]),
    "dense_bn": ((6,), lambda: [L.Dense(5, name="conv"), bn()]),
    "bn_dense": ((6,), lambda: [bn(scale=False), L.Dense(5, name="conv")]),
    "dense_bn_sequence": ((3, 4), lambda: [L.Dense(5, name="conv"), bn()]),
    "conv1d_bn": ((7, 2), lambda: [L.Conv1D(3, 3, name="conv"), bn()]),
    "bn_conv1d_causal": ((7, 2), lambda: [bn(), L.Conv1D(3, 3, padding="causal", name="conv")]),
    "depthwise_bn": (IMAGE, lambda: [depthwise(), bn()]),
    "bn_depthwise": (IMAGE, lambda: [bn(), depthwise(padding="same")]),
    "separable_bn": (IMAGE, lambda: [separable(), bn()]),
    "bn_separable": (IMAGE, lambda: [bn(), separable(padding="same")]),
    "transposed_bn": ((3, 3, 2), lambda: [transposed(), bn()]),
    "bn_transposed": ((3, 3, 2), lambda: [bn(), transposed(padding="same")]),
    "groups_bn": (FOUR, lambda: [conv(6, groups=2), bn()]),
    "bn_groups": (FOUR, lambda: [bn(), conv(6, groups=2, padding="same")]),
    "conv_bn_conv": (IMAGE, lambda: [conv(), bn(), conv(3, 2, "conv2")]),
}
NOT_FOLDED = {
    "activation_between": (IMAGE, lambda: [conv(activation="relu"), bn()]),
    "other_axis": (IMAGE, lambda: [conv(), bn(axis=1)]),
    "other_axis_before": (IMAGE, lambda: [bn(axis=2), conv()]),
    "two_in_a_row": (IMAGE, lambda: [conv(), bn("inner"), bn()]),
    "two_in_a_row_before": (IMAGE, lambda: [bn(), bn("inner"), conv()]),
    "einsum": ((3, 4), lambda: [L.EinsumDense("abc,cd->abd", (3, 5), name="conv"), bn()]),
}
NAMES = ["conv", "relu", "flatten", "head"]


@contextlib.contextmanager
def precision(dtype):
    """Sets the precision of new layers."""
    before = keras.config.floatx(), keras.config.dtype_policy().name
    try:
        keras.config.set_floatx(dtype if dtype == "float64" else "float32")
        keras.config.set_dtype_policy(dtype)
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def randomized(model, seed=0):
    """The model with weights of both signs; variances are positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(size=weight.shape)
        weight.assign(np.abs(value) + 0.2 if "variance" in weight.path else value)
    return model


def chain(shape, make, dtype="float64", tail=True):
    with precision(dtype):
        ends = [L.ReLU(name="relu"), L.Flatten(name="flatten"), L.Dense(3, name="head")]
        layers = [keras.Input(shape, name="in"), *make(), *ends[: None if tail else 0]]
        return randomized(keras.Sequential(layers))


def samples(model, n=4):
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(n, *t.shape[1:])) for t in model.inputs]
    return [tensor(a, t.dtype) for a, t in zip(arrays, model.inputs, strict=True)]


def names(graph):
    return [node.name for node in graph.nodes]


def folded_names(model):
    """The remaining nodes. The output must not change."""
    graph, x = fold(trace(model)), samples(model)
    wide = model.dtype == "float64"
    assert_same(
        forward(graph, x)[0], model(x if len(x) > 1 else x[0]), FLOAT64 if wide else FLOAT32
    )
    return names(graph)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", FOLDED)
def test_normalizations_are_folded_where_it_is_exact(case, dtype):
    expected = ["conv", "conv2", *NAMES[1:]] if case == "conv_bn_conv" else NAMES
    assert folded_names(chain(*FOLDED[case], dtype=dtype)) == expected


def test_between_two_linear_layers_the_first_takes_the_normalization():
    graph = fold(trace(chain(*FOLDED["conv_bn_conv"])))
    first, second = (node for node in graph.nodes if node.name in ("conv", "conv2"))
    assert (first.after.name, first.before) == ("bn", None)
    assert second.before is second.after is None


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_normalizations_are_not_folded_where_it_is_not_exact(case):
    at = {"other_axis_before": 0, "two_in_a_row_before": 0}.get(case, 1)
    assert folded_names(chain(*NOT_FOLDED[case])) == [*NAMES[:at], "bn", *NAMES[at:]]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: [conv(), bn()], ["conv"]),
        (lambda: [conv(), bn(), L.Flatten(), L.Softmax()], ["conv", "flatten"]),
        (lambda: [conv(), bn("inner"), bn()], ["conv", "bn"]),
        (lambda: [L.ReLU(), bn()], ["re_lu", "bn"]),
    ],
    ids=["norm", "softmax", "two", "relu"],
)
def test_the_last_layer_may_be_a_normalization(make, expected):
    keras.backend.clear_session()
    model = chain(IMAGE, make, tail=False)
    graph = fold(trace(model))
    assert names(graph) == expected
    (x,) = samples(model)
    logits = forward(trace(model), [x])[0]
    assert_same(forward(graph, [x])[0], logits, 1e-10)


def two_readers(x):
    y = conv(padding="same")(x)
    return L.Add(name="add")([L.ReLU(name="relu")(bn()(y)), y])


def read_twice(x):
    y = bn()(conv()(x))
    return L.Add(name="add")([conv(3, 1, "left")(y), conv(3, 1, "right")(y)])


def two_readers_after(x):
    y = bn()(L.ReLU(name="relu")(x))
    return L.Add(name="add")([conv(3, 1, "left")(y), conv(3, 1, "right")(y)])


def read_twice_by_one(x):
    y = bn()(conv()(x))
    return L.Add(name="add")([y, y])


def one_of_two_readers(x):
    """The convolution's output feeds a normalization, which feeds another convolution alone."""
    y = conv(padding="same")(x)
    return L.Add(name="add")([conv(4, 1, "conv2")(bn()(y)), y])


def concatenation(x):
    y = L.Concatenate(name="concatenate")([conv(2, name="left")(x), conv(3, name="right")(x)])
    return L.ReLU(name="relu")(bn()(y))


def concatenation_then_conv(x):
    y = L.Concatenate(name="concatenate")([conv(2, name="left")(x), conv(3, name="right")(x)])
    return conv(3, 2)(bn()(y))


def shared_conv(x):
    layer = conv(2, padding="same")
    return layer(L.ReLU(name="relu")(bn("bn0")(layer(x))))


def shared_conv_two_norms(x):
    layer = conv()
    y = [bn("bn0")(layer(x)), bn("bn1")(layer(L.ReLU(name="relu")(x)))]
    return L.Concatenate(name="concatenate")(y)


def shared_norm(x):
    norm = bn()
    return norm(conv(2, 2, "conv2")(L.ReLU(name="relu")(norm(conv(2)(x)))))


def nested(x):
    inner = keras.Sequential([keras.Input((3, 2, 4)), bn(), L.ReLU(name="relu")], name="block")
    return inner(conv()(x))


def softmax_head(x):
    return L.Dense(3, activation="softmax", name="head")(bn()(L.Flatten(name="flatten")(x)))


def channels_first(x):
    y = L.Permute((3, 1, 2), name="permute")(x)
    y = L.DepthwiseConv2D(2, name="conv", **FIRST_CHANNELS)(bn(axis=1)(y))
    return L.ReLU(name="relu")(y)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (two_readers, {"conv", "bn", "relu", "add"}),
        (read_twice, {"conv", "left", "right", "add"}),
        (two_readers_after, {"relu", "bn", "left", "right", "add"}),
        (read_twice_by_one, {"conv", "add"}),
        (one_of_two_readers, {"conv", "conv2", "add"}),
        (concatenation, {"left", "right", "concatenate", "bn", "relu"}),
        (concatenation_then_conv, {"left", "right", "concatenate", "conv"}),
        (shared_conv, {"conv", "relu", "conv:1"}),
        (shared_conv_two_norms, {"relu", "conv", "conv:1", "concatenate"}),
        (shared_norm, {"conv", "relu", "conv2"}),
        (nested, {"conv", "block/relu"}),
        (softmax_head, {"flatten", "head"}),
        pytest.param(
            channels_first,
            {"permute", "conv", "relu"},
            marks=pytest.mark.skipif(
                cases.VERSION < (3, 11), reason="TensorFlow has no such kernel on a CPU"
            ),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_branches(make, expected):
    with precision("float64"):
        inputs = keras.Input(IMAGE)
        model = randomized(keras.Model(inputs, make(inputs)))
    graph = fold(trace(model))
    assert sorted(names(graph)) == sorted(expected)
    (x,) = samples(model)
    found = forward(graph, [x])[0]
    assert_same(keras.ops.softmax(found) if make is softmax_head else found, model(x), 1e-10)


def test_both_sides_are_folded():
    """They are folded into one layer, which is exact."""
    model = chain(IMAGE, lambda: [bn("bn0"), conv(padding="same"), bn()])
    assert folded_names(model) == NAMES


@pytest.mark.parametrize(
    "case",
    slow_unless(
        lambda p: CASES.index(p.values[0]) % 2 == 1,
        [pytest.param(c, id=repr(c)) for c in CASES if "einsum" not in c.name],
    ),
)
def test_normalizations_on_both_sides_of_every_layer(case):
    layer = cases.build(case)
    x = tensor(cases.inputs(case, "signed"))
    axis = kernels.channel_axis(layer, len(x.shape))
    norms = [L.BatchNormalization(axis=axis, dtype="float64") for _ in range(2)]
    for norm, like in zip(norms, (x, layer(x)), strict=True):
        norm.build(like.shape)
        randomized(norm, seed=like.shape[axis])
    before, after = norms
    for first, second in ((before, None), (None, after), (before, after)):
        y = layer(first(x) if first else x)
        stages = linear.stages(layer, x, first, second)
        assert_same(stages[-1].output, second(y) if second else y, 1e-10)


def by_hand(model):
    """A chain with each linear layer and its normalizations as dense layers, made in NumPy."""
    maps, pending, dtype = [], None, model.dtype
    for layer in model.layers:
        shape = tuple(layer.input.shape[1:])
        if isinstance(layer, L.BatchNormalization):
            zeros = np.zeros((1, *shape))
            shift = array(layer(zeros)).astype(float).ravel()
            scale = array(layer(zeros + 1)).astype(float).ravel() - shift
            if maps:
                matrix, b, _ = maps[-1]
                maps[-1] = (matrix * scale, b * scale + shift, None)
            else:
                pending = scale[:, None], shift
        elif linear.is_linear(layer):
            matrices, shapes = reference.connections(layer, shape)
            biases = [np.zeros(m.shape[1]) for m in matrices]
            biases[-1] = reference.bias_of(layer, shapes[-1]).ravel()
            if pending:
                scale, shift = pending
                biases[0] += shift @ matrices[0]
                matrices[0] = scale * matrices[0]
                pending = None
            maps += [(m, b, None) for m, b in zip(matrices, biases, strict=True)]
        elif isinstance(layer, L.ReLU):
            maps[-1] = (*maps[-1][:2], "relu")
    dense = [L.Dense(len(b), activation=a, dtype=dtype) for _, b, a in maps]
    ends = [keras.Input(model.input_shape[1:], dtype=dtype), L.Flatten(dtype=dtype)]
    hand = keras.Sequential([*ends, *dense])
    for layer, (matrix, b, _) in zip(dense, maps, strict=True):
        layer.set_weights([matrix, b])
    return hand


def explained(graph, method, x):
    """The relevance of the input for the logit 1, as analyzers compute it."""
    logits, records = forward(graph, [x])
    start = logits * keras.ops.one_hot(1, logits.shape[-1], dtype=logits.dtype)
    table = lrp.composite(**read_method(method).preset.chosen({})).assign(graph)
    relevance, _ = backward(graph, table.rows, records, {}, {graph.output: start})
    return array(relevance[graph.inputs[0]])


@pytest.mark.parametrize("case", ["conv_bn", "bn_conv", "bn_conv_same"])
@pytest.mark.parametrize("variance", [1.0, 1e5])
def test_half_precision(case, variance):
    """Normalizations compute in single precision, because half precision may not represent variances."""
    model = chain(*FOLDED[case], dtype="mixed_float16")
    norm = model.get_layer("bn")
    norm.moving_variance.assign(np.full(norm.moving_variance.shape, variance))
    norm.moving_mean.assign(np.zeros(norm.moving_mean.shape))
    (x,) = samples(model)
    x *= variance**0.5 / 10
    logits = forward(fold(trace(model)), [x])[0]
    assert_same(*(keras.ops.cast(y, "float32") for y in (logits, model(x))), 2e-2)


@pytest.mark.parametrize(("case", "method"), pairwise_or_slow(list(FOLDED), EXPLAINED))
def test_relevance_is_that_of_layers_folded_by_hand(case, method):
    model = chain(*FOLDED[case])
    (x,) = samples(model)
    hand = trace(by_hand(model))
    found, expected = (explained(graph, method, x) for graph in (fold(trace(model)), hand))
    assert np.abs(expected).max() > 1e-3
    assert_same(found, expected, 1e-9)


@pytest.mark.parametrize("method", EXPLAINED)
@pytest.mark.parametrize("case", ["conv_bn", "bn_conv_same"])
def test_analyzers_fold_and_the_model_does_not_change(case, method):
    model = chain(*FOLDED[case], dtype="float32")
    weights = [array(w) for w in model.weights]
    calls = [(layer.name, len(layer._inbound_nodes)) for layer in model.layers]
    (x,) = samples(model)
    analyzers = {
        how: create_analyzer(method, model, batch_norm=how) for how in ("fold", "identity")
    }
    maps = {how: analyzer.analyze(x) for how, analyzer in analyzers.items()}
    expected = create_analyzer(method, by_hand(model)).analyze(x)
    assert_same(maps["fold"], expected)
    if (case, method) != ("conv_bn", "lrp.w_square"):  # w² does not see a scale of its outputs
        assert abs(maps["identity"] - expected).max() > 0.01 * abs(expected).max()
    assert [node.name for node, _ in analyzers["fold"].rules().rows] == NAMES
    assert calls == [(layer.name, len(layer._inbound_nodes)) for layer in model.layers]
    for before, weight in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, before)
