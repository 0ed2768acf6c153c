"""Shares of position embeddings, by their definition at the sum that adds them."""

import itertools

import keras
import numpy as np
import pytest
from helpers.attention_networks import GRID, PATCH, SIZE, transformer
from helpers.compare import assert_same
from helpers.networks import plain
from helpers.tensors import array
from keras import layers, ops

from rap_keras import Composite, InputError, create_analyzer
from rap_keras.composites.rap import RAP
from rap_keras.rules import routing

TOKENS, VOCABULARY, FEATURES, WIDTH = 5, 7, 3, 4


def parts(by, x, p):
    """The shares of a tensor and of a position in one element of their sum."""
    sizes = {
        "signed": (x, p),
        "absolute": (abs(x), abs(p)),
        "positive": (max(x, 0), max(p, 0)) if max(x, p) > 0 else (abs(x), abs(p)),
    }[by]
    return [size / sum(sizes) for size in sizes]


def by_position(by, x, p, r):
    """The relevance of every position, over the channels, `(batch, tokens)`."""
    found = np.zeros(r.shape[:2])
    for n, t, c in np.ndindex(*r.shape):
        found[n, t] += parts(by, float(x[n, t, c]), float(p[t, c]))[1] * r[n, t, c]
    return found


def value_of(model, name, x):
    return array(keras.Model(model.inputs[0], model.get_layer(name).output)(x))


@pytest.mark.parametrize(
    ("rule", "token"),
    list(
        itertools.product(
            [("rap", "absolute"), ("lrp.epsilon", "signed"), ("lrp.z_plus", "positive")],
            [True, False],
        ),
    ),
)
@pytest.mark.quick("rule3-False")
def test_a_patch_gets_the_share_of_its_position(rule, token, rng):
    method, by = rule
    model = transformer(token)
    x = rng.normal(size=(2, *SIZE, 3)).astype(np.float32)
    before = create_analyzer(method, model).analyze_layers(x, 1)["positions/add"]
    p = array(model.get_layer("positions").positions)
    tensor = value_of(model, "positions", x) - p
    shares = by_position(by, tensor, p, before)[:, int(token) :].reshape(2, *GRID)
    expected = np.zeros(x.shape)
    for n, i, j in np.ndindex(*shares.shape):  # in equal parts over the pixels of the patch
        pixels = expected[n, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)]
        pixels += shares[n, i, j] / pixels.size
    alone = create_analyzer(method, model, positions="alone")
    assert_same(alone.analyze(x, 1), expected, 1e-3)
    shared = create_analyzer(method, model, positions="share")
    after = shared.analyze_layers(x, 1)["patches"].sum((1, 2, 3))
    np.testing.assert_allclose(
        after + expected.sum((1, 2, 3)), before.sum((1, 2)), rtol=1e-3, atol=1e-4
    )
    assert shared.options()["positions"] == "share"


@pytest.mark.slow
def test_rap_keeps_its_sum_and_the_map_is_that_of_both_parts(rng):
    model = transformer()
    x = rng.normal(size=(2, *SIZE, 3)).astype(np.float32)
    both = create_analyzer("rap", model, positions="share")
    found = both.explain(x, [0, 2])
    np.testing.assert_allclose(
        found.relevance.sum((1, 2, 3)), found.logits[[0, 1], [0, 2]], rtol=1e-4
    )
    report = both.conservation(x)
    assert report.model.error.max() < 1e-4
    lost = [row.name for row in report.layers if row.error.max() > 1e-3]
    assert lost == ["positions/add"]  # what positions take
    maps = both.analyze(x, [0, 2], concepts={"positions/add": np.arange(WIDTH)})
    assert_same(maps.sum(1), found.relevance, 1e-4)
    before = both.analyze(x, [0, 2], concepts={"patches": 1})  # relevance that no position took
    assert before.shape == (2, 1, *SIZE, 3)
    constant = create_analyzer("rap", model).analyze(x, [0, 2])
    assert abs(constant - found.relevance).max() > 1e-2 * abs(constant).max()


class Positions(layers.Layer):
    """Adds learned positions as Keras' examples do: rows of an embedding."""

    def build(self, shape):
        self.embedding = layers.Embedding(shape[1], shape[2])
        self.embedding.build(())

    def call(self, x):
        return x + self.embedding(ops.arange(x.shape[1]))


