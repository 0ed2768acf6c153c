"""Layers that only call others, subclassed models and attention: opened, with nothing changed."""

import re
import threading
import warnings

import keras
import numpy as np
import pytest
from helpers.tensors import array, slopes

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.compare import assert_same
from helpers.networks import biased
from helpers.thinned import slow_unless
from keras import layers, ops

import rap_keras
from rap_keras import InputError, UnknownLayerError, create_analyzer, register_rule
from rap_keras.backends.keras3 import opening
from rap_keras.composites import composite as composites
from rap_keras.composites.composite import Composite
from rap_keras.network.bundled_layers import PositionEmbedding
from rap_keras.rules import lrp, routing

SHAPE = (8, 8, 3)


class Block(layers.Layer):
    """Convolution, normalization and ReLU, as users write blocks."""

    def __init__(self, filters, **options):
        super().__init__(**options)
        self.conv = layers.Conv2D(filters, 3, padding="same", name="conv")
        self.norm = layers.BatchNormalization(name="norm")

    def build(self, shape):
        self.conv.build(shape)
        self.norm.build((*shape[:-1], self.conv.filters))
        self.built = True

    def call(self, x, training=None):
        return ops.relu(self.norm(self.conv(x), training=training))


class Stage(layers.Layer):
    """Blocks in a block, with a sum and a dropout between."""

    def __init__(self, filters, **options):
        super().__init__(**options)
        self.first, self.second = Block(filters, name="first"), Block(filters, name="second")
        self.drop = layers.Dropout(0.5, name="drop")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.first.conv.filters))
        self.built = True

    def call(self, x):
        x = self.first(x)
        return self.drop(x + self.second(x))


class Network(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.stage = Stage(4, name="stage")
        self.pool = layers.GlobalAveragePooling2D(name="pool")
        self.last = layers.Dense(3, activation="softmax", name="last")

    def call(self, x):
        return self.last(self.pool(self.stage(x)))


def functional(layer, shape=SHAPE):
    inputs = keras.Input(shape)
    x = layers.Flatten()(layer(inputs))
    return biased(keras.Model(inputs, layers.Dense(3, name="last")(x)))


def flat_twin():
    """The same network as `Network`, of Keras layers only."""
    inputs = keras.Input(SHAPE)

    def block(x, name):
        x = layers.Conv2D(4, 3, padding="same", name=f"{name}_conv")(x)
        return layers.ReLU()(layers.BatchNormalization(name=f"{name}_norm")(x))

    x = block(inputs, "first")
    x = layers.Add()([x, block(x, "second")])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


def sample(rng, *shape):
    return rng.normal(size=(3, *(shape or SHAPE))).astype("float32")


@pytest.mark.parametrize(
    "method",
    slow_unless(
        lambda p: p.values[0] in ("rap", "gradient"),
        ["rap", "lrp.alpha_1_beta_0", "gradient", "lrp.epsilon"],
    ),
)
def test_a_subclassed_model_of_blocks_is_explained_as_its_flat_twin(method, rng):
    model, twin = Network(), biased(flat_twin())
    model(np.zeros((1, *SHAPE), "float32"))
    model.set_weights(twin.get_weights())
    x = sample(rng)
    assert_same(create_analyzer(method, model).analyze(x), create_analyzer(method, twin).analyze(x))


def test_names_show_where_a_layer_is():
    model = Network()
    model(np.zeros((1, *SHAPE), "float32"))
    names = [node.name for node, _ in create_analyzer("rap", model).rules().rows]
    assert names == [
        *("stage/first/conv", "stage/first/norm", "stage/first/relu"),
        *("stage/second/conv", "stage/second/norm", "stage/second/relu"),
        *("stage/add", "stage/drop", "pool", "last"),
    ]


def test_opening_changes_nothing(rng):
    model = functional(Stage(4, name="stage"))
    inner = list(model.get_layer("stage")._flatten_layers())
    before = [(len(i._inbound_nodes), len(i._outbound_nodes)) for i in inner]
    weights = model.get_weights()
    create_analyzer("rap", model).analyze(sample(rng))
    assert [(len(i._inbound_nodes), len(i._outbound_nodes)) for i in inner] == before
    first, second = layers.Dropout(0.1).name, layers.Dropout(0.1).name
    create_analyzer("rap", model)
    number = int(second.rpartition("_")[2])
    assert layers.Dropout(0.1).name == f"dropout_{number + 1}", (first, second)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_saved_subclassed_model_is_explained_where_it_is_loaded(tmp_path, rng):
    model = Network()
    x = sample(rng)
    model(x)
    model.save(tmp_path / "model.keras")
    classes = {"Network": Network, "Stage": Stage, "Block": Block}
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects=classes)
    assert_same(create_analyzer("rap", loaded).analyze(x), create_analyzer("rap", model).analyze(x))


