import functools

import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import reference
from helpers.layer_cases import ALL_CASES, CASES, close, unoptimized_graphs  # noqa: F401

from rap_keras.network import linear
from rap_keras.rules import lrp

L = keras.layers
pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
KINDS = ("signed", "nonnegative", "sparse")
every_case = pytest.mark.parametrize("case", ALL_CASES, ids=repr)
OPTIONS = {
    "epsilon": [{"epsilon": e, "bias": b} for b in (False, True) for e in (0.0, 1e-7, 0.1)],
    "alpha_beta": [
        {"bias": "none"},
        {"bias": "none", "one_sided": True},
        {"bias": "split", "one_sided": True},
        {"alpha": 1.5, "beta": 0.5, "bias": "whole"},
        {"alpha": 2.0, "beta": 1.0, "bias": "none"},
        {"alpha": 2.0, "beta": 1.0, "bias": "whole"},
        {"alpha": 2.0, "beta": 1.0, "positive_inputs": True},
        {"alpha": 1.0, "beta": 0.0, "bias": "split"},
        {"alpha": 1.5, "beta": 0.5, "bias": "split"},
        {"alpha": 2.0, "beta": 1.0, "bias": "split"},
    ],
    "gamma": [{"gamma": 3.0}, {"signed": True}, {}],
    "z_plus": [{}],
    "w_square": [{}],
    "flat": [{}],
    "box": [{}],
}
LAST = {rule: options[-1:] for rule, options in OPTIONS.items()}  # one of each rule


def box_of(case, kind):
    """Bounds around the input; a fifth of the elements is known exactly, as padding is."""
    x = cases.inputs(case, kind)
    rng = cases.generator(case.name, kind, "box")
    known = rng.random(x.shape) < 0.2
    low, high = (np.where(known, 0, rng.random(x.shape)) for _ in range(2))
    return x - low, x + high


def arrays_of(case, kinds=KINDS, dtype="float64"):
    """x, R, low and high: all kinds of input in one batch."""
    parts = [(cases.inputs(case, k), cases.relevance(case), *box_of(case, k)) for k in kinds]
    return [np.concatenate(part).astype(dtype) for part in zip(*parts, strict=True)]


def apply(layer, x, r, low, high, stages=None, rules=OPTIONS, **facts):
    """The results of rules with options."""
    results = {}
    for rule in rules:
        known = facts | ({"box": (low, high)} if rule == "box" else {})
        function = functools.partial(getattr(lrp, rule), layer, [x], [], [r], **known)
        results[rule] = [function(stages=stages, **options)[0] for options in rules[rule]]
    return results


def apply_to_stages(layer, x, *arrays, **options):
    return apply(layer, x, *arrays, stages=linear.stages(layer, x), **options)


def run(case, arrays, dtype="float64", **options):
    function = functools.partial(apply_to_stages, cases.build(case, dtype), **options)
    return cases.outside_a_graph(case, function)(*map(tf.constant, arrays))


@functools.cache
def computed(case):
    return run(case, arrays_of(case))


def expected(case, rule, options, arrays, dtype="float64"):
    matrices, shapes = cases.matrices(case, dtype)
    zero = [np.zeros(matrix.shape[1]) for matrix in matrices[:-1]]
    biases = [*zero, reference.bias_of(cases.build(case, dtype), shapes[-1]).ravel()]
    if rule == "flat":
        matrices = cases.seen(case)
    if rule == "box":
        return expected_in_box(case, matrices, *arrays)
    step = functools.partial(getattr(reference, f"lrp_{rule}"), **options)
    steps = [functools.partial(step, b=b) for b in biases]
    return reference.layer_rule(steps, matrices, *arrays, cases.seen(case))


def expected_in_box(case, matrices, *arrays):
    """The box is the first map's; maps behind it share by z alone."""
    behind = [functools.partial(reference.lrp_epsilon, b=0, bias=False)] * (len(matrices) - 1)
    samples = []
    for x, r, low, high in zip(*(a.astype(float) for a in arrays), strict=True):
        first = functools.partial(reference.lrp_box, b=0, low=low.ravel(), high=high.ravel())
        steps, seen = [first, *behind], cases.seen(case)
        samples.append(reference.layer_rule(steps, matrices, x[None], r[None], seen)[0])
    return np.stack(samples)


