"""The probability of the class that is explained, by the head of the model."""

import numpy as np
import pytest

from rap_keras.analyzers.explanation import Explanation

THREE = np.log(3.0)  # as a logit: 3 to 1


def explanation(logits, neurons, **more):
    logits = np.asarray(logits, np.float32)
    neurons = None if neurons is None else np.asarray(neurons)
    maps = np.zeros((len(logits), 2, 2, 1), np.float32)
    if neurons is not None and neurons.ndim == 2 and neurons.dtype != bool:
        maps = np.repeat(maps[:, np.newaxis], neurons.shape[1], 1)
    return Explanation(maps, logits, neurons, "rap", **more)


@pytest.mark.parametrize("head", ["softmax", None])
def test_of_several_classes_is_their_softmax(head):
    labels = None if head else ("0", "1")
    found = explanation([[0, THREE], [0, THREE], [1000, 0]], [1, 0, 0], head=head, labels=labels)
    np.testing.assert_allclose(found.probabilities, [0.75, 0.25, 1])
    assert found.decisions == [
        "class 1, logit 1.099, probability 75.0%",
        "class 0, logit 0, probability 25.0%",
        "class 0, logit 1000, probability 100.0%",
    ]
    assert [one["probability"] for one in found.summaries()] == pytest.approx([0.75, 0.25, 1])
    assert found[1].decisions == found.decisions[1:2]


@pytest.mark.parametrize("shape", [(-1, 1), (-1,)])
def test_of_one_sigmoid_is_that_of_either_class(shape):
    logits = np.reshape([THREE, THREE, -1000], shape)
    found = explanation(logits, [1, 0, 0], head="sigmoid")
    np.testing.assert_allclose(found.probabilities, [0.75, 0.25, 1])
    assert found.decisions[1] == "class 0, logit -1.099, probability 25.0%"


def test_of_several_sigmoids_each_has_its_own():
    found = explanation([[0, THREE, THREE]], [[2, 0]], head="sigmoid")
    np.testing.assert_allclose(found.probabilities, [[0.75, 0.5]])
    assert found.decisions[1] == "class 0, logit 0, probability 50.0%"
    assert found.summaries()[0]["probability"] == pytest.approx([0.75, 0.5])


def test_of_k_classes():
    found = explanation([[0, THREE, -1000], [0, 0, -1000]], [[1, 0], [2, 1]], head="softmax")
    np.testing.assert_allclose(found.probabilities, [[0.75, 0.25], [0, 0.5]])


@pytest.mark.parametrize(
    ("logits", "neurons", "more"),
    [
        ([[2.0]], [0], {}),  # a regression
        ([2.0], [0], {}),
        ([[2.0, 3.0]], [1], {}),  # a regression, or classes without names
        ([[2.0, 3.0]], [1], {"reference_output": 1.0}),
        ([[2.0, 3.0]], [[True, False]], {"head": "softmax"}),  # a region
        (np.ones((1, 2, 2, 3)), np.ones((1, 2, 2, 3), bool), {"head": "softmax"}),
        ([[2.0, 3.0]], None, {"head": "softmax"}),
    ],
)
def test_of_anything_else_is_none(logits, neurons, more):
    found = explanation(logits, neurons, **more)
    assert found.probabilities is None
    assert "probability" not in found.decisions[0]
    assert found.summaries()[0]["probability"] is None
