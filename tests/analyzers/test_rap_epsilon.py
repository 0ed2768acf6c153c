"""RAP in composite: LRP-epsilon in the head, RAP elsewhere."""

import keras
import numpy as np
import pytest
from helpers import reference
from helpers.tensors import array

import rap_keras
from rap_keras import create_analyzer
from rap_keras.composites.rap import rap_composite
from rap_keras.rules import name_of

L = keras.layers


def built(*layers, shape):
    model = keras.Sequential([keras.Input(shape, dtype="float64"), *layers])
    generator = np.random.default_rng(3)
    for layer in model.layers:
        layer.set_weights([generator.normal(size=w.shape) / 2 for w in layer.get_weights()])
    return model


def convolutional():
    return built(
        L.Conv2D(4, 3, activation="relu", dtype="float64"),
        L.Conv2D(3, 2, activation="relu", dtype="float64"),
        L.Flatten(dtype="float64"),
        L.Dense(6, "relu", dtype="float64"),
        L.Dense(4, dtype="float64"),
        shape=(6, 5, 2),
    )


def rules_of(model, **options):
    rows = create_analyzer("rap.epsilon", model, **options).rules().rows
    return [name_of(rule) for node, rule in rows if type(node.layer).__name__ != "Activation"]


def test_the_map_by_slow_loops():
    """Eqs. 10 and 7-9 at the convolutions; R_i = sum_j z_ij R_j / sum_k z_kj after them."""
    model, x = convolutional(), np.random.default_rng(5).normal(size=(2, 6, 5, 2))
    hidden = [array(keras.Model(model.inputs[0], layer.output)(x)) for layer in model.layers]
    logits, targets = hidden[-1], [2, 0]
    found = create_analyzer("rap.epsilon", model).analyze(x, targets)
    first, second, _, fc, last = model.layers
    for n, target in enumerate(targets):
        relevance = np.zeros(4)
        relevance[target] = logits[n, target]
        for layer, inputs in ((last, hidden[3][n]), (fc, hidden[2][n])):
            z = inputs[:, None] * layer.get_weights()[0]
            sums = z.sum(0)
            relevance = (z * (relevance / (sums + np.where(sums >= 0, 1e-6, -1e-6)))).sum(1)
        ((matrix,), _), inputs = reference.connections(second, hidden[0].shape[1:]), hidden[0][n]
        relevance = reference.inner(inputs.ravel(), matrix, relevance, matrix, local=0.75)
        ((matrix,), _) = reference.connections(first, x.shape[1:])
        low, high = np.full(60, x[n].min()), np.full(60, x[n].max())
        relevance = reference.first(x[n].ravel(), matrix, relevance, matrix, low, high)
        np.testing.assert_allclose(found[n].ravel(), relevance, rtol=1e-8, atol=1e-10)


def test_epsilon_takes_next_to_nothing_and_biases_nothing():
    model, x = convolutional(), np.random.default_rng(5).normal(size=(3, 6, 5, 2))
    assert min(
        abs(w).max() for layer in (model.layers[3], model.layers[4]) for w in layer.get_weights()
    )
    report = create_analyzer("rap.epsilon", model).conservation(x)
    assert 0 < report.max_error < 1e-5


def test_each_class_has_its_own_evidence():
    """One detector for each class: the map of a class is on its detector, where RAP's is on both."""
    head = L.Dense(2, use_bias=False)
    model = keras.Sequential(
        [keras.Input((1, 4, 2)), L.Conv2D(2, 1, use_bias=False), L.GlobalMaxPooling2D(), head]
    )
    model.layers[0].set_weights([np.eye(2)[None, None]])
    head.set_weights([np.array([[2.0, -1.0], [-1.0, 2.0]])])
    x = np.zeros((1, 1, 4, 2), "float32")
    x[0, 0, 1, 0], x[0, 0, 2, 1] = 3, 2
    logit = 2 * 3 - 2
    options = {"input_rule": "inner"}
    found = create_analyzer("rap.epsilon", model, **options).analyze(x, 0)
    np.testing.assert_allclose(found.sum((0, 1, 3)), [0, 6, -2, 0], atol=1e-5)
    published = create_analyzer("rap", model, **options).analyze(x, 0)
    np.testing.assert_allclose(
        published.sum((0, 1, 3)), [0, logit * 6 / 8, logit * 2 / 8, 0], atol=1e-5
    )


def test_only_layers_of_vectors_belong_to_the_head():
    images = built(
        L.Conv2D(3, 2),
        L.GlobalAveragePooling2D(keepdims=True),
        L.Conv2D(5, 1, activation="relu"),
        L.Flatten(),
        L.Dense(4),
        shape=(5, 5, 2),
    )
    epsilon = "lrp.epsilon(epsilon=1e-06, bias=False)"
    assert rules_of(images)[0] == "rap.first"
    assert rules_of(images).count(epsilon) == 2
    dense = [L.Dense(3, "relu"), L.Dense(3, "relu")]
    tokens = built(*dense, L.GlobalAveragePooling1D(), L.Dense(4), shape=(5, 2))
    assert rules_of(tokens) == [
        "rap.first",
        "rap.inner(local=0.75)",
        "routing.in_proportion",
        epsilon,
    ]
    # A series of one channel is no vector.
    series = built(L.Conv1D(3, 2), L.Flatten(), L.Dense(4), shape=(5, 1))
    assert rules_of(series, input_rule="inner") == [
        "rap.inner(local=0.75)",
        "routing.follow",
        epsilon,
    ]
    # A convolution that ends the model is its head.
    fully = built(L.Conv2D(3, 2), L.Conv2D(4, 1), L.GlobalAveragePooling2D(), shape=(5, 5, 2))
    assert rules_of(fully) == ["rap.first", epsilon, "routing.in_proportion"]


def test_the_options_of_rap():
    model = convolutional()
    table = repr(create_analyzer("rap.epsilon", model).rules())
    for analyzer in (
        create_analyzer("rap", model, dense="epsilon", local=0.75),
        create_analyzer("lrp", model, composite=rap_composite("rap.epsilon")),
    ):
        assert repr(analyzer.rules()) == table
    rules = rules_of(model, head="absolute")
    assert rules[-1] == "rap.head"
    with pytest.raises(rap_keras.errors.InputError, match="dense"):
        create_analyzer("rap", model, dense="gamma")
    with pytest.raises(rap_keras.errors.InputError, match="Expected local from 0 to 1, got 2"):
        create_analyzer("rap", model, local=2)
    with pytest.raises(rap_keras.errors.InputError, match=r"got 0.75: pass local=0"):
        create_analyzer("rap.epsilon", model, variant="released")


def test_a_saved_analyzer_keeps_its_name_and_map(tmp_path):
    model, x = convolutional(), np.random.default_rng(5).normal(size=(2, 6, 5, 2))
    analyzer = create_analyzer("rap.epsilon", model, contrast="softmax")
    analyzer.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    assert again.name == "rap.epsilon"
    assert again.options() == analyzer.options()
    np.testing.assert_array_equal(again.analyze(x, 1), analyzer.analyze(x, 1))
