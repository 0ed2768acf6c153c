import functools

import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
from helpers import reference
from helpers.kernel_rules import LRP, arrays_of
from helpers.layer_cases import CASES, close, unoptimized_graphs  # noqa: F401
from helpers.tensors import array, graphed, tensor

from rap_keras.network import linear
from rap_keras.rules import lrp

L = keras.layers
pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
ONE_OF_EACH_TYPE = {case.make.func: case for case in reversed(CASES)}.values()
one_of_each_type = pytest.mark.parametrize("case", ONE_OF_EACH_TYPE, ids=repr)


@pytest.mark.parametrize("name", ["dense", "separable2d"])
def test_after_a_relu_no_neuron_has_negative_z(name):
    """The option `rectified` only drops what has no relevance. Between two maps there is no ReLU."""
    (case,) = (case for case in CASES if case.name == name)
    x, r, *_ = (tensor(a) for a in arrays_of(case))
    layer = cases.build(case)
    r = keras.ops.where(linear.stages(layer, x)[-1].output > 0, r, 0)
    for rule, options in (("alpha_beta", {"one_sided": True}), ("gamma", {"signed": True})):
        found, rectified_found = (
            getattr(lrp, rule)(layer, [x], [], [r], **options, rectified=rectified)[0]
            for rectified in (False, True)
        )
        close(rectified_found, found)


def by_output(case, rule, **options):
    """For each single output neuron: what the inputs of the last map get, and what flows into it.

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
    found, x = cases.outside_a_graph(case, function)(tensor(batch), tensor(relevance))
    z = array(x)[0].ravel()[:, None] * matrices[-1]
    sums = array(found).reshape(n, -1).sum(1)
    return r, sums, z.sum(0), np.maximum(z, 0).sum(0), reference.bias_of(layer, shapes[-1]).ravel()


def quotient(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@one_of_each_type
def test_epsilon_conserves_except_for_bias_and_epsilon(case, epsilon):
    r, sums, z, _, b = by_output(case, "epsilon", epsilon=epsilon)
    epsilons = np.where(z + b >= 0, epsilon, -epsilon)
    taken = r * quotient(b + epsilons, z + b + epsilons)
    close(sums + taken, np.where(z + b + epsilons == 0, 0, r), 1e-9)
    alone = by_output(case, "epsilon", epsilon=0.0, bias=False)
    close(alone[1], np.where(z == 0, 0, r), 1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (2.0, 1.0)])
@one_of_each_type
def test_alpha_beta_conserves_except_for_bias(case, alpha, beta):
    """An output without negative contributions shares alpha R, as it does without positive ones."""
    r, sums, z, up, b = by_output(case, "alpha_beta", alpha=alpha, beta=beta)
    positive, negative = up + np.maximum(b, 0), z - up + np.minimum(b, 0)
    taken = alpha * quotient(np.maximum(b, 0), positive)
    taken -= beta * quotient(np.minimum(b, 0), negative)
    close(sums + r * taken, r * (alpha * (positive > 0) - beta * (negative < 0)), 1e-9)
    both = (positive > 0) & (negative < 0)
    assert both.mean() > 0.3
    close((sums + r * taken)[both], r[both], 1e-9)


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
    x, r, *box = map(tensor, arrays)
    known = {"box": box} if rule == "box" else {}
    close(getattr(lrp, rule)(layer, [x], [], [r], **options, **known)[0], [relevance])


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
    b = array(layer(zeros)).ravel()
    matrix = np.diag(array(layer(zeros + 1)).ravel() - b)
    for rule in ("epsilon", "alpha_beta", "gamma"):
        for options in LRP[rule]:
            (found,) = getattr(lrp, rule)(layer, [tensor(x)], [], [tensor(r)], **options)
            step = functools.partial(getattr(reference, f"lrp_{rule}"), b=b, **options)
            close(found, reference.layer_rule([step], [matrix], x, r), 1e-9)


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
    cases.computes(layer, x, outputs)

    def back(s):
        s = array(s[0]).reshape(3, -1)
        return [tensor((s @ matrix.T).reshape(x.shape))]

    def function(x, r):
        options = {"epsilon": epsilon} | ({"transposed": back} if given else {})
        return lrp.ratio(layer, [x], [layer(x)], [r], **options)[0]

    run_it = function if given else graphed(function)

    def step(x, matrix, relevance, seen):
        if epsilon == 0:
            return reference.signed_proportion(x, matrix, relevance)
        return reference.lrp_epsilon(x, matrix, relevance, seen, b=0, epsilon=epsilon)

    close(run_it(tensor(x), tensor(r)), reference.layer_rule([step], [matrix], x, r), 1e-9)
