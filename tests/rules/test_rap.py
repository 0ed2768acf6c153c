import functools

import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import reference
from helpers.layer_cases import ALL_CASES, close, unoptimized_graphs  # noqa: F401
from helpers.thinned import slow_unless

from rap_keras.network import linear
from rap_keras.rules import rap

pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
KINDS = ("signed", "nonnegative", "sparse")
every_case = pytest.mark.parametrize("case", ALL_CASES, ids=repr)
every_kind = pytest.mark.parametrize("kind", KINDS)


def box_of(case, kind):
    """Bounds around the input; a fifth of the elements is known exactly, as padding is."""
    x = cases.inputs(case, kind)
    rng = cases.generator(case.name, kind, "box")
    known = rng.random(x.shape) < 0.2
    low, high = (np.where(known, 0, rng.random(x.shape)) for _ in range(2))
    return x - low, x + high


def rules(layer, x, r, box):
    stages = linear.stages(layer, x)
    outputs = [stages[-1].z]
    return {
        "inner": rap.inner(layer, [x], outputs, [r], stages=stages)[0],
        "head": rap.head(layer, [x], outputs, [r], stages=stages)[0],
        "first": rap.first(layer, [x], outputs, [r], stages=stages, box=box)[0],
    }


def rules_without_stages(layer, x, r, box):
    return {
        "inner": rap.inner(layer, [x], [], [r])[0],
        "head": rap.head(layer, [x], [], [r])[0],
        "first": rap.first(layer, [x], [], [r], box=box)[0],
    }


def rules_of_nonnegative(layer, x, r):
    stages = linear.stages(layer, x)
    outputs = [stages[-1].z]
    return {
        "inner": rap.inner(layer, [x], outputs, [r], stages=stages, nonnegative=True)[0],
        "head": rap.head(layer, [x], outputs, [r], stages=stages, nonnegative=True)[0],
    }


@functools.cache
def run(case):
    """The rules of a case: some in a graph, as analyzers run them."""
    layer = cases.build(case)
    function = cases.outside_a_graph(case, functools.partial(rules, layer))
    if case in ALL_CASES[::3]:
        function = tf.function(
            functools.partial(rules, layer), autograph=False, reduce_retracing=True
        )
    return lambda x, r, *box: function(x, r, box)


def arrays_of(case, kind, dtype="float64"):
    arrays = (cases.inputs(case, kind), cases.relevance(case), *box_of(case, kind))
    return [tf.constant(a.astype(dtype)) for a in arrays]


@functools.cache
def computed_kinds(case):
    """All kinds of input in one batch: sums are per sample."""
    arrays = zip(*(arrays_of(case, kind) for kind in KINDS), strict=True)
    results = run(case)(*(tf.concat(parts, 0) for parts in arrays))
    split = {name: np.split(value.numpy(), len(KINDS)) for name, value in results.items()}
    return {kind: {name: split[name][k] for name in split} for k, kind in enumerate(KINDS)}


def computed(case, kind):
    return computed_kinds(case)[kind]


@functools.cache
def expected(case, kind, rule, dtype="float64"):
    x, r = (a.astype(dtype) for a in (cases.inputs(case, kind), cases.relevance(case)))
    matrices = cases.matrices(case, dtype)[0]
    if rule != "first":
        last = {"inner": reference.inner, "head": reference.head}[rule]
        steps = [*[reference.inner] * (len(matrices) - 1), last]
        return reference.layer_rule(steps, matrices, x, r, cases.seen(case))
    low, high = (a.astype(dtype).reshape(len(x), -1) for a in box_of(case, kind))
    samples = []
    for n in range(len(x)):
        bounded = functools.partial(
            reference.first, low=low[n].astype(float), high=high[n].astype(float)
        )
        steps = [bounded, *[reference.inner] * (len(matrices) - 1)]
        one = slice(n, n + 1)
        samples.append(reference.layer_rule(steps, matrices, x[one], r[one], cases.seen(case)))
    return np.concatenate(samples)


@every_kind
@every_case
def test_inner(case, kind):
    close(computed(case, kind)["inner"], expected(case, kind, "inner"))


@every_kind
@every_case
def test_head(case, kind):
    close(computed(case, kind)["head"], expected(case, kind, "head"))


@every_kind
@every_case
def test_first(case, kind):
    close(computed(case, kind)["first"], expected(case, kind, "first"))


@every_case
def test_nonnegative_is_a_shortcut_only(case):
    x, r, *_ = arrays_of(case, "nonnegative")
    results = cases.outside_a_graph(case, rules_of_nonnegative)(cases.build(case), x, r)
    for rule, value in results.items():
        close(value, expected(case, "nonnegative", rule))


@every_case
def test_single_precision(case):
    x, r, *box = arrays_of(case, "signed", "float32")
    layer = cases.build(case, "float32")
    results = cases.outside_a_graph(case, rules)(layer, x, r, box)
    assert all(value.dtype == tf.float32 for value in results.values())
    for rule in ("inner", "head", "first"):
        close(results[rule], expected(case, "signed", rule, "float32"), 1e-4)


@pytest.mark.parametrize("case", ALL_CASES[::9], ids=repr)
def test_stages_are_computed_where_they_are_not_given(case):
    layer = cases.build(case)
    x, r, *box = arrays_of(case, "signed")
    results = cases.outside_a_graph(case, rules_without_stages)(layer, x, r, box)
    for rule, value in results.items():
        close(value, computed(case, "signed")[rule])


def total(a):
    return a.reshape(len(a), -1).sum(1)


