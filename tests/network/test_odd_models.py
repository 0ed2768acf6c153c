"""Models that are easy to explain wrongly: they are explained correctly, or refused."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased
from helpers.tensors import array, names, not_on, tensor
from keras import layers, ops

import rap_keras
from rap_keras import InputError, UnknownLayerError, create_analyzer


def finished(inputs, x, head=3):
    """A model that ends in two dense layers, of which none is ever dead."""
    x = layers.Dense(5, activation="softplus", name="before_last")(x)
    return biased(keras.Model(inputs, layers.Dense(head)(x)))


def assert_conserves(model, x, logits=None, rtol=1e-3):
    analyzer = create_analyzer("rap", model)
    maps = analyzer.analyze(x)
    parts = keras.tree.flatten(maps)
    total = sum(part.reshape(len(part), -1).sum(1, dtype="float64") for part in parts)
    expected = array(model(x, training=False) if logits is None else logits).max(1)
    np.testing.assert_allclose(total, expected, rtol=rtol, atol=1e-5)
    assert analyzer.conservation(x).max_error < 1e-5
    return maps


AUGMENTATIONS = [
    layers.RandomFlip(seed=1),
    layers.RandomRotation(0.3, seed=1),
    layers.RandomZoom(0.3, seed=1),
    layers.RandomTranslation(0.3, 0.3, seed=1),
    layers.RandomContrast(0.5, seed=1),
    layers.RandomBrightness(0.5, seed=1),
    layers.GaussianNoise(0.5, seed=1),
]


@pytest.mark.parametrize("layer", AUGMENTATIONS, ids=lambda layer: type(layer).__name__)
def test_augmentation_layers_do_nothing(layer, rng):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(layer(inputs))
    model = biased(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    image = rng.uniform(0, 1, size=(2, 8, 8, 3)).astype("float32")
    maps = assert_conserves(model, np.concatenate([image] * 3))
    assert_same(maps[:2], maps[4:])


def test_layers_called_for_training_are_explained_at_inference(rng):
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5)])
    x = rng.normal(size=(3, 4)).astype("float32")
    for layer in (layers.BatchNormalization(), layers.Dropout(0.5), inner):
        model = finished(inputs, layer(inputs, training=True))
        assert_conserves(model, x, tensor(model.predict(x, verbose=0)))


def test_dicts_of_inputs_keep_their_order(rng):
    z, a = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    both = layers.Concatenate()([layers.Dense(5, activation="relu")(z), a])
    inner = biased(keras.Model([z, a], layers.Dense(3)(both)))
    outer_z, outer_a = keras.Input((4,), name="oz"), keras.Input((4,), name="oa")
    model = keras.Model([outer_z, outer_a], inner({"z": outer_z, "a": outer_a}))
    x = [rng.normal(size=(2, 4)).astype("float32") for _ in range(2)]
    maps = assert_conserves(model, x)
    for one, other in zip(maps, create_analyzer("rap", inner).analyze(x), strict=True):
        assert_same(one, other)


@pytest.mark.filterwarnings("ignore:.*keys:UserWarning", "ignore:.*structure:UserWarning")
def test_dict_models_use_their_keys_and_not_the_names_of_inputs(rng):
    a, b = keras.Input((4,), name="x"), keras.Input((4,), name="a")
    out = layers.Dense(3)(layers.Concatenate()([layers.Dense(5, activation="relu")(a), b]))
    model = biased(keras.Model({"a": a, "x": b}, out))
    x = {k: rng.normal(size=(2, 4)).astype("float32") for k in ("a", "x")}
    assert set(assert_conserves(model, x)) == {"a", "x"}


def test_helpers_of_call_count_as_overriding_it(rng):
    class Standardized(layers.Conv2D):
        def convolution_op(self, inputs, kernel):
            return super().convolution_op(inputs, kernel - ops.mean(kernel))

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(Standardized(2, 3)(inputs))))
    analyzer = create_analyzer("rap", model)
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    assert "KernelOperation" in repr(analyzer.rules())
    assert "Conv2D" not in repr(analyzer.rules())
    assert analyzer.conservation(x).max_error < 1e-5


def test_effects_that_cross_a_nested_model_are_refused(rng):
    tokens = keras.Input((7,), dtype="int32")
    embed = keras.Sequential(
        [keras.Input((7,), dtype="int32"), layers.Embedding(9, 3, mask_zero=True)]
    )
    pooled = layers.GlobalAveragePooling1D()(embed(tokens))
    model = biased(keras.Model(tokens, layers.Dense(3)(pooled)))
    ids = rng.integers(1, 9, (3, 7))
    ids[:, 2:] = 0
    with pytest.raises(
        InputError, match="compute what the model computes, got outputs that differ"
    ):
        create_analyzer("rap", model).analyze(ids)


HEADS = {
    "function": lambda x: layers.Dense(3, activation=keras.ops.softmax, name="d")(x),
    "log": lambda x: layers.Dense(3, activation="log_softmax", name="d")(x),
    "linear after": lambda x: layers.Activation("linear", dtype="float32")(
        layers.Dense(3, activation="softmax", name="d")(x)
    ),
    "identity after": lambda x: layers.Identity()(layers.Softmax()(layers.Dense(3, name="d")(x))),
    "reshape after": lambda x: layers.Reshape((3,))(
        layers.Softmax()(layers.Reshape((1, 3))(layers.Dense(3, name="d")(x)))
    ),
    "clip after": lambda x: ops.clip(softmaxed(x), 1e-7, 1 - 1e-7),
    "clip after log": lambda x: ops.clip(ops.log_softmax(layers.Dense(3, name="d")(x)), -5, 0),
    "log and exp after": lambda x: ops.exp(ops.log(softmaxed(x) + 1e-7)),
    "smoothed and in percent after": lambda x: 100 * (0.9 * softmaxed(x) + 0.1 / 3),
    "rescaling after": lambda x: layers.Rescaling(100)(layers.Dropout(0.1)(softmaxed(x))),
    "power after": lambda x: ops.sqrt(ops.square(softmaxed(x))) ** 0.5,
    "rounding after": lambda x: ops.round(softmaxed(x), 4),
    "quotient after": lambda x: ops.maximum(softmaxed(x) / 2 - 0.1, 0.0),
    "softmax after": lambda x: layers.Softmax()(softmaxed(x)),
    "sigmoid after": lambda x: layers.Activation("sigmoid")(ops.log(softmaxed(x))),
    "ReLU after": lambda x: layers.ReLU()(layers.Activation("tanh")(softmaxed(x))),
}


def softmaxed(x):
    return layers.Dense(3, activation="softmax", name="d")(x)


@pytest.mark.parametrize("head", HEADS)
def test_every_softmax_at_the_end_is_removed(head, rng):
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu")(inputs)
    model = biased(keras.Model(inputs, HEADS[head](hidden)))
    plain = layers.Dense(3)
    logits = keras.Model(inputs, plain(hidden))
    plain.set_weights(model.get_layer("d").get_weights())
    x = rng.normal(size=(3, 4)).astype("float32")
    assert_conserves(model, x, logits(x))


def _shares(x):
    return x / ops.sum(x, axis=-1, keepdims=True)


PROBABILITIES = {
    "classes apart": lambda x: softmaxed(x) * np.float32([1, 2, 3]),
    "turned": lambda x: 1 - softmaxed(x),
    "mean of two": lambda x: layers.Average()([softmaxed(x), layers.Dense(3, "softmax")(x)]),
    "joined": lambda x: layers.Concatenate()([softmaxed(x), layers.Dense(1, "sigmoid")(x)]),
    "hard": lambda x: layers.Dense(3, activation="hard_sigmoid")(x),
    "unit": lambda x: ops.normalize(softmaxed(x)),
    "written with operations": lambda x: _shares(ops.exp(layers.Dense(3)(x))),
}


@pytest.mark.parametrize("head", PROBABILITIES)
def test_explaining_probabilities_gives_a_warning(head, rng):
    inputs = keras.Input((4,))
    model = biased(keras.Model(inputs, PROBABILITIES[head](inputs)))
    x = rng.normal(size=(3, 4)).astype("float32")
    with pytest.warns(
        UserWarning, match="computed from the probabilities of layer .*before that layer"
    ):
        found = create_analyzer("gradient", model).explain(x)
    np.testing.assert_allclose(found.logits, array(model(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: x * layers.Dense(4, activation="sigmoid")(x),
        lambda x: layers.Dense(3)(layers.Dense(4, activation="softmax")(x)),
        lambda x: layers.Dense(3)(x),
    ],
)
def test_gates_are_not_probabilities(end):
    inputs = keras.Input((4,))
    create_analyzer("gradient", keras.Model(inputs, end(inputs)))


ACROSS = {
    "mean": lambda h: h - ops.mean(h, axis=0),
    "max": lambda h: h + ops.max(h, axis=0, keepdims=True),
    "flip": ops.flip,
    "roll": lambda h: ops.roll(h, 2),
    "softmax": lambda h: ops.softmax(h, axis=0),
    "tile": lambda h: ops.tile(h, (3, 1)),
    "weighted average": lambda h: ops.average(ops.reshape(h, (-1, 2, 3)), axis=1),
    "bicubic": lambda h: layers.UpSampling2D(interpolation="bicubic")(layers.Reshape((2, 3, 1))(h)),
}


@pytest.mark.parametrize("name", ACROSS)
def test_operations_that_their_arguments_change_are_refused(name):
    inputs = keras.Input((4,))
    h = ACROSS[name](layers.Dense(6, activation="relu")(inputs))
    if len(h.shape) != 2:
        h = layers.Flatten()(h)
    with pytest.raises(UnknownLayerError):
        create_analyzer("rap", finished(inputs, h))


def test_constants_among_tensors(rng):
    inputs = keras.Input((6,), batch_size=1)
    constant = -np.ones((1, 3), "float32")
    x = ops.concatenate([layers.Dense(5, activation="relu")(inputs), constant], axis=1)
    analyzer = create_analyzer("rap", finished(inputs, x))
    report = analyzer.conservation(rng.normal(size=(1, 6)).astype("float32"))
    # The constant keeps its share; the layer that reads it must know that it is negative.
    errors = {row.name: row.error.max() for row in report.layers}
    assert errors["before_last"] < 1e-5
    node = next(n for n in analyzer._graph.nodes if n.name == "before_last")
    assert not analyzer._graph.nonnegative(node)


WITHOUT_LOSS = {
    "maximum": lambda h: ops.maximum(h, 0.3),
    "cast of a comparison": lambda h: h * ops.cast(h > 0, "float32"),
    "one minus": lambda h: 1 - h,
    "quotient": lambda h: 2 / (ops.relu(h) + 1.0),
    "slices": lambda h: h[:, ::-1][:, 1:4],
    "split": lambda h: ops.concatenate(ops.split(h, 2, axis=1)[::-1], axis=1),
    "clip": lambda h: ops.clip(h, -2.0, -1.0),
    "squeeze": lambda h: ops.squeeze(ops.expand_dims(h, 1), 1),
}


@pytest.mark.parametrize(
    "name", names(WITHOUT_LOSS, {"slices": not_on("torch", "has no slices backwards")})
)
def test_operations_conserve(name, rng):
    inputs = keras.Input((4,))
    model = finished(inputs, WITHOUT_LOSS[name](layers.Dense(6)(inputs)))
    assert_conserves(model, rng.normal(size=(3, 4)).astype("float32"))


@pytest.mark.parametrize("method", ["rap", "lrp.alpha_1_beta_0"])
def test_samples_on_another_axis_than_the_first(method, rng):
    """As where time comes first; the sums are those of a sample all the same."""
    inputs = keras.Input((5, 4))
    x = ops.transpose(layers.Dense(6, activation="relu")(inputs), (1, 0, 2))
    x = layers.Dense(3, activation="relu")(x)
    x = ops.stack([x, 2.0 * x], axis=0)
    model = finished(inputs, ops.reshape(ops.transpose(x, (2, 1, 0, 3)), (-1, 30)))
    x = rng.normal(size=(3, 5, 4)).astype("float32")
    x[1] = 0
    analyzer = create_analyzer(method, model)
    maps = analyzer.analyze(x)
    for k in range(3):
        assert_same(maps[k], analyzer.analyze(x[k : k + 1])[0], 1e-5)
    if method == "rap":
        assert_conserves(model, x)
    in_parts = create_analyzer(method, model, batch_size=2).analyze_layers(x, 1)
    none = analyzer.analyze_layers(x[:0])
    for name, whole in analyzer.analyze_layers(x, 1).items():
        assert_same(in_parts[name], whole, 1e-5)
        assert none[name].size == 0
        assert none[name].ndim == whole.ndim


def test_masking_layers_and_boolean_inputs(rng):
    inputs, mask = keras.Input((7, 3)), keras.Input((7,), dtype="bool")
    x = rng.normal(size=(2, 7, 3)).astype("float32")
    x[:, 4:] = 0
    own = finished(inputs, layers.GlobalAveragePooling1D()(layers.Masking()(inputs)))
    assert_conserves(own, x)
    given = finished([inputs, mask], layers.GlobalAveragePooling1D()(inputs, mask=mask))
    maps = assert_conserves(given, [x, (x != 0).any(-1)])
    assert not maps[1].any()


def test_integers_are_moved_before_an_embedding(rng):
    tokens = keras.Input((6,), dtype="int32")
    parts = [layers.Embedding(9, 4)(tokens[:, :2]), layers.Embedding(9, 4)(tokens[:, 2:])]
    pooled = layers.GlobalAveragePooling1D()(layers.Concatenate(axis=1)(parts))
    model = finished(tokens, pooled)
    ids = rng.integers(0, 9, (3, 6))
    assert_conserves(model, ids)
    lift = create_analyzer("deep_lift", model)  # each token has the sum over its own vector
    assert abs(lift.convergence_delta(ids)).max() < 1e-5
    assert not lift.analyze(ids)[ids == 0].any()


def test_names_of_nodes_are_unique(rng):
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="d")
    x = layers.Dense(3, name="d:1")(shared(shared(inputs)))
    analyzer = create_analyzer("rap", keras.Model(inputs, x))
    assert len(analyzer.analyze_layers(np.ones((1, 4)))) == 4


RULES = {
    "wrong shape": lambda layer, i, o, r: [keras.ops.sum(r[0], -1, keepdims=True)],
    "no list": lambda layer, i, o, r: r[0],
    "too few": lambda layer, i, o, r: [],
}


@pytest.mark.parametrize("name", RULES)
def test_rules_that_return_something_else_are_refused(name, monkeypatch):
    class Mine(layers.Layer):
        def call(self, x):
            return 2 * x

    monkeypatch.setattr(rap_keras.composites.composite, "_registered", {Mine: RULES[name]})
    inputs = keras.Input((4,))
    with pytest.raises(InputError, match="to return a list of relevances for layer 'mine'"):
        create_analyzer("rap", finished(inputs, Mine(name="mine")(inputs))).analyze(np.ones((2, 4)))


def test_dicts_in_any_order(rng):
    """Of a model's inputs, and of the arguments of a layer; PyTorch keeps the order of the keys."""
    shapes = {"query": (3, 4), "value": (5, 6), "key": (5, 2)}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    x = layers.MultiHeadAttention(2, 3, name="attention")(**inputs)
    model = finished(inputs, layers.Flatten()(x))
    given = {name: rng.normal(size=(2, *shape)).astype("float32") for name, shape in shapes.items()}
    found = create_analyzer("gradient", model).analyze(given, 1)
    assert {name: part.shape for name, part in found.items()} == {
        name: part.shape for name, part in given.items()
    }
    step = {
        name: 1e-2 * rng.normal(size=part.shape).astype("float32") for name, part in given.items()
    }
    moved = {name: given[name] + step[name] for name in given}
    back = {name: given[name] - step[name] for name in given}
    slope = array(model(moved))[:, 1] - array(model(back))[:, 1]
    expected = 2 * sum((found[name] * step[name]).sum((1, 2)) for name in found)
    np.testing.assert_allclose(slope, expected, rtol=0.05, atol=1e-3)
