"""Layers and models of Keras 2 that only call others, and normalizations by the sample."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.compare import assert_same
from helpers.keras2 import k2

from rap_keras import InputError, UnknownLayerError
from rap_keras import innvestigate as plugin
from rap_keras.network.normalization import affine_of_sample

L = k2.layers
SHAPE = (8, 8, 4)


class Block(L.Layer):
    """Convolution, normalization and a skip connection with a weight."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv = L.Conv2D(4, 3, padding="same", name="conv")
        self.norm = L.BatchNormalization(name="norm")
        self.drop = L.Dropout(0.5)

    def build(self, shape):
        self.scale = self.add_weight("scale", (shape[-1],), initializer="ones")

    def call(self, x, training=None):
        y = tf.nn.relu(self.norm(self.conv(x), training=training))
        return x * self.scale + self.drop(y, training=training)


class Pair(L.Layer):
    """Layers in layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = Block(name="first"), Block(name="second")

    def call(self, x):
        return self.second(self.first(x))


class Network(k2.Model):
    def __init__(self):
        super().__init__()
        self.pair, self.pool = Pair(name="pair"), L.GlobalAveragePooling2D(name="pool")
        self.head = L.Dense(3, name="logits")

    def call(self, x, training=None):
        return self.head(self.pool(self.pair(tf.nn.relu(x), training=training)))


class Kernel(L.Layer):
    """A linear layer as tutorials write it."""

    def build(self, shape):
        self.w = self.add_weight("w", (shape[-1], 3))
        self.b = self.add_weight("b", (3,))

    def call(self, x):
        return tf.matmul(x, self.w) + self.b


def reshaped(x):
    size = tf.shape(x)
    x = tf.transpose(tf.reshape(x, [size[0], 8, 8, 2, 2]), [0, 1, 2, 4, 3])
    return tf.reshape(x, [size[0], 8, 8, 4])


FUNCTIONS = {
    "gelu": tf.nn.gelu,
    "silu": tf.nn.silu,
    "leaky relu": lambda x: tf.nn.leaky_relu(x, 0.3),
    "elu": tf.nn.elu,
    "hard swish": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "shuffled channels": reshaped,
    "padded": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]),
    "joined": lambda x: tf.concat([x, tf.nn.relu(x)], -1),
    "shifted": lambda x: tf.nn.bias_add(x, np.arange(4.0, dtype="float32")) - 0.5,
    "squeezed and excited": lambda x: x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True)),
    "largest": lambda x: x + tf.reduce_max(x, [1, 2], keepdims=True),
    "gated": lambda x: tf.concat([x[..., :2] * tf.sigmoid(x[:, :, :, 2:]), x[:, ::-1, :, 1:3]], -1),
    "one row": lambda x: x[:, 3, None],
    "sum of three": lambda x: tf.add_n([x, tf.nn.relu(x), -x]),
    "attention": lambda x: tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True)), x),
}


def classifier(make, shape=SHAPE):
    """A model of `make` between two kernel layers, with biases and random statistics."""
    inputs = k2.Input(shape)
    x = make(L.Dense(shape[-1], name="stem")(inputs))
    model = k2.Model(inputs, L.Dense(3, name="logits")(L.Flatten(name="flat")(x)))
    randomize(model)
    return model


def randomize(model):
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.uniform(0.1, 0.9, w.shape) - 0.4 * (w.ndim > 1) for w in model.get_weights()]
    )


def output_of(model, x):
    with plugin.graph_scope(model):
        return model.predict_on_batch(x)


def explained(model, x):
    """An analyzer "rap", whose maps sum to the largest logit; and the names of what it opened."""
    expected = output_of(model, x)
    calls = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    analyzer = plugin.create_analyzer("rap", model)
    assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == calls
    maps = analyzer.analyze(x)
    lost = abs(maps.sum(tuple(range(1, maps.ndim))) - expected.max(1))
    assert (lost <= 1e-5 * abs(maps).reshape(len(x), -1).sum(1)).all()
    return analyzer, [node.name for node, _ in analyzer.rules().rows]


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, *SHAPE)).astype("float32")


def test_composite_layers_are_opened(x):
    with plugin.new_graph():
        shared = Pair(name="pair")
        model = classifier(lambda t: shared(shared(t)))
    _, names = explained(model, x)
    assert {"pair/first/conv", "pair/second/norm", "pair_1/second/mul"} <= set(names)


@pytest.mark.slow
def test_other_analyzers_explain_what_is_opened(x):
    with plugin.new_graph():
        model = classifier(Block(name="block"))
    flat = plugin.prepare(model)
    assert_same(flat.predict_on_batch(x), output_of(model, x))
    with plugin.fast_building():
        slope = plugin.create_analyzer("gradient", flat).analyze(x)
    with plugin.graph_scope(model):
        (own,) = tf.gradients(tf.reduce_max(model.output, -1), model.inputs)
        own = k2.backend.function(model.inputs, [own])([x])[0]
    np.testing.assert_allclose(slope, own, atol=1e-5 * abs(own).max())


@pytest.mark.slow
def test_subclassed_models_are_opened(x):
    with plugin.new_graph():
        model = Network()
        model(k2.Input(SHAPE))
        randomize(model)
        outer = k2.Input(SHAPE)
        nested = k2.Model(outer, L.Dense(2)(model(outer)))
    assert "pair/first/conv" in explained(model, x)[1]
    assert "network/pair/first/conv" in explained(nested, x)[1]


def test_linear_layers_of_users_are_dense(rng):
    with plugin.new_graph():
        inputs = k2.Input((5,))
        model = k2.Model(inputs, Kernel(name="own")(L.Dense(4, activation="relu")(inputs)))
    analyzer, _ = explained(model, rng.normal(size=(2, 5)).astype("float32"))
    (kind,) = {type(n.layer) for n, _ in analyzer.rules().rows if n.name == "own/matmul"}
    assert issubclass(kind, L.Dense)


# One operation of each kind: activations, and those that move, join, multiply and distribute.
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.quick("padded", "squeezed and excited", "attention")
def test_operations_of_a_layer_become_layers(name, x):
    with plugin.new_graph():
        model = classifier(L.Lambda(FUNCTIONS[name], name="own"))
    explained(model, x)


class Scaled(k2.Model):
    """A functional model whose class computes something else than its graph."""

    def call(self, x):
        return 2 * super().call(x)


def test_models_with_a_call_and_a_graph_use_their_call(rng):
    """Inside other models. Alone, Keras predicts by the graph and calls by the call."""
    with plugin.new_graph():
        inputs = k2.Input((4,))
        own = Scaled(inputs, L.Dense(3)(inputs), name="own")
        outer = k2.Input((4,))
        nested = k2.Model(outer, L.Dense(2)(own(outer)))
    explained(nested, rng.normal(size=(2, 4)).astype("float32"))
    with pytest.raises(InputError, match="its class computes something else than its graph"):
        plugin.prepare(own)


class Looping(L.Layer):
    """Its Python code branches on values, and Keras turns it into operations."""

    def call(self, x):
        if tf.reduce_sum(x) > 0:
            x = -x
        return x


class Counting(L.Layer):
    def build(self, shape):
        self.calls = self.add_weight("calls", (), initializer="zeros", trainable=False)

    def call(self, x):
        return x + self.calls.assign_add(1.0)


def function(call):
    return lambda name: L.Lambda(call, name=name)


REFUSED = {
    "control flow": (Looping, r"line \d+ of .*, `if tf.reduce_sum\(x\) > 0:`, fails on symbolic"),
    "an operation": (
        function(tf.math.cumsum),
        "it calls Cumsum of 1 tensors and 1 constants, which",
    ),
    "a loop": (function(lambda x: tf.map_fn(lambda row: 2 * row, x)), "it calls TensorListFrom"),
    "randomness": (
        function(lambda x: x + tf.random.normal((4,))),
        "it calls RandomStandardNormal, which draws random numbers or has state",
    ),
    "state": (Counting, "it calls AssignAddVariableOp, which draws random numbers or has state"),
    "mixed samples": (function(lambda x: tf.reverse(x, [0])), "it calls ReverseV2"),
    "one sample": (function(lambda x: x + x[:1]), "it calls StridedSlice"),
    "a constant matrix before samples": (
        function(lambda x: tf.matmul(tf.ones((4, 4)), x)),
        "it calls MatMul of 1 tensors and 1 constants",
    ),
    "a mean of samples": (
        function(lambda x: x - tf.reduce_mean(x, 0, keepdims=True)),
        "it calls Mean",
    ),
    "a recurrent layer": (
        lambda name: L.LSTM(3, name=name),
        "it repeats or changes what another layer does",
    ),
    "a wrapper": (
        lambda name: L.TimeDistributed(L.Dense(2), name=name),
        "it repeats or changes what another layer does",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_opened_is_refused_by_name(name):
    """`prepare` leaves it unchanged, because other analyzers of iNNvestigate may accept it."""
    make, why = REFUSED[name]
    with plugin.new_graph():
        inputs = k2.Input((5, 4) if name in ("a recurrent layer", "a wrapper") else (4,))
        layer = make(name="own")
        model = k2.Model(inputs, L.Dense(3)(L.Flatten()(layer(inputs))))
    assert plugin.prepare(model) is model
    with pytest.raises(UnknownLayerError, match=f"Layer 'own' cannot be opened: {why}"):
        plugin.create_analyzer("rap", model)


def test_tensors_from_outside_a_call_are_refused():
    with plugin.new_graph():
        inputs = k2.Input((4,))
        x = L.Dense(4)(inputs)
        layer = L.Lambda(lambda y: y + x, name="own")
        model = k2.Model(inputs, L.Dense(3)(layer(x)))
    with pytest.raises(UnknownLayerError, match="'own' cannot be opened: it takes tensors that it"):
        plugin.create_analyzer("rap", model)


def test_layers_that_cannot_be_opened_are_copied(rng):
    with plugin.new_graph():
        inputs = k2.Input((4,))
        x = L.Lambda(tf.math.cumsum, name="closed")(Kernel(name="open")(inputs))
        model = k2.Model(inputs, L.Dense(3)(x))
    x = rng.normal(size=(2, 4)).astype("float32")
    flat = plugin.prepare(model)
    assert [layer.name for layer in flat.layers[1:4]] == ["open/matmul", "open/addv2", "closed"]
    assert_same(flat.predict_on_batch(x), output_of(model, x))


def test_a_subclassed_model_without_inputs_is_refused():
    with plugin.new_graph():
        model = Network()
        with pytest.raises(InputError, match="call it once on an Input"):
            plugin.prepare(model)


def groups_of(kind):
    """What has statistics together: places in a sample of shape SHAPE."""
    if kind == "layer":
        return [np.s_[y, x, :] for y in range(8) for x in range(8)]
    if kind == "layer of two axes":
        return [np.s_[:, x, :] for x in range(8)]
    return [np.s_[:, :, :2], np.s_[:, :, 2:]]


NORMALIZATIONS = {
    "layer": lambda: L.LayerNormalization(name="own"),
    "layer of two axes": lambda: L.LayerNormalization(axis=[1, 3], name="own"),
    "group": lambda: L.GroupNormalization(2, name="own"),
}


@pytest.mark.parametrize("kind", NORMALIZATIONS)
@pytest.mark.quick("group")
def test_normalizations_by_the_sample_are_affine_maps_of_it(kind, x):
    """By "rap", relevance stays with its neuron; the map is that of a slow NumPy version."""
    with plugin.new_graph():
        model = classifier(lambda t: NORMALIZATIONS[kind]()(t))
    analyzer, _ = explained(model, x)
    with plugin.graph_scope(model):
        layer = model.get_layer("own")
        before, after = k2.backend.function(model.inputs, [layer.input, layer.output])([x])
        gamma, beta = (w.astype("float64") for w in layer.get_weights())
        affine = affine_of_sample(layer, tf.constant(before))
        scale, shift = tf.compat.v1.keras.backend.get_session().run(affine)
    expected, slow = np.zeros(before.shape), np.zeros(before.shape)
    if kind == "layer of two axes":
        gamma, beta = gamma[:, None], beta[:, None]
    for sample in range(len(x)):
        for group in groups_of(kind):
            part = before[sample][group].astype("float64")
            slow[sample][group] = 1 / np.sqrt(((part - part.mean()) ** 2).mean() + 1e-3)
            expected[sample][group] = (part - part.mean()) * slow[sample][group]
    if kind == "layer of two axes":
        gamma, beta = gamma[:, 0], beta[:, 0]
        gamma, beta = gamma.reshape(8, 1, 4), beta.reshape(8, 1, 4)
    assert_same(after, expected * gamma + beta)
    np.testing.assert_allclose(np.broadcast_to(scale, x.shape), slow * gamma, rtol=1e-4)
    np.testing.assert_allclose(scale * before + shift, after, atol=1e-4)
    layers = analyzer.analyze_layers(x)
    assert_same(layers["stem"], layers["own"])


ATTENTION = {
    "several heads": lambda x: L.MultiHeadAttention(2, 3, name="own")(x, x),
    "one head": lambda x: L.Attention(name="own")([x, x]),
}


@pytest.mark.parametrize("kind", ATTENTION)
@pytest.mark.quick("one head")
def test_attention_is_opened(kind, rng):
    """Its values are those of the native backend, in test_native.py."""
    with plugin.new_graph():
        model = classifier(ATTENTION[kind], (6, 4))
    analyzer, _ = explained(model, rng.normal(size=(2, 6, 4)).astype("float32"))
    assert "Einsum" in str(analyzer.rules())


def test_analyzers_of_opened_models_are_saved_with_them(tmp_path, x):
    with plugin.new_graph():
        model = classifier(lambda t: tf.nn.gelu(Block(name="block")(t)))
    analyzer = plugin.create_analyzer("rap", model)
    expected = analyzer.analyze(x)
    analyzer.save_npz(tmp_path / "analyzer.npz")
    assert_same(plugin.RAPAnalyzer.load_npz(tmp_path / "analyzer.npz").analyze(x), expected)