class Weighted(layers.Layer):
    """A dense layer written with its own weights."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5))
        self.bias = self.add_weight(shape=(5,))

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel) + self.bias)


class Convolved(layers.Layer):
    """A convolution written with its own weights."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 5))
        self.bias = self.add_weight(shape=(5,))

    def call(self, x):
        return ops.relu(ops.conv(x, self.kernel, 2, "same") + self.bias)


class Transposed(layers.Layer):
    """A transposed convolution written with its own weights."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, 5, shape[-1]))
        self.bias = self.add_weight(shape=(5,))

    def call(self, x):
        return ops.relu(ops.conv_transpose(x, self.kernel, 2, "same") + self.bias)


@pytest.mark.parametrize(
    ("layer", "twin"),
    [
        (Transposed, lambda: layers.Conv2DTranspose(5, 3, 2, "same", activation="relu")),
        (Weighted, lambda: layers.Dense(5, activation="relu")),
        (Convolved, lambda: layers.Conv2D(5, 3, 2, "same", activation="relu")),
    ],
)
@pytest.mark.parametrize(
    "method",
    slow_unless(lambda p: p.values[0] == "rap", ["rap", "lrp.alpha_1_beta_0", "gradient"]),
)
def test_operations_on_weights_are_kernel_layers(layer, twin, method, rng):
    models = [functional(layer()), functional(twin())]
    models[0].set_weights(models[1].get_weights())
    x = sample(rng)
    analyzers = [create_analyzer(method, model) for model in models]
    found, expected = (analyzer.analyze(x) for analyzer in analyzers)
    assert_same(found, expected)
    # The weights are read when the model is explained, not when the analyzer is made.
    halved = [w * 0.5 for w in models[1].get_weights()]
    for model in models:
        model.set_weights(halved)
    assert_same(analyzers[0].analyze(x), analyzers[1].analyze(x))


class Positions(layers.Layer):
    """Adds a vector for each position to the same projection of a sample."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 6))
        self.positions = self.add_weight(shape=(10, 6), initializer="random_normal")

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel) + self.positions)


@pytest.mark.parametrize("method", ["rap", "lrp.z", "deep_lift"])
def test_a_constant_of_more_places_than_a_product_is_no_bias(method, rng):
    inputs = keras.Input((1, 4))
    x = layers.UpSampling1D(10)(layers.Dense(6, use_bias=False)(inputs))
    x = layers.ReLU()(PositionEmbedding()(x))
    models = [
        keras.Model(inputs, layers.Dense(3)(layers.Flatten()(hidden)))
        for hidden in (Positions()(inputs), x)
    ]
    models[0].set_weights(models[1].get_weights())
    x = rng.random((2, 1, 4)).astype("float32")
    found, expected = (create_analyzer(method, model).analyze(x, target=1) for model in models)
    assert_same(found, expected)