def agree(case, found, arrays, dtype="float64", rules=OPTIONS, tolerance=1e-9):
    """Each result equals the reference, up to a fraction of its largest element."""
    for rule, all_options in rules.items():
        given = arrays if rule == "box" else arrays[:2]
        for options, a in zip(all_options, found[rule], strict=True):
            b = expected(case, rule, options, given, dtype)
            assert np.isfinite(a).all(), (rule, options)
            assert a.dtype == dtype
            top = max(np.abs(b).max(), 1e-30)
            limit = tolerance * top
            if dtype == "float32":  # small totals make large shares and large rounding errors
                limit *= max(1, 0.1 * top / np.abs(arrays[1]).max())
            assert np.abs(a - b).max() <= limit, (rule, options)
            nowhere = case.name == "separable2d_channels_first"  # its weights > 0 do not meet
            assert nowhere or np.abs(b).max() > 1e-3, (rule, options)


SIGNED = [rule for rule in OPTIONS if rule != "z_plus"]


@pytest.mark.parametrize("rule", SIGNED)
@every_case
def test_rule(case, rule):
    agree(case, computed(case), arrays_of(case), rules={rule: OPTIONS[rule]})


@every_case
def test_z_plus(case):
    arrays = arrays_of(case, ["nonnegative"])
    rules = {"z_plus": [{}]}
    agree(case, run(case, arrays, rules=rules), arrays, rules=rules)


ONE_OF_EACH_TYPE = {case.make.func: case for case in reversed(CASES)}.values()
one_of_each_type = pytest.mark.parametrize("case", ONE_OF_EACH_TYPE, ids=repr)


@one_of_each_type
def test_nonnegative_is_a_shortcut_only(case):
    arrays = arrays_of(case, ["nonnegative"])
    rules = {rule: OPTIONS[rule] for rule in ("alpha_beta", "gamma")}
    agree(case, run(case, arrays, rules=rules, nonnegative=True), arrays, rules=rules)


@pytest.mark.parametrize("name", ["dense", "separable2d"])
def test_behind_a_relu_no_neuron_has_negative_z(name):
    """To be told so takes away only what has no relevance. Between two maps there is no ReLU."""
    (case,) = (case for case in CASES if case.name == name)
    x, r, *_ = (tf.constant(a) for a in arrays_of(case))
    layer = cases.build(case)
    r = tf.where(linear.stages(layer, x)[-1].output > 0, r, 0)
    for rule, options in (("alpha_beta", {"one_sided": True}), ("gamma", {"signed": True})):
        found, told = (
            getattr(lrp, rule)(layer, [x], [], [r], **options, rectified=rectified)[0]
            for rectified in (False, True)
        )
        close(told, found)


@one_of_each_type
def test_single_precision(case):
    arrays = arrays_of(case, ["signed"], "float32")
    rules = {rule: LAST[rule] for rule in SIGNED}
    found = run(case, arrays, "float32", rules=rules)
    agree(case, found, arrays, "float32", rules, tolerance=1e-4)


@one_of_each_type
def test_stages_are_computed_where_they_are_not_given(case):
    arrays = [tf.constant(a) for a in arrays_of(case)]
    function = functools.partial(apply, cases.build(case), rules=LAST)
    for rule, found in cases.outside_a_graph(case, function)(*arrays).items():
        close(found[0], computed(case)[rule][-1])