def sequence(inputs, x):
    x = Positions(name="added")(x)
    x = x + layers.Dense(WIDTH, activation="tanh")(layers.LayerNormalization()(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    generator = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(generator.normal(0.1, 0.6, variable.shape))
    return model


def text():
    inputs = keras.Input((TOKENS,), dtype="int32")
    return sequence(inputs, layers.Embedding(VOCABULARY, WIDTH)(inputs))


def series():
    inputs = keras.Input((TOKENS, FEATURES))
    return sequence(inputs, layers.Dense(WIDTH)(inputs))


@pytest.mark.parametrize("build", [text, series])
def test_a_step_of_a_sequence_gets_the_share_of_its_position(build, rng):
    model = build()
    x = rng.integers(0, VOCABULARY, (2, TOKENS))
    if build is series:
        x = rng.normal(size=(2, TOKENS, FEATURES)).astype(np.float32)
    before = create_analyzer("rap", model).analyze_layers(x, 1)
    r = next(v for k, v in before.items() if k.startswith("added/add"))
    p = array(model.get_layer("added").embedding.embeddings)
    expected = by_position("absolute", value_of(model, "added", x) - p, p, r)
    alone = create_analyzer("rap", model, positions="alone").analyze(x, 1)
    shared = create_analyzer("rap", model, positions="share").explain(x, 1)
    if build is series:
        np.testing.assert_allclose(alone[..., 0], alone[..., 1], rtol=1e-5)
        alone = alone.sum(-1)
    assert_same(alone, expected, 1e-3)
    total = shared.relevance.reshape(2, -1).sum(1)
    np.testing.assert_allclose(total, shared.logits[:, 1], rtol=1e-4)


def test_a_map_with_positions_before_it_is_flattened(rng):
    """Constants that are added to a map of 3 x 2 positions."""
    inputs = keras.Input((6, 4, 3))
    x = layers.Conv2D(4, 2, strides=2, activation="relu")(inputs)
    p = rng.normal(size=(1, 3, 2, 4)).astype(np.float32)
    x = layers.Flatten()(x + p)
    model = keras.Model(inputs, layers.Dense(2)(x))
    images = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    before = create_analyzer("lrp.epsilon", model).analyze_layers(images, 1)
    r = next(v for k, v in before.items() if k.startswith("add"))
    conv = array(model.layers[1](images)).reshape(2, 6, 4)
    expected = by_position("signed", conv, p.reshape(6, 4), r.reshape(2, 6, 4))
    found = create_analyzer("lrp.epsilon", model, positions="alone").analyze(images, 1)
    cells = found.reshape(2, 3, 2, 2, 2, 3).sum((2, 4, 5)).reshape(2, 6)
    assert_same(cells, expected, 1e-3)


def test_a_bias_of_attention_scores_is_no_position(rng):
    x = inputs = keras.Input((4, 4, 3))
    x = layers.Reshape((-1, 3))(x)
    scores = layers.Dot((2, 2))([layers.Dense(2)(x), layers.Dense(2)(x)])
    weights = ops.softmax(scores / 2 + rng.normal(size=(1, 16, 16)).astype(np.float32))
    x = x + layers.Dot((2, 1))([weights, layers.Dense(3)(x)])
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    with pytest.raises(InputError, match="Expected a model that adds position embeddings"):
        create_analyzer("rap", model, positions="share")


def test_what_has_no_positions_is_refused_in_one_sentence():
    without, model = plain(), transformer()
    for method in ("rap", "lrp.epsilon"):
        with pytest.raises(
            InputError, match=r"adds position embeddings .* got one without"
        ) as error:
            create_analyzer(method, without, positions="share")
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="positions"):
        create_analyzer("rap", model, positions="all")
    with pytest.raises(InputError, match="Expected options of 'gradient' among"):
        create_analyzer("gradient", model, positions="share")
    passing = Composite({**RAP, "Add": routing.pass_on})
    with pytest.raises(InputError, match=r"got routing\.pass_on at 'positions/add'"):
        create_analyzer("lrp", model, composite=passing, positions="share")