class Rows(layers.Layer):
    """A projection of each row, whose sizes are arguments in nested tuples."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(6)

    def build(self, shape):
        self.dense.build((None, 24))

    def call(self, x, sizes):
        (rows, columns), channels = sizes
        return self.dense(ops.reshape(x, (-1, rows, columns * channels)))


class Image(layers.Layer):
    def __init__(self):
        super().__init__()
        self.rows = Rows()

    def build(self, shape):
        self.rows.build(shape)

    def call(self, x):
        return self.rows(x, sizes=((8, 8), 3))


class Through(layers.Layer):
    """Returns its input."""

    def call(self, x, sizes):
        (rows, columns), _ = sizes
        return x if rows == columns else ops.reshape(x, (-1, columns, rows, 3))


class Around(layers.Layer):
    def __init__(self):
        super().__init__()
        self.through = Through()

    def call(self, x):
        return 2 * self.through(x, sizes=((8, 8), 3))


def test_an_inner_layer_that_returns_its_input(rng):
    model = functional(Around())
    x = sample(rng)
    found = create_analyzer("gradient", model).analyze(x, 1)
    kernel = array(model.layers[-1].kernel)[:, 1].reshape(SHAPE)
    assert_same(found, np.broadcast_to(2 * kernel, found.shape))


def test_numbers_among_the_arguments_of_an_inner_layer(rng):
    known = keras.Sequential([keras.Input(SHAPE), layers.Reshape((8, 24)), layers.Dense(6)])
    models = [functional(layer) for layer in (Image(), known)]
    models[0].set_weights(models[1].get_weights())
    x = sample(rng)
    found, expected = (create_analyzer("rap", model).analyze(x) for model in models)
    assert_same(found, expected)


class Centred(layers.Layer):
    """A layer normalization written with operations."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        centred = x - ops.mean(x, -1, keepdims=True)
        variance = ops.mean(ops.square(centred), -1, keepdims=True)
        return centred * (ops.rsqrt(variance + 1e-3) * self.gamma) + self.beta


@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_a_normalization_of_operations_is_that_of_keras(method, rng):
    models = [functional(Centred()), functional(layers.LayerNormalization(epsilon=1e-3))]
    models[0].set_weights(models[1].get_weights())
    x = sample(rng)
    found, expected = (create_analyzer(method, model).analyze(x) for model in models)
    assert_same(found, expected, 1e-4)


class Tokens(layers.Layer):
    """A class token at the start, and positions."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]))
        self.positions = self.add_weight(shape=(1, shape[1] + 1, shape[-1]))

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.positions


class Windows(layers.Layer):
    """Attention in windows, which lie side by side on the first axis, as in Swin."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.MultiHeadAttention(2, 4, name="attention")

    def build(self, shape):
        self.inner.build((None, 4, shape[-1]), (None, 4, shape[-1]))
        self.built = True

    def call(self, x):
        n, h, w, c = ops.shape(x)
        x = ops.reshape(x, (n, h // 2, 2, w // 2, 2, c))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 4, c))
        x = self.inner(x, x)
        x = ops.reshape(x, (n, h // 2, w // 2, 2, 2, c))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (n, h, w, c))


class Heads(layers.Layer):
    """Queries, keys and values of one matrix, split on an axis before the samples."""

    def __init__(self, **options):
        super().__init__(**options)
        self.qkv = layers.Dense(24, name="qkv")

    def build(self, shape):
        self.qkv.build(shape)
        self.built = True

    def call(self, x):
        n, t, _ = ops.shape(x)
        q, k, v = ops.unstack(
            ops.transpose(ops.reshape(self.qkv(x), (n, t, 3, 2, 4)), (2, 0, 3, 1, 4)), axis=0
        )
        a = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0)
        return ops.reshape(ops.transpose(ops.matmul(a, v), (0, 2, 1, 3)), (n, t, 8))


ATTENTION = {
    "multi-head": lambda: layers.MultiHeadAttention(2, 4),
    "multi-head with dropout": lambda: layers.MultiHeadAttention(2, 4, dropout=0.5),
    "dot product": lambda: layers.Attention(),
    "scaled": lambda: layers.Attention(use_scale=True, score_mode="concat"),
    "additive": lambda: layers.AdditiveAttention(),
}
if hasattr(layers, "GroupQueryAttention"):
    ATTENTION["grouped queries"] = lambda: layers.GroupQueryAttention(4, 4, 2)


def attended(make):
    inputs = keras.Input((6, 8))
    layer = make()
    attend = (
        layer([inputs, inputs])
        if isinstance(layer, layers.Attention | layers.AdditiveAttention)
        else layer(inputs, inputs)
    )
    x = layers.LayerNormalization()(layers.Add()([inputs, attend]))
    x = layers.Dense(8, activation="gelu")(x)
    return biased(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))))


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.quick("additive")
def test_attention_conserves_and_its_weights_get_no_relevance(name, rng):
    model = attended(ATTENTION[name])
    x = sample(rng, 6, 8)
    analyzer = create_analyzer("rap", model)
    assert analyzer.conservation(x).max_error < 1e-5
    table = repr(analyzer.rules())
    assert "contraction.contraction(rule=rap.inner)" in table
    assert np.isfinite(create_analyzer("lrp.epsilon", model).analyze(x)).all()
    assert np.isfinite(create_analyzer("lrp.epsilon", model, attention="attnlrp").analyze(x)).all()
    (expected,) = slopes(lambda given: keras.ops.max(model(given), 1), [x])
    assert_same(create_analyzer("gradient", model).analyze(x), expected, 1e-4)