def by_output(case, rule, **options):
    """For each output neuron alone: what the inputs of the last map get, and what flows into it.

    Returns R (n,), the sums of relevance (n,), z and z+ summed over the inputs (n,), b (n,).
    """
    layer, (matrices, shapes) = cases.build(case), cases.matrices(case)
    n = matrices[-1].shape[1]
    r = cases.generator(case.name, "by output").normal(size=n)
    batch = np.tile(cases.inputs(case, "signed")[:1], (n, *[1] * len(case.shape)))

    def function(x, relevance):
        last = linear.stages(layer, x)[-1:]
        return getattr(lrp, rule)(layer, [x], [], [relevance], stages=last, **options)[0], last[0].x

    relevance = (np.eye(n) * r).reshape(n, *shapes[-1])
    found, x = cases.outside_a_graph(case, function)(tf.constant(batch), tf.constant(relevance))
    z = x.numpy()[0].ravel()[:, None] * matrices[-1]
    sums = found.numpy().reshape(n, -1).sum(1)
    return r, sums, z.sum(0), np.maximum(z, 0).sum(0), reference.bias_of(layer, shapes[-1]).ravel()


def quotient(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@one_of_each_type
def test_epsilon_conserves_but_for_bias_and_epsilon(case, epsilon):
    r, sums, z, _, b = by_output(case, "epsilon", epsilon=epsilon)
    epsilons = np.where(z + b >= 0, epsilon, -epsilon)
    taken = r * quotient(b + epsilons, z + b + epsilons)
    close(sums + taken, np.where(z + b + epsilons == 0, 0, r), 1e-9)
    alone = by_output(case, "epsilon", epsilon=0.0, bias=False)
    close(alone[1], np.where(z == 0, 0, r), 1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (2.0, 1.0)])
@one_of_each_type
def test_alpha_beta_conserves_but_for_bias(case, alpha, beta):
    """An output without negative contributions shares alpha R, as it does without positive ones."""
    r, sums, z, up, b = by_output(case, "alpha_beta", alpha=alpha, beta=beta)
    positive, negative = up + np.maximum(b, 0), z - up + np.minimum(b, 0)
    taken = alpha * quotient(np.maximum(b, 0), positive)
    taken -= beta * quotient(np.minimum(b, 0), negative)
    close(sums + r * taken, r * (alpha * (positive > 0) - beta * (negative < 0)), 1e-9)
    both = (positive > 0) & (negative < 0)
    assert both.mean() > 0.3
    close((sums + r * taken)[both], r[both], 1e-9)


@one_of_each_type
def test_a_dead_sample(case):
    """A sample of zeros, in a box of zeros; the other samples notice nothing of it."""
    arrays = arrays_of(case)
    for k in (0, 2, 3):
        arrays[k][1] = 0
    found = run(case, arrays, rules=LAST)
    agree(case, found, arrays, rules={rule: LAST[rule] for rule in SIGNED})
    for rule in LAST:
        close(found[rule][0][2:], computed(case)[rule][-1][2:])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("exponent", [-2, 3, 20, 40])
def test_contributions_too_small_to_divide_by_give_finite_relevance(dtype, exponent):
    """From a hundredth of the smallest normal number, which is not kept exactly, upwards."""
    scale = float(np.finfo(dtype).tiny) * 10.0**exponent
    layer = L.Dense(4, use_bias=False, dtype=dtype)
    layer.build((None, 5))
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 5)) * min(scale, 1e-3)
    arrays = [a.astype(dtype) for a in (x, rng.normal(size=(6, 4)), x, np.maximum(x, 0))]
    assert arrays[0].any()
    for rule, found in apply(layer, *map(tf.constant, arrays)).items():
        assert all(np.isfinite(value).all() for value in found), rule


