"""Attention rollout against a slow version of its definition."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import plain
from helpers.tensors import array
from keras import layers, ops

from rap_keras import InputError, create_analyzer
from rap_keras.models import bundled
from rap_keras.models.architectures import ClassToken, PositionEmbedding

SIZE, GRID, WIDTH = (12, 8), (3, 2), 8


class TokenBehind(layers.Layer):
    """A class token at the end."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]))

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([x, token], axis=1)


def transformer(token=None, heads=2, read=0):
    """Patches of 4 x 4 pixels, two blocks; the names of the attention layers are arbitrary."""
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(WIDTH, 4, strides=4)(inputs)
    x = layers.Reshape((-1, WIDTH))(x)
    if token is not None:
        x = token(x)
    x = PositionEmbedding()(x)
    for block in "ab":
        y = layers.LayerNormalization()(x)
        if heads:
            y = layers.MultiHeadAttention(heads, 4, dropout=0.1, name=block)(y, y)
        else:
            y = layers.Attention(use_scale=True, name=block)([y, y])
        x = x + y
        x = x + layers.Dense(WIDTH, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.GlobalAveragePooling1D()(x) if token is None else x[:, read]
    model = keras.Model(inputs, layers.Dense(3)(x))
    generator = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(generator.normal(0.2, 0.7, variable.shape))
    return model


def weights_of(model, name, x):
    """The weights of one attention, (batch, heads, tokens, tokens), from its input and its kernels."""
    layer = model.get_layer(name)
    taken = keras.tree.flatten(layer._inbound_nodes[0].arguments.args)[0]
    tokens = np.asarray(keras.Model(model.inputs, taken).predict(x, verbose=0), np.float64)
    if isinstance(layer, layers.Attention):
        scale = array(layer.scale).astype(np.float64)
        logits = np.einsum("bqd,bkd->bqk", tokens, tokens)[:, None] * scale
    else:
        query, query_bias, key, key_bias = map(np.float64, layer.get_weights()[:4])
        q = np.einsum("btw,whd->bhtd", tokens, query) + query_bias[:, None]
        k = np.einsum("btw,whd->bhtd", tokens, key) + key_bias[:, None]
        logits = np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(query.shape[-1])
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def bilinear(patches, size):
    """Pixel by pixel, between the centres of the patches."""
    rows, columns = patches.shape
    image = np.zeros(size)
    for y, x in np.ndindex(*size):
        v = np.clip((y + 0.5) * rows / size[0] - 0.5, 0, rows - 1)
        u = np.clip((x + 0.5) * columns / size[1] - 0.5, 0, columns - 1)
        i, j = min(int(v), rows - 2), min(int(u), columns - 2)
        a, b = v - i, u - j
        top = (1 - b) * patches[i, j] + b * patches[i, j + 1]
        image[y, x] = (1 - a) * top + a * ((1 - b) * patches[i + 1, j] + b * patches[i + 1, j + 1])
    return image


def reference(model, x, token, first):
    maps = []
    blocks = [weights_of(model, name, x) for name in "ab"]
    for k in range(len(x)):
        rolled = np.eye(blocks[0].shape[-1])
        for block in blocks:
            mixed = 0.5 * block[k].mean(0) + 0.5 * np.eye(len(rolled))
            rolled = (mixed / mixed.sum(1, keepdims=True)) @ rolled
        seen = rolled.mean(0) if token is None else rolled[token]
        maps.append(bilinear(seen[first : first + 6].reshape(GRID), SIZE))
    return np.stack(maps)


@pytest.mark.parametrize(
    ("build", "token", "first"),
    [
        pytest.param(lambda: transformer(ClassToken()), 0, 1, id="class token"),
        pytest.param(lambda: transformer(TokenBehind(), read=-1), 6, 0, id="behind"),
        pytest.param(lambda: transformer(), None, 0, id="none"),
        pytest.param(lambda: transformer(ClassToken(), heads=0), 0, 1, id="one head"),
    ],
)
@pytest.mark.quick("one head")
def test_maps_are_those_of_the_definition(build, token, first, rng):
    model = build()
    x = rng.normal(size=(3, *SIZE, 3)).astype(np.float32)
    found = create_analyzer("attention.rollout", model).analyze(x)
    expected = reference(model, x, token, first)
    assert expected.std() > 1e-3
    assert_same(found.sum(-1), expected, 1e-4)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])


def test_maps_depend_on_neither_the_neuron_nor_other_samples(rng):
    model = transformer(ClassToken())
    x = rng.normal(size=(3, *SIZE, 3)).astype(np.float32)
    analyzer = create_analyzer("attention.rollout", model)
    found = analyzer.explain(x, [0, 1, 2])
    assert_same(analyzer.analyze(x, 2), found.relevance)
    assert_same(analyzer.analyze(x[1:2], 0), found.relevance[1:2])
    assert_same(found.logits, model(x))
    assert found.relevance.min() >= 0
    with pytest.raises(InputError, match="has no relevance of layers"):
        analyzer.analyze_layers(x)


def test_the_bundled_transformer_sees_its_patches():
    model = bundled.load("vit")
    found = create_analyzer("attention.rollout", model)._attention
    assert (found.tokens, found.grid, found.first) == (65, (8, 8), 1)
    assert len(found.weights) == 4


def fewer_keys():
    """Attention to half of the tokens, as MiT has it."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Reshape((-1, 3))(x)
    y = layers.AveragePooling1D(2)(x)
    y = layers.MultiHeadAttention(1, 3)(x, y)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x + y)))


def merged():
    """Every second block has half of the tokens."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Reshape((-1, 3))(x)
    for _ in range(2):
        x = layers.AveragePooling1D(2)(layers.MultiHeadAttention(1, 3)(x, x))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def windows():
    """Attention inside of windows of 4 x 4, as Swin has it."""
    x = inputs = keras.Input((8, 8, 3))
    x = ops.reshape(x, (-1, 2, 4, 2, 4, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 3))
    x = layers.MultiHeadAttention(1, 3)(x, x)
    x = ops.mean(ops.reshape(x, (-1, 64, 3)), 1)
    return keras.Model(inputs, layers.Dense(2)(x))


def text():
    x = inputs = keras.Input((5, 3))
    x = layers.MultiHeadAttention(1, 3)(x, x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (plain, "a model with attention, .* got one without: use another method"),
        (
            fewer_keys,
            "Expected attention between the same 64 tokens .* got 64 that attend to 32 at",
        ),
        (merged, "Expected attention between the same 64 tokens .* got 32 that attend to 32 at"),
        (windows, "got a model without known patches"),
        (text, "got a model without known patches"),
    ],
)
def test_other_networks_are_refused_in_one_sentence(build, message):
    model = build()
    x = np.ones((1, *model.input_shape[1:]), np.float32)
    with pytest.raises(InputError, match=message) as error:
        create_analyzer("attention.rollout", model).analyze(x)
    assert "\n" not in str(error.value)
