"""The negated output, as if the last kernel layers had negated kernels and biases."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.tensors import array, tensor
from keras import layers as L
from keras import ops

from rap_keras import InputError
from rap_keras.backends.keras3.trace import trace
from rap_keras.composites import lrp
from rap_keras.composites.composite import Composite
from rap_keras.composites.rap import rap_composite
from rap_keras.inputs.bounds import boxes
from rap_keras.network.folding import fold
from rap_keras.network.negation import Negative, less_reference, negated
from rap_keras.propagate import backward, forward
from rap_keras.rules import gradient

COMPOSITES = {
    "alpha_beta": lrp.composite("alpha_beta", alpha=1, beta=0),
    "deep_taylor": lrp.composite("alpha_beta", alpha=1, beta=0, bias=False),
    "epsilon": lrp.composite("epsilon", epsilon=1e-7),
    "rap": rap_composite(),
}
GRADIENT = Composite({}, default=gradient.gradient)


def features(inputs):
    return L.Conv2D(3, 2, activation="relu", name="features")(inputs)


def pooled(inputs):
    return L.GlobalAveragePooling2D()(features(inputs))


def added(inputs):
    h = features(inputs)
    a, b = L.GlobalAveragePooling2D()(h), L.GlobalMaxPooling2D()(h)
    return L.Add()([L.Dense(1, name="a")(a), L.Dense(1, name="b")(b)])


def multiplied(inputs):
    h = pooled(inputs)
    return L.Dot(1)([L.Dense(2)(h), L.Dense(2)(h)])


def subtracted(inputs):
    both = L.Dense(2, name="both")(pooled(inputs))
    return both[:, 1:] - both[:, :1]


# Heads between the features and a sigmoid; of those in the first part every layer lets the sign pass.
ODD = {
    "dense": lambda x: L.Dense(1, name="d")(pooled(x)),
    "reshaped": lambda x: L.Reshape((1,))(L.Dense(1, name="d")(pooled(x))),
    "squeezed": lambda x: ops.squeeze(L.Dense(1, name="d")(pooled(x)), -1),
    "one channel": lambda x: L.GlobalAveragePooling2D()(L.Conv2D(1, 2, name="d")(features(x))),
    "added": added,
    "subtracted": subtracted,
    "scaled": lambda x: 2.0 * L.Dense(1, name="d")(pooled(x)),
    "normalized": lambda x: L.BatchNormalization(name="n")(L.Dense(1, name="d")(pooled(x))),
    "matmul": lambda x: (
        ops.matmul(pooled(x), np.float32([[0.5], [-1], [0.25]])) + np.float32([0.1])
    ),
}
OTHERS = {
    "constant": lambda x: L.Dense(1, name="d")(pooled(x)) + 0.75,
    "shifted": lambda x: L.Rescaling(2.0, -0.5)(L.Dense(1, name="d")(pooled(x))),
    "largest": lambda x: L.GlobalMaxPooling2D()(L.Conv2D(1, 2, name="d")(features(x))),
    "products": multiplied,
    "rectified": lambda x: ops.sum(L.Dense(4, "relu", name="d")(pooled(x)), 1, keepdims=True),
    "curved": lambda x: L.Dense(1, "tanh", name="d")(pooled(x)),
}
X = np.random.default_rng(0).normal(size=(4, 5, 5, 2)).astype(np.float32)


def graph_of(head):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5, 5, 2))
    model = keras.Model(inputs, L.Activation("sigmoid")(head(inputs)))
    rng = np.random.default_rng(2)
    for layer in model.layers[1:]:
        layer.set_weights([rng.uniform(0.1, 1, w.shape) * rng.choice([-1, 1], w.shape) for w in
                           layer.get_weights()] if not isinstance(layer, L.BatchNormalization)
                          else [rng.uniform(0.5, 1, w.shape) for w in layer.get_weights()])  # fmt: skip
    return fold(trace(model))


def relevance(graph, composite, start=None):
    """Relevance of the input from the output, or from 1, and the output."""
    inputs = [tensor(X)]
    output, records = forward(graph, inputs)
    begin = output if start is None else keras.ops.full_like(output, start)
    table = composite.assign(graph)
    box = boxes(graph, inputs, None)
    found, _ = backward(graph, table.rows, records, box, {graph.output: begin})
    return array(found[graph.inputs[0]]), array(output)


@pytest.mark.parametrize("head", [*ODD, *OTHERS])
def test_the_output_and_its_gradient_have_the_other_sign(head):
    graph = graph_of((ODD | OTHERS)[head])
    assert graph.is_binary
    for kernels in (True, False):
        other = negated(graph, kernels)
        gradients, output = relevance(graph, GRADIENT, 1.0)
        turned, opposite = relevance(other, GRADIENT, 1.0)
        assert_same(opposite, -output)
        assert_same(turned, -gradients)
        assert not other.is_binary  # its only neuron is class 0


@pytest.mark.parametrize("head", ODD)
def test_the_last_kernels_are_negated(head):
    graph = graph_of(ODD[head])
    other = negated(graph)
    assert [node.name for node in other.nodes] == [node.name for node in graph.nodes]
    assert {n.name for n in other.nodes if n.negated} == graph.last_linear()


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("head", ["dense", "one channel", "added"])
def test_relevance_is_that_of_a_model_with_negated_weights(head, composite):
    graph = graph_of(ODD[head])
    found, output = relevance(negated(graph), COMPOSITES[composite])
    layers = {n.layer for n in graph.nodes if n.name in graph.last_linear()}
    for layer in layers:
        layer.set_weights([-w for w in layer.get_weights()])
    expected, opposite = relevance(graph, COMPOSITES[composite])
    assert_same(output, opposite)
    assert_same(found, expected)


# The same with the last kernel negated, and with the following layers as for the negated output.
OPPOSITE = {
    "constant": lambda x: L.Dense(1, name="d")(pooled(x)) - 0.75,
    "shifted": lambda x: L.Rescaling(2.0, 0.5)(L.Dense(1, name="d")(pooled(x))),
    "largest": lambda x: ops.min(L.Conv2D(1, 2, name="d")(features(x)), (1, 2)),
}


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("head", OPPOSITE)
def test_the_sign_passes_constants_and_maxima(head, composite):
    graph, opposite = graph_of(OTHERS[head]), graph_of(OPPOSITE[head])
    (last,) = (node.layer for node in opposite.nodes if node.name == "d")
    last.set_weights([-w for w in last.get_weights()])
    other = negated(graph)
    assert {n.name for n in other.nodes if n.negated} == {"d"}
    found, output = relevance(other, COMPOSITES[composite])
    expected, same = relevance(opposite, COMPOSITES[composite])
    assert_same(output, same)
    assert_same(found, expected)


@pytest.mark.parametrize("head", ["products", "rectified", "curved"])
def test_after_products_and_activations_the_map_has_the_other_sign(head):
    graph = graph_of(OTHERS[head])
    other = negated(graph)
    assert sum(isinstance(node.layer, Negative) for node in other.nodes) == 1
    assert not any(node.negated for node in other.nodes)
    for composite in COMPOSITES.values():
        assert_same(relevance(other, composite)[0], -relevance(graph, composite)[0])


@pytest.mark.parametrize("head", ["dense", "reshaped", "squeezed", "one channel"])
def test_a_reference_is_subtracted_from_the_bias(head):
    graph = graph_of(ODD[head])
    regression = less_reference(graph_without_head(graph), 1.5)
    found, output = relevance(regression, COMPOSITES["rap"])
    assert_same(output, relevance(graph, COMPOSITES["rap"])[1] - 1.5)
    assert_same(found.sum((1, 2, 3)), output.ravel(), 1e-4)


def graph_without_head(graph):
    return dataclasses.replace(graph, head=None)


def test_a_reference_needs_a_regression_that_ends_in_weights():
    graph = graph_of(ODD["dense"])
    assert less_reference(graph, 0.0) is graph
    with pytest.raises(InputError, match=r"whose output is one number .*, got .* with a sigmoid"):
        less_reference(graph, 1.0)
    for head in ("products", "largest"):
        with pytest.raises(InputError, match="ends in a layer with weights"):
            less_reference(graph_without_head(graph_of(OTHERS[head])), 1.0)