@pytest.mark.parametrize(
    ("rule", "options", "relevance"),
    [
        ("epsilon", {"epsilon": 0.0}, (1.5, 1.5)),
        ("epsilon", {"epsilon": 0.0, "even": False}, (0.5, 0.5)),
        ("epsilon", {"epsilon": 0.1}, (10 + 1 / 2.1, -10 + 1 / 2.1)),
        ("alpha_beta", {}, (1.0, 0.0)),
        ("alpha_beta", {"one_sided": True}, (2.0, 1.0)),
        ("alpha_beta", {"one_sided": True, "even": False}, (1.5, 0.5)),
        ("alpha_beta", {"alpha": 2.0, "beta": 1.0}, (2.0, -1.0)),
        ("gamma", {"gamma": 0.25}, (6.0, -3.0)),
        ("gamma", {"signed": True}, (6.0, -3.0)),
        ("gamma", {"signed": True, "even": False}, (5.5, -3.5)),
        ("z_plus", {}, (1.0, 0.0)),
        ("w_square", {}, (1.5, 1.5)),
        ("w_square", {"even": False}, (1.0, 1.0)),
        ("flat", {}, (1.5, 1.5)),
        ("box", {}, (2.0, 1.0)),
        ("box", {"even": False}, (1.0, 0.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dead_outputs_by_hand(rule, options, relevance):
    """x = (1, 1) in [0, 1]; one output cancels, one has nothing positive, one has no weights."""
    layer = L.Dense(3, use_bias=False, dtype="float64")
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0, -1.0, 0.0], [-1.0, -1.0, 0.0]])])
    arrays = (np.ones((1, 2)), np.ones((1, 3)), np.zeros((1, 2)), np.ones((1, 2)))
    found = apply(layer, *map(tf.constant, arrays), rules={rule: [options]})
    close(found[rule][0], [relevance])


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((4, 3), {}),
        ((4, 3), {"axis": 1}),
        ((2, 3, 2), {"axis": 1, "scale": False}),
        ((2, 3, 2), {"center": False}),
    ],
    ids=repr,
)
def test_rules_of_batch_normalization(shape, settings):
    """A linear layer with one weight per element."""
    layer = L.BatchNormalization(**settings, dtype="float64")
    layer.build((None, *shape))
    rng = np.random.default_rng(4)
    layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    x, r = rng.normal(size=(2, 3, *shape))
    zeros = np.zeros((1, *shape))
    b = layer(zeros).numpy().ravel()
    matrix = np.diag(layer(zeros + 1).numpy().ravel() - b)
    rules = {rule: OPTIONS[rule] for rule in ("epsilon", "alpha_beta", "gamma")}
    found = apply(layer, *map(tf.constant, (x, r, x, x)), rules=rules)
    for rule, all_options in rules.items():
        for options, value in zip(all_options, found[rule], strict=True):
            step = functools.partial(getattr(reference, f"lrp_{rule}"), b=b, **options)
            close(value, reference.layer_rule([step], [matrix], x, r), 1e-9)


@pytest.mark.parametrize("given", [True, False], ids=["transposed", "in_a_graph"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize(
    ("cls", "pool", "strides", "padding"),
    [
        (L.AveragePooling1D, (2,), (2,), "valid"),
        (L.AveragePooling2D, (2, 3), (1, 2), "same"),
        (L.AveragePooling2D, (2, 2), (2, 2), "valid"),
    ],
)
def test_ratio_of_average_pooling(cls, pool, strides, padding, epsilon, given):
    shape = (5, 4, 2) if len(pool) == 2 else (6, 2)
    layer = cls(pool, strides, padding, dtype="float64")
    matrix = reference.averages(shape, *reference.windows(shape, pool, strides, padding))
    rng = cases.generator(cls.__name__)
    x = rng.normal(size=(3, *shape)) * (rng.random((3, *shape)) < 0.6)
    x[0, :2] = 0  # an output that is 0
    outputs = (x.reshape(3, -1) @ matrix).reshape(layer(x).shape)
    r = rng.normal(size=outputs.shape)
    assert (outputs == 0).any()

    def back(s):
        s = s[0].numpy().reshape(3, -1)
        return [tf.constant((s @ matrix.T).reshape(x.shape))]

    def function(x, r):
        options = {"epsilon": epsilon} | ({"transposed": back} if given else {})
        return lrp.ratio(layer, [x], [layer(x)], [r], **options)[0]

    run_it = function if given else tf.function(function, autograph=False)

    def step(x, matrix, relevance, seen):
        if epsilon == 0:
            return reference.signed_proportion(x, matrix, relevance)
        return reference.lrp_epsilon(x, matrix, relevance, seen, b=0, epsilon=epsilon)

    close(
        run_it(tf.constant(x), tf.constant(r)), reference.layer_rule([step], [matrix], x, r), 1e-9
    )