def test_attention_is_the_linear_map_of_its_weights(rng):
    """LRP-z without biases is x times the slope, here by finite differences with frozen weights."""
    inputs = keras.Input((5, 6), dtype="float64")
    attention = layers.MultiHeadAttention(2, 3, use_bias=False, dtype="float64")
    x = layers.Flatten(dtype="float64")(attention(inputs, inputs))
    model = keras.Model(inputs, layers.Dense(3, use_bias=False, dtype="float64")(x))
    x = rng.normal(size=(1, 5, 6))
    weights = array(attention(x, x, return_attention_scores=True)[1])
    by_value, by_output, by_dense = (array(model.weights[k]) for k in (2, 3, 4))
    assert [w.path.split("/")[-2] for w in model.weights[2:4]] == ["value", "attention_output"]
    top = array(model(x)).argmax()

    def frozen(x):
        values = np.einsum("bsd,dhk->bhsk", x, by_value)
        heads = np.einsum("bhts,bhsk->bthk", weights, values)
        return (np.einsum("bthk,hkd->btd", heads, by_output).reshape(1, -1) @ by_dense)[0, top]

    np.testing.assert_allclose(frozen(x), array(model(x)).max(), rtol=1e-6)
    slope, step = np.zeros_like(x), 1e-6
    for index in np.ndindex(*x.shape):
        moved = x.copy()
        moved[index] += step
        slope[index] = (frozen(moved) - frozen(x)) / step
    relevance = create_analyzer("lrp.z", model).analyze(x)
    np.testing.assert_allclose(relevance, x * slope, atol=1e-5 * abs(relevance).max())


