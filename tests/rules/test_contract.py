"""The decorators turn functions into rules of the general form, with the facts that they use."""

import functools

import keras
import numpy as np
from helpers.layer_cases import close
from helpers.tensors import graphed, tensor

from rap_keras.network import linear
from rap_keras.rules import (
    facts_of,
    kernel_rule,
    layer_rule,
    lrp,
    name_of,
    rap,
    required_facts,
    with_facts,
)


def test_a_kernel_rule_goes_back_map_by_map(rng):
    seen = []

    @kernel_rule
    def listing(stage, relevance, facts, *, factor=1.0):
        seen.append((facts.is_first, facts.is_last, facts.nonnegative, facts.rectified))
        return factor * stage.back(relevance)

    layer = keras.layers.SeparableConv1D(4, 2, use_bias=False)
    layer.build((None, 5, 3))
    x, r = (tensor(rng.normal(size=shape), "float32") for shape in ((2, 5, 3), (2, 4, 4)))
    (given,) = listing(layer, [x], [], [r], nonnegative=True, rectified=True, factor=2.0)
    assert seen == [(False, True, False, True), (True, False, True, False)]
    depthwise, pointwise = linear.stages(layer, x)
    close(given, 4 * depthwise.back(pointwise.back(r)), 1e-6)


def test_the_facts_and_the_name_of_a_kernel_rule():
    known = {"stages", "nonnegative", "rectified", "box", "name"}
    assert facts_of(rap.inner, known) == known - {"box", "name"}
    assert facts_of(lrp.box, known) == known - {"name"}
    assert required_facts(rap.first) == required_facts(lrp.box) == {"box"}
    given = functools.partial(lrp.epsilon, epsilon=0.1)
    assert required_facts(given) == set()
    assert name_of(given) == "lrp.epsilon(epsilon=0.1)"


def test_a_layer_rule_gets_the_facts_that_it_names():
    @layer_rule
    def scaled(relevances, transposed, name, *, factor=2.0):
        return [factor * len(name) * r for r in transposed(relevances)]

    assert required_facts(scaled) == {"name"}
    known = {
        "name": lambda: "abc",
        "transposed": lambda: lambda rs: [10 * r for r in rs],
        "box": lambda: 1 / 0,
    }
    one = keras.ops.ones((1, 1))
    close(with_facts(scaled, known)(None, [one], [one], [one])[0], [[60.0]], 1e-6)


def test_missing_facts_of_a_layer_rule_are_computed():
    @layer_rule
    def asking(inputs, relevances, transposed, recompute, samples):
        assert samples == ([0], [0])
        return [transposed(relevances)[0] + recompute(inputs)[0]]

    layer = keras.layers.Rescaling(3.0)
    graph = graphed(lambda x: asking(layer, [x], [layer(x)], [x])[0])
    close(graph(tensor([[2.0]])), np.array([[12.0]]), 1e-6)