@every_kind
@every_case
def test_inner_conserves(case, kind):
    x, r = cases.inputs(case, kind), cases.relevance(case)
    assert (total(x != 0) > 0).all()
    close(total(computed(case, kind)["inner"]), total(r))


@every_case
@pytest.mark.parametrize("kind", ["signed", "sparse"])
def test_head_and_first_conserve(case, kind):
    """Outputs that no weight leads to as well."""
    for rule in ("head", "first"):
        close(total(computed(case, kind)[rule]), total(cases.relevance(case)))


def test_filters_without_weights_share_evenly():
    """As some trained networks have them."""
    layer = keras.layers.Conv2D(2, 3, padding="same", use_bias=False, dtype="float64")
    layer.build((None, 4, 4, 2))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2))
    kernel[..., 1] = 0
    layer.set_weights([kernel])
    x, r = np.ones((1, 4, 4, 2)), np.zeros((1, 4, 4, 2))
    r[0, 0, 1, 1], r[0, 2, 2, 1] = (
        12,
        18,
    )  # at the border, where a neuron sees 2 x 3 pixels, and inside
    expected = np.zeros_like(x)
    expected[:, :2, :3] += 1
    expected[:, 1:, 1:] += 1
    found = rules(layer, *map(tf.constant, (x, r, (x - 1, x + 1))))
    close(found["head"], expected)
    close(found["first"], expected)


@pytest.mark.parametrize(
    "case", slow_unless(lambda p: p.values[0] in ALL_CASES[::3], ALL_CASES), ids=repr
)
def test_a_dead_sample_loses_nothing(case):
    """A sample of zeros, in a box of zeros; the other samples notice nothing of it.

    Neurons share evenly over what they see; where eq. 9 restores the sum, over all inputs.
    """
    arrays = [cases.inputs(case, "signed"), cases.relevance(case), *box_of(case, "signed")]
    for k in (0, 2, 3):
        arrays[k][1] = 0
    results = run(case)(*map(tf.constant, arrays))
    seen, r = cases.seen(case), arrays[1][1].ravel()
    everywhere = np.full(len(seen[0]), r.sum() / len(seen[0]))
    between = r if len(seen) == 1 else np.full(len(seen[1]), r.sum() / len(seen[1]))
    evenly = reference.evenly(seen[0], between)
    expected = {"inner": everywhere, "head": evenly, "first": evenly}
    if len(seen) > 1:
        expected["head"] = everywhere
    for name, value in results.items():
        close(value[1], expected[name].reshape(value[1].shape))
        close(value[2], computed(case, "signed")[name][2])


@pytest.mark.parametrize("rule", ["inner", "head"])
@pytest.mark.parametrize("scale", [1e-250, 1e-12, 1e12])
def test_the_scale_of_the_input_does_not_matter(rule, scale):
    for case in ALL_CASES[::9]:
        x, r = cases.inputs(case, "signed"), cases.relevance(case)
        low, high = box_of(case, "signed")
        results = run(case)(*map(tf.constant, (x * scale, r, low, high)))
        close(results[rule], computed(case, "signed")[rule])


@pytest.mark.parametrize("scale", [1e-323, 1e-310, 1e-300])
def test_contributions_too_small_to_divide_by_give_finite_relevance(scale):
    for case in ALL_CASES[::9]:
        x, r = cases.inputs(case, "signed") * scale, cases.relevance(case)
        assert x.any()
        results = run(case)(*map(tf.constant, (x, r, x, x)))
        assert all(np.isfinite(value).all() for value in results.values())


def test_inner_by_hand():
    """x = (1, 2, -1), w = (3, -1, 1): z = (3, -2, -1), A = 3, B = 3, R = 6.

    C = 6 (3/3, 2/6, 1/6) = (6, 2, 1); the excess of 3 is taken in three equal parts.
    """
    layer = keras.layers.Dense(1, dtype="float64")
    layer.build((None, 3))
    layer.set_weights([np.array([[3.0], [-1.0], [1.0]]), np.array([0.5])])
    x, r = tf.constant([[1.0, 2.0, -1.0]], tf.float64), tf.constant([[6.0]], tf.float64)
    close(rap.inner(layer, [x], [layer(x)], [r])[0], [[5.0, 1.0, 0.0]])
    close(rap.head(layer, [x], [layer(x)], [r])[0], [[3.0, 2.0, 1.0]])
    box = (tf.constant([[0.0, 0.0, -1.0]], tf.float64), tf.constant([[2.0, 2.0, 1.0]], tf.float64))
    # (x - l) w+ = (3, ., 0); (x - h) w- = (., 0, .)
    close(rap.first(layer, [x], [layer(x)], [r], box=box)[0], [[6.0, 0.0, 0.0]])


def test_what_else_is_in_a_batch_makes_no_difference():
    """A sample whose contributions cancel is computed in another way, and only that one."""
    generator = np.random.default_rng(0)
    layer = keras.layers.Dense(6, use_bias=False)
    layer.build((None, 2 * rap.WIDE))
    sample = generator.normal(size=2 * rap.WIDE).astype(np.float32)
    cancelled = -abs(sample) * np.sign(layer.kernel.numpy()[:, 0])
    r = tf.constant(generator.normal(size=(2, 6)).astype(np.float32))

    def beside(other):
        x = tf.constant(np.stack([sample, other]))
        return rap.inner(layer, [x], [], [r])[0].numpy()

    alone, together, both = beside(sample), beside(cancelled), beside(-cancelled)
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(both[0], alone[0])
    contributions = cancelled[:, None] * layer.kernel.numpy()
    assert contributions[:, 0].max() <= 0
    np.testing.assert_allclose(together[1].sum(), r[1].numpy().sum(), atol=1e-4)