class Asked(layers.Layer):
    """Attention of one learned query to all tokens, which pools them, as in SigLIP."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.MultiHeadAttention(2, 4, name="attention")

    def build(self, shape):
        self.query = self.add_weight(shape=(1, 1, shape[-1]))
        self.inner.build((None, 1, shape[-1]), shape)
        self.built = True

    def call(self, x):
        return self.inner(ops.repeat(self.query, ops.shape(x)[0], axis=0), x)[:, 0]


CALLS = {
    "class token": (Tokens, (6, 8)),
    "windows": (Windows, (4, 4, 8)),
    "one matrix": (Heads, (6, 8)),
    "learned query": (Asked, (6, 8)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_move_the_samples_conserve_in_every_batch(name, rng):
    layer, shape = CALLS[name]
    model = functional(layer(), shape)
    x = sample(rng, *shape)
    analyzer = create_analyzer("rap", model)
    assert analyzer.conservation(x).max_error < 1e-5
    alone = np.concatenate([analyzer.analyze(x[k : k + 1]) for k in range(3)])
    assert_same(analyzer.analyze(x), alone)


class Spread(layers.Layer):
    """Global features at each position, resized to the size of the map, as in DeepLab."""

    def __init__(self, **options):
        super().__init__(**options)
        self.pool = layers.GlobalAveragePooling2D(keepdims=True, name="pool")

    def call(self, x):
        _, height, width, _ = ops.shape(x)
        spread = layers.Resizing(height, width, name="resizing")(self.pool(x))
        return ops.concatenate([ops.convert_to_tensor(x), spread], axis=-1)


def spread(shape):
    inputs = keras.Input(shape)
    x = Spread(name="spread")(layers.Conv2D(4, 3, activation="relu", name="conv")(inputs))
    x = layers.Conv2D(4, 3, activation="relu", name="mixed")(x)
    return keras.Model(inputs, layers.Dense(3, name="last")(layers.GlobalMaxPooling2D()(x)))


def test_a_nested_model_of_any_size_is_opened_at_the_size_of_its_call(rng):
    inputs = keras.Input(SHAPE)
    any_size, fixed = biased(spread((None, None, 3))), spread(SHAPE)
    fixed.set_weights(any_size.get_weights())
    outer = keras.Model(inputs, any_size(inputs))
    x = sample(rng)
    analyzer = create_analyzer("rap", outer)
    assert_same(analyzer.analyze(x), create_analyzer("rap", fixed).analyze(x))
    assert analyzer.conservation(x).max_error < 1e-5
    names = [node.name for node, _ in analyzer.rules().rows]
    assert f"{any_size.name}/spread/resizing" in names
    with pytest.raises(
        InputError,
        match=r"fail .*Resizing.call.*(size|Shapes).*: build the model for inputs of one size",
    ):
        create_analyzer("rap", any_size).analyze(x)


def test_a_call_that_computes_with_an_unknown_size_is_refused():
    class Halved(layers.Layer):
        def call(self, x):
            return x[:, : x.shape[1] // 2]

        def compute_output_shape(self, shape):
            return (None, None, *shape[2:])

    inputs = keras.Input((None, None, 3))
    x = layers.GlobalMaxPooling2D()(Halved(name="halved")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    with pytest.raises(UnknownLayerError, match=r"'halved' cannot be opened: .*inputs of one size"):
        create_analyzer("rap", model)


class Noisy(layers.Layer):
    """Adds noise that is the same at each call, but not for each sample."""

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return ops.relu(x * self.gain) + keras.random.normal(ops.shape(x), seed=3)


class NoisyModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = layers.Dense(3)

    def call(self, x):
        return self.last(x + keras.random.normal(ops.shape(x), seed=3))


def test_calls_with_values_of_single_samples_are_refused(rng):
    model = functional(Noisy(name="noisy"), (6,))
    with pytest.raises(UnknownLayerError, match=r"'noisy' cannot be opened: its call uses values"):
        create_analyzer("rap", model)
    names = [node.name for node, _ in create_analyzer("gradient", model).rules().rows]
    assert (len(names), names[0]) == (3, "noisy")  # it needs no rule, and nothing inside is left
    whole = NoisyModel()
    whole(sample(rng, 6))
    with pytest.raises(InputError, match="can be traced, but its call uses values that differ"):
        create_analyzer("rap", whole)


class Token(layers.Layer):
    """A learned token for each sample, or one for all."""

    def __init__(self, copies, **options):
        super().__init__(**options)
        self.copies = copies

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="ones")

    def call(self, x):
        shape = (ops.shape(x)[0] if self.copies else 1, 1, x.shape[-1])
        return ops.broadcast_to(self.token, shape)


class Both(Token):
    """The samples, and a token that nobody uses."""

    def __init__(self, **options):
        super().__init__(True, **options)

    def call(self, x):
        return 2 * x, super().call(x)


def test_a_constant_for_each_sample_is_not_that_of_the_traced_batch(rng):
    inputs, x = keras.Input((6, 8)), sample(rng, 6, 8)
    joined = layers.Concatenate(1)([Token(True, name="token")(inputs), inputs])
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(joined)))
    with pytest.raises(UnknownLayerError, match="'token' cannot be opened: it returns a constant"):
        create_analyzer("rap", model)
    found = create_analyzer("gradient", model).analyze(x, target=0)
    assert_same(found, slopes(lambda y: model(y)[:, 0], [x])[0])
    added = layers.Add()([Token(False)(inputs), Both()(inputs)[0]])
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(added)))
    assert create_analyzer("rap", model).analyze(x).shape == x.shape


def test_unknown_weights_are_reported_as_such(rng):
    model = functional(Tokens(name="mine"), (6, 8))
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(InputError, match="finite weights, but 'mine/"):
        create_analyzer("rap", model).analyze(sample(rng, 6, 8))


@pytest.mark.parametrize("layer", [Tokens, Asked])
def test_weights_that_became_constants_are_never_outdated(layer, rng):
    model = functional(layer(name="mine"), (6, 8))
    x = sample(rng, 6, 8)
    analyzer = create_analyzer("rap", model)
    analyzer.analyze(x)
    others = [rng.normal(size=w.shape) for w in model.get_weights()]
    unread = {"last/kernel", "last/bias", "mine/positions"}
    for variable, value in zip(model.weights, others, strict=True):
        if variable.path in unread:
            variable.assign(value)
    assert_same(analyzer.analyze(x), create_analyzer("rap", model).analyze(x))
    model.set_weights(others)
    with pytest.raises(
        InputError, match=r"'mine/.*', which the call .* has changed: create the analyzer"
    ):
        analyzer.analyze(x)
    create_analyzer("rap", model).analyze(x)


def test_a_layer_that_returns_a_tensor_and_none_is_opened(rng):
    class Pair(layers.Layer):
        def call(self, x):
            return 2 * x, None

    class Outer(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.pair = Pair(name="pair")

        def call(self, x):
            return self.pair(x)[0]

    x = sample(rng, 4)
    model = functional(Outer(name="outer"), (4,))
    assert create_analyzer("rap", model).conservation(x).max_error < 1e-5


def test_a_nested_layer_that_computes_its_shapes_without_training_is_opened(rng):
    class Inner(layers.Layer):
        def call(self, x, training=False):
            return 2 * x if not training else x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    class Outer(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = Inner(name="inner")

        def call(self, x):
            return ops.relu(self.inner(x))

    model = functional(Outer(name="outer"), (4,))
    assert create_analyzer("rap", model).conservation(sample(rng, 4)).max_error < 1e-5


def test_a_constant_mask_of_a_layer_gets_no_relevance(rng):
    class Mask(layers.Layer):  # Keras believes that it makes floats
        def call(self, x):
            return np.arange(6)[None, :, None] < 4

        def compute_output_shape(self, shape):
            return (1, 6, 1)

    inputs = keras.Input((6, 8))
    x = layers.Flatten()(ops.where(Mask(name="mask")(inputs), inputs, 0.0))
    model = biased(keras.Model(inputs, layers.Dense(3)(x)))
    x = sample(rng, 6, 8)
    analyzer = create_analyzer("rap", model)
    assert analyzer.conservation(x).max_error < 1e-5
    assert not analyzer.analyze(x)[:, 4:].any()


class Counting(layers.Layer):
    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign_add(1.0)
        return 2 * x


OF_TENSORFLOW = pytest.mark.tensorflow("functions of TensorFlow")


class OutsideKeras(layers.Layer):
    def call(self, x):
        import tensorflow as tf

        return tf.sin(x)


def _normalized(x):
    import tensorflow as tf

    return tf.math.l2_normalize(x, 1) / tf.reduce_max(x, 1, keepdims=True)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Counting, r"its call changes '[^']*calls', which is state"),
        pytest.param(
            OutsideKeras,
            r"line \d+ of .*test_opening.py, `return tf.sin\(x\)`, calls TensorFlow, but only keras.ops "
            r"can be followed: write keras.ops.sin for tf.sin\.",
            marks=OF_TENSORFLOW,
        ),
        pytest.param(
            lambda name: layers.Lambda(lambda x: _normalized(x), name=name),
            r"Layer 'mine' .*`return tf.math.l2_normalize\(x, 1\) .*: write keras.ops.normalize for "
            r"tf.math.l2_normalize, keras.ops.max for tf.reduce_max\.",
            marks=OF_TENSORFLOW,
        ),
        (
            lambda name: layers.Lambda(lambda x: np.tanh(x), output_shape=(4, 2), name=name),
            r"calls NumPy, but only keras.ops .* write keras.ops.tanh for np.tanh\.",
        ),
        pytest.param(
            lambda name: layers.LSTM(4, name=name),
            "Layer 'mine' cannot be opened: it calls TensorFlow,",
            marks=OF_TENSORFLOW,
        ),
    ],
)
def test_what_cannot_be_opened_is_refused_with_its_reason(layer, message, rng):
    shape = (4, 2)
    model = functional(layer(name="mine"), shape)
    with pytest.raises(UnknownLayerError, match=message) as error:
        create_analyzer("rap", model)
    assert f"use a method that needs none ({composites.WITHOUT_RULES})" in str(error.value)
    if "np.tanh" not in message:
        create_analyzer("gradient", model).analyze(sample(rng, *shape))


def test_methods_without_rules_have_these_names():
    names = re.findall(r"\w+(?=[,;]| and|$)", composites.WITHOUT_RULES)
    assert set(names) - {"images"} <= set(rap_keras.analyzer_names())


def test_a_layer_with_a_registered_rule_is_not_opened(monkeypatch, rng):
    def mine(layer, inputs, outputs, relevances):
        return [relevances[0][..., :1] * inputs[0] * 0 + keras.ops.mean(relevances[0])]

    model = functional(Block(3, name="block"))
    kernels = {"Dense": lrp.z_plus, "Flatten": routing.follow, Block: mine}
    analyzer = create_analyzer("lrp", model, composite=Composite(kernels))
    assert [node.name for node, _ in analyzer.rules().rows][::2] == ["block", "last"]
    monkeypatch.setattr(composites, "_registered", {})
    assert create_analyzer("rap", model).rules().rows[0][0].name == "block/conv"
    register_rule(Block, mine)
    assert create_analyzer("rap", model).rules().rows[0][0].name == "block"


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_blocks_of_other_precisions(policy, rng):
    keras.config.set_dtype_policy(policy)
    try:
        model = functional(Stage(4, name="stage"))
        x = sample(rng)
        assert create_analyzer("rap", model).conservation(x).max_error < 1e-3
    finally:
        keras.config.set_dtype_policy("float32")


def test_threads_that_open_models_leave_keras_unchanged():
    """Tracing a call patches Keras. Two threads at once restore it."""

    def seen():
        return [vars(owner).get(name) for owner, name, _ in opening._replacements()]

    before = seen()
    first_inside, second_inside = threading.Event(), threading.Event()

    def first():
        with opening._unchanged(None), opening._unchanged(None):
            first_inside.set()
            second_inside.wait(0.2)  # the second one has to wait until this one is done

    def second():
        first_inside.wait(5)
        with opening._unchanged(None):
            second_inside.set()
            threads[0].join(5)

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen() == before


def test_a_thread_that_opens_a_model_leaves_the_warnings_of_others():
    def reading():
        with opening._unchanged(None):
            entered.set()
            left.wait(5)

    entered, left = threading.Event(), threading.Event()
    filters = list(warnings.filters)
    thread = threading.Thread(target=reading)
    thread.start()
    entered.wait(5)
    with warnings.catch_warnings():
        left.set()
        thread.join(10)
    assert warnings.filters == filters


CAUSAL = {
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 3),
    "GroupQueryAttention": lambda: layers.GroupQueryAttention(4, 4, 2),
}


@pytest.mark.parametrize("length", [5, None])
@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_attention_of_any_length(kind, length, rng):
    if not hasattr(layers, kind):
        pytest.skip("this release of Keras has none")
    inputs = keras.Input((length, 4))
    y = CAUSAL[kind]()(inputs, inputs, use_causal_mask=True)
    analyzer = create_analyzer("gradient", keras.Model(inputs, y[:, 1]))  # the second place
    x = sample(rng, 5, 4)
    maps = analyzer.analyze(x)
    assert abs(maps[:, :2]).max() > 0
    assert not maps[:, 2:].any()  # later places are not seen
    explained = create_analyzer("lrp.epsilon", keras.Model(inputs, y[:, 1])).explain(x)
    assert_same(explained.relevance.sum((1, 2)), explained.logits.max(1))


def test_gated_linear_units_are_products(rng):
    """The values take all, and the gates nothing: that of x * sigmoid(y)."""

    def made(gated):
        inputs = keras.Input((6,))
        return keras.Model(inputs, layers.Dense(3)(gated(layers.Dense(8)(inputs))))

    def written(x):
        values, gates = ops.split(x, 2, axis=-1)
        return values * ops.sigmoid(gates)

    units, parts = made(ops.glu), made(written)
    parts.set_weights(units.get_weights())
    x = sample(rng, 6)
    for method in ("rap", "lrp.alpha_1_beta_0"):
        expected = create_analyzer(method, parts).analyze(x)
        assert_same(create_analyzer(method, units).analyze(x), expected)


@pytest.mark.parametrize("name", ["depth_to_space", "space_to_depth"])
def test_shuffled_pixels_keep_their_relevance(name, rng):
    if not hasattr(ops.nn, name):
        pytest.skip("this release of Keras has none")
    inputs = keras.Input((4, 4, 4))
    model = keras.Model(inputs, layers.Flatten()(getattr(ops.nn, name)(inputs, 2)))
    x = sample(rng, 4, 4, 4)
    explained = create_analyzer("lrp.z", model).explain(x)
    kept = explained.relevance.reshape(len(x), -1)
    np.testing.assert_array_equal(kept.max(1), x.reshape(len(x), -1).max(1))
    assert ((kept != 0).sum(1) == 1).all()


@pytest.mark.parametrize("method", ["gradient", "rap"])
def test_quantized_models_are_refused(method, rng):
    model = functional(Block(3, name="block"))
    if not hasattr(model, "quantize"):
        pytest.skip("this release of Keras has none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize("int8")
    with pytest.raises(
        InputError, match=r"^Expected layers with floating.*is quantized \(int8\): [^:]*$"
    ):
        create_analyzer(method, model).analyze(sample(rng, *SHAPE))


@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_an_input_may_have_the_name_of_a_layer(method, rng):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.words = layers.Embedding(7, 4, name="tokens")
            self.dense = layers.Dense(4, "relu", name="x")

        def call(self, inputs):
            return ops.sum(self.words(inputs["tokens"]), 1) + self.dense(inputs["x"])

    model = Own()
    x = {"tokens": rng.integers(0, 7, (2, 5)), "x": sample(rng, 6)[:2]}
    model(x)
    analyzer = create_analyzer(method, model)
    found, maps = analyzer.analyze_layers(x, 1), analyzer.analyze(x, 1)
    for name, each in maps.items():
        assert_same(found[f"{name} (input)"], each)
    assert (found["tokens"].shape, found["x"].shape) == ((2, 5, 4), (2, 4))
