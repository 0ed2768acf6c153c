"""A class against others, inside iNNvestigate."""

import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.keras2 import k2

from rap_keras import InputError
from rap_keras import innvestigate as plugin

L = k2.layers
KINDS = ["softmax", "uniform", 1, [0, 3]]


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    with plugin.new_graph():
        inputs = L.Input((8, 8, 3))
        x = L.MaxPooling2D()(L.Conv2D(5, 3, activation="relu")(inputs))
        made = k2.Model(inputs, L.Dense(5)(L.Flatten()(x)))
        made.set_weights([rng.normal(0, 0.3, w.shape) for w in made.weights])
    return made


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 8, 8, 3)).astype("float32")


def create(model, mode="index", **options):
    return plugin.create_analyzer("rap", model, neuron_selection_mode=mode, **options)


@pytest.mark.parametrize("contrast", KINDS, ids=str)
@pytest.mark.quick("softmax")
def test_a_map_is_that_of_the_class_minus_those_of_the_others(contrast, model, x):
    neurons = [2, 4, 2, 4]
    single = create(model)
    maps = np.stack([single.analyze(x, [k] * 4) for k in range(5)], 1)
    starts = [list(single.analyze_layers(x, [k] * 4).values())[-1][:, k] for k in range(5)]
    logits = np.stack(starts, 1).astype(np.float64)
    expected = []
    for row, parts, c in zip(logits, maps, neurons, strict=True):
        others = np.exp(row) if contrast == "softmax" else np.ones(5)
        if not isinstance(contrast, str):
            others *= np.isin(np.arange(5), contrast)
        others[c] = 0
        others /= others.sum()
        each = parts / row[:, None, None, None]
        expected.append(abs(row[c]) * (each[c] - np.tensordot(others, each, 1)))
    found = create(model, contrast=contrast).analyze(x, neurons)
    assert_same(found, np.stack(expected), 1e-4)
    assert (logits[np.arange(4), neurons] < 0).any()


def test_the_largest_logit_equals_its_index(model, x):
    layers = create(model, "max_activation").analyze_layers(x)
    largest = list(layers.values())[-1].argmax(1)
    found = create(model, "max_activation", contrast="softmax").analyze(x)
    assert_same(found, create(model, contrast="softmax").analyze(x, largest))


def test_positions_of_a_map_are_contrasted_separately(rng):
    with plugin.new_graph():
        inputs = L.Input((6, 6, 2))
        model = k2.Model(inputs, L.Conv2D(4, 3)(L.Conv2D(3, 1, activation="relu")(inputs)))
        model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.weights])
    x = rng.normal(size=(2, 6, 6, 2)).astype("float32")
    analyzer = create(model, contrast="uniform")
    start = list(analyzer.analyze_layers(x, (1, 2, 3)).values())[-1].reshape(2, 4, 4, 4)
    place = start[:, 1, 2].copy()
    assert (place[:, 3] > 0).all()
    assert_same(place[:, :3], -np.repeat(place[:, 3:] / 3, 3, 1))
    start[:, 1, 2] = 0
    assert not start.any()


def test_it_is_saved(model, x, tmp_path):
    analyzer = create(model, contrast=[1, 2])
    analyzer.save_npz(tmp_path / "saved.npz")
    assert_same(
        type(analyzer).load_npz(tmp_path / "saved.npz").analyze(x, 0), analyzer.analyze(x, 0)
    )


@pytest.mark.parametrize(
    ("mode", "contrast", "selection", "message"),
    [
        ("index", 7, 0, "from 0 to 4, got 7"),
        ("index", "most", 0, "Expected contrast"),
        ("index", 2, 2, "also explained in sample 0"),
        ("all", "softmax", None, "got all neurons: pass target=CLASS"),
    ],
)
def test_what_cannot_be_contrasted_is_refused(mode, contrast, selection, message, model, x):
    with pytest.raises(InputError, match=message):
        create(model, mode, contrast=contrast).analyze(x, selection)
