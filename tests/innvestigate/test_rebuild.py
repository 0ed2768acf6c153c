"""Models that iNNvestigate cannot analyze, rebuilt so that it can."""

import itertools
import warnings

import innvestigate
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from helpers.compare import assert_same
from helpers.keras2 import k2

from rap_keras import InputError
from rap_keras import innvestigate as plugin
from rap_keras.backends.keras2.graphs import engine

L = k2.layers


def block(name):
    inputs = k2.Input((8, 8, 4))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    return k2.Model(inputs, L.Add(name="add")([inputs, x]), name=name)


def nested():
    """Models in models: a functional one used twice, and a Sequential that has one in it."""
    inputs = k2.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    shared = block("shared")
    x = shared(shared(x))
    x = k2.Sequential([block("inner"), L.GlobalAveragePooling2D(name="pool")], name="tail")(x)
    return k2.Model(inputs, L.Dense(3, name="logits")(x))


@pytest.fixture
def images(rng):
    return rng.normal(size=(2, 8, 8, 3)).astype("float32")


def gradient(model, x):
    """The gradient of each sample's largest logit, by TensorFlow."""
    top = tf.reduce_max(model.output, -1)
    (found,) = tf.gradients(top, model.inputs)
    return k2.backend.function(model.inputs, [found])([x])[0]


def test_nested_models_are_flattened(images):
    with plugin.new_graph():
        model = nested()
    with plugin.graph_scope(model):
        expected, slope = model.predict_on_batch(images), gradient(model, images)
    nodes = len(model.get_layer("shared").layers[1]._inbound_nodes)
    flat = plugin.prepare(model)
    assert [layer.name for layer in flat.layers[1:4]] == ["stem", "shared/conv", "shared/add"]
    assert_same(flat.predict_on_batch(images), expected)
    for name in ("gradient", "rap"):
        maps = plugin.create_analyzer(name, flat).analyze(images)
        if name == "gradient":
            np.testing.assert_allclose(maps, slope, atol=1e-5 * abs(slope).max())
        else:
            np.testing.assert_allclose(maps.sum((1, 2, 3)), expected.max(1), rtol=1e-4, atol=1e-6)
    assert_same(plugin.create_analyzer("rap", model).analyze(images), maps)
    assert len(model.get_layer("shared").layers[1]._inbound_nodes) == nodes, "the model was changed"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.quick("False")
def test_maps_are_not_those_of_earlier_weights(nested):
    with plugin.new_graph():
        inputs = k2.Input((5,))
        inner = k2.Sequential([L.Dense(4, bias_initializer="ones", input_shape=(5,))])
        x = inner(inputs) if nested else L.Dense(4, bias_initializer="ones")(inputs)
        model = k2.Model(inputs, L.Dense(3, bias_initializer="ones")(x))
        model.compile("sgd", "mse")
    x = np.ones((2, 5), "float32")
    analyzer = plugin.create_analyzer("rap", model)
    assert_same(analyzer.analyze(x), analyzer.analyze(x))
    with plugin.graph_scope(model):
        model.fit(x, np.full((2, 3), 9.0), verbose=0)
    if nested:
        with pytest.raises(InputError, match=r"dense.*' has changed: create the analyzer again"):
            analyzer.analyze(x)
        analyzer = plugin.create_analyzer("rap", model)
    assert_same(analyzer.analyze(x).sum(1), model_output(model, x).max(1))


@pytest.mark.slow
def test_partly_frozen_layers_are_copied(rng):
    with plugin.new_graph():
        inputs = k2.Input((5, 4))
        layer = L.Bidirectional(L.LSTM(3))
        inner = k2.Model(inputs, layer(inputs))
        layer.forward_layer.trainable = False  # its weights are now the last ones
        outer = k2.Input((5, 4))
        model = k2.Model(outer, L.Dense(3)(inner(outer)))
    x = rng.normal(size=(2, 5, 4)).astype("float32")
    flat = plugin.prepare(model)
    assert flat is not model
    assert_same(flat.predict_on_batch(x), model_output(model, x))
    assert len(flat.trainable_weights) == len(model.trainable_weights)


def test_a_flat_model_is_prepared_as_it_is():
    with plugin.new_graph():
        model = block("flat")
    assert plugin.prepare(model) is model


def test_bare_operations_become_layers(images):
    with plugin.new_graph():
        inputs = k2.Input((8, 8, 3))
        x = L.Conv2D(4, 3, padding="same", name="conv")(inputs)
        x = tf.nn.relu6(x + 3.0) * (1 / 6) * x  # hard swish
        x = 1.0 - (x - 0.5) / 4.0
        x = L.GlobalAveragePooling2D()(tf.nn.relu(-x) - x)
        model = k2.Model(inputs, L.Dense(3)(x))
    expected = model_output(model, images)
    flat = plugin.prepare(model)
    assert {type(layer).__name__ for layer in flat.layers} >= {"Rescaling", "ReLU", "Multiply"}
    assert_same(flat.predict_on_batch(images), expected)
    maps = plugin.create_analyzer("rap", model).analyze(images)
    np.testing.assert_allclose(maps.sum((1, 2, 3)), expected.max(1), rtol=1e-4, atol=1e-6)


def model_output(model, x):
    with plugin.graph_scope(model):
        return model.predict_on_batch(x)


def test_operations_without_a_layer_are_refused():
    with plugin.new_graph():
        inputs = k2.Input((4,))
        model = k2.Model(inputs, L.Dense(2)(tf.math.cumsum(inputs)))
    with pytest.raises(InputError, match=r"is Cumsum of 1 tensors: write it as a"):
        plugin.prepare(model)


@pytest.mark.parametrize("name", ["rap", "lrp.epsilon", "input_t_gradient"])
@pytest.mark.quick("rap")
def test_loaded_layers_may_have_the_default_names_of_keras(name, images):
    """Helper layers of analyzers take the next free names, "add", "multiply_3", ..."""
    with plugin.new_graph():
        inputs = k2.Input((8, 8, 3), name="input_1")
        x = y = L.Conv2D(4, 3, padding="same", activation="relu", name="conv2d")(inputs)
        for k in range(4):
            suffix = f"_{k}" if k else ""
            x = L.Multiply(name="multiply" + suffix)([x, x]) if k == 1 else x
            x = L.Add(name="add" + suffix)([x, y])
        x = L.Flatten(name="flatten")(x)
        model = plugin.prepare(k2.Model(inputs, L.Dense(3, name="dense")(x)))
    maps = plugin.create_analyzer(name, model).analyze(images)
    assert np.isfinite(maps).all()
    assert abs(maps).max() > 0


def with_default_names(last):
    """A model whose layers have the names that Keras gives, and those of iNNvestigate's helpers."""
    inputs = k2.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = L.Subtract(name="subtract_2000000000")([L.Add()([x, x]), L.Multiply()([x, x])])
    x = L.Reshape((-1,))(L.Activation("relu")(L.Add()([x, x])))
    x = last(L.Dense(5, activation="relu")(x))
    return k2.Model(inputs, x)


def softmax(logits):
    return scipy.special.softmax(logits, -1)


def separate(activate):
    return lambda x: activate(L.Dense(3)(x))


def nested_head(x):
    inputs = k2.Input(x.shape[1:])
    return k2.Model(inputs, L.Dense(3, activation="softmax")(inputs))(x)


def shared_head(x):
    square = L.Dense(5, activation="softmax")
    return square(square(x))


HEADS = {
    "fused": (lambda x: L.Dense(3, activation="softmax")(x), softmax),
    "sigmoid": (lambda x: L.Dense(3, activation="sigmoid")(x), scipy.special.expit),
    "an activation": (separate(lambda x: L.Activation("softmax")(x)), softmax),
    "a layer": (separate(lambda x: L.Softmax()(x)), softmax),
    "an operation": (separate(tf.nn.softmax), softmax),
    "nested": (nested_head, softmax),
    "shared": (shared_head, softmax),
    "none": (lambda x: L.Dense(3)(x), lambda logits: logits),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A function that loads a model of default names whose head is one of HEADS."""
    folder = tmp_path_factory.mktemp("models")

    def load(head):
        path = folder / f"{head}.h5"
        if not path.is_file():
            with plugin.new_graph(), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Keras 2 says that HDF5 is legacy
                with_default_names(HEADS[head][0]).save(path)
        with plugin.new_graph():
            return k2.models.load_model(path, compile=False)

    return load


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.quick("a layer", "nested")
def test_a_loaded_model_is_prepared_to_its_logits(head, loaded, images):
    model = loaded(head)
    expected = model_output(model, images)
    before = [layer.name for layer in model.layers]
    logits = plugin.prepare(model, keep_head=False)
    np.testing.assert_allclose(
        HEADS[head][1](logits.predict_on_batch(images)), expected, rtol=1e-5, atol=1e-7
    )
    assert [layer.name for layer in model.layers] == before
    np.testing.assert_array_equal(model_output(model, images), expected)
    maps = plugin.create_analyzer("rap", logits).analyze(images)
    top = logits.predict_on_batch(images).max(1)
    np.testing.assert_allclose(maps.sum((1, 2, 3)), top, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "head"),
    list(
        itertools.product(
            ["gradient", "smoothgrad", "integrated_gradients", "lrp.alpha_2_beta_1", "deep_taylor"],
            ["fused", "nested"],
        )
    ),
)
@pytest.mark.quick("gradient-fused", "smoothgrad-nested")
def test_loaded_models_of_default_names_are_explained(name, head, loaded, images):
    model = plugin.prepare(loaded(head), keep_head=False)
    maps = plugin.create_analyzer(name, model).analyze(images)
    assert np.isfinite(maps).all()
    assert abs(maps).max() > 0


@pytest.mark.parametrize("remove", ["model_wo_softmax", "model_wo_output_activation"])
def test_innvestigate_removes_the_softmax_of_a_prepared_model(remove, loaded, images):
    model = plugin.prepare(loaded("fused"))
    with plugin.graph_scope(model):
        removed = getattr(innvestigate, remove)(model)
    expected = plugin.prepare(model, keep_head=False).predict_on_batch(images)
    np.testing.assert_array_equal(model_output(removed, images), expected)


def test_masks_are_refused():
    with plugin.new_graph():
        tokens = k2.Input((5,), dtype="int32")
        x = L.Embedding(7, 4, mask_zero=True)(tokens)
        model = k2.Model(tokens, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
        with pytest.raises(InputError, match="without implicit masks"):
            plugin.create_analyzer("rap", model)


def test_a_model_built_eagerly_is_refused():
    inputs = k2.Input((4,))
    model = k2.Model(inputs, L.Dense(2)(inputs))
    for refusing in (plugin.prepare, lambda m: plugin.create_analyzer("rap", m)):
        with pytest.raises(InputError, match=r"built while eager execution is off.*disable_eager"):
            refusing(model)
    with pytest.raises(InputError, match=r"Expected a Keras 2 model.*got builtins\.int"):
        plugin.prepare(3)


def test_eager_models_and_models_with_a_graph_work_together(images):
    def build():
        inputs = k2.Input((8, 8, 3))
        x = L.Flatten()(L.Conv2D(4, 3, activation="relu")(inputs))
        return k2.Model(inputs, L.Dense(3)(x))

    with plugin.new_graph():
        own = build()
    eager = build()
    first = eager.predict(images, verbose=0)
    before = model_output(own, images)
    maps = plugin.create_analyzer("rap", own).analyze(images)
    np.testing.assert_allclose(maps.sum((1, 2, 3)), before.max(1), rtol=1e-4, atol=1e-6)
    gradients = plugin.create_analyzer("integrated_gradients", own).analyze(images)
    assert np.isfinite(gradients).all()
    assert_same(eager(images).numpy(), first)
    assert_same(eager.predict(images, verbose=0), first)
    assert tf.executing_eagerly()


class Scaled(L.Layer):
    """A layer with its own form of weights in files."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")

    def call(self, x):
        return x * self.scale

    def save_own_variables(self, store):
        store["scale"] = self.scale.numpy()

    def load_own_variables(self, store):
        self.scale.assign(store["scale"])


def test_weights_of_newer_files_are_loaded_in_a_graph(images, tmp_path):
    def build(classes=3):
        inputs = k2.Input((8, 8, 3))
        x = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(inputs))
        x = k2.Sequential([Scaled(), L.Flatten()])(x)
        return k2.Model(inputs, L.Dense(classes)(x))

    eager = build()
    eager.save(tmp_path / "model.keras")
    eager.save_weights(tmp_path / "only.weights.h5")
    expected = eager.predict(images, verbose=0)
    with plugin.new_graph():
        whole = k2.models.load_model(tmp_path / "model.keras", {"Scaled": Scaled}, compile=False)
        filled = build()
        filled.load_weights(tmp_path / "only.weights.h5")
        with pytest.raises(ValueError, match=r"weights of shape .*4\) for 'dense.*, got .*3\)"):
            build(classes=4).load_weights(tmp_path / "only.weights.h5")
    for model in (whole, filled):
        assert_same(model_output(model, images), expected)
    again = build()  # as before, where nothing of Keras is changed
    again.load_weights(tmp_path / "only.weights.h5")
    assert_same(again.predict(images, verbose=0), expected)


@pytest.mark.parametrize("name", ["model.keras", "only.weights.h5"])
@pytest.mark.quick("only.weights.h5")
def test_newer_files_are_saved_in_a_graph(name, images, tmp_path):
    def build():
        inputs = k2.Input((8, 8, 3))
        x = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(inputs))
        return k2.Model(inputs, L.Dense(3)(L.Flatten()(x)))

    with plugin.new_graph():
        model = plugin.prepare(build())
        model.compile("adam", "mse")
        model.fit(images, np.ones((len(images), 3)), verbose=0)
    if name == "model.keras":
        model.save(tmp_path / name)
        again = k2.models.load_model(tmp_path / name, compile=False)
    else:
        model.save_weights(tmp_path / name)
        again = build()
        again.load_weights(tmp_path / name)
    assert_same(again.predict(images, verbose=0), model.predict_on_batch(images))
    again.save_weights(tmp_path / "eager.weights.h5")  # as before
    eager = build()
    eager.load_weights(tmp_path / "eager.weights.h5")
    assert_same(eager.predict(images, verbose=0), again.predict(images, verbose=0))


def test_fast_building_does_not_change_maps(images):
    with plugin.new_graph():
        model = block("b")
        outputs = L.Dense(3)(L.Flatten()(model.output))
        model = plugin.prepare(k2.Model(model.input, outputs))
        x = np.repeat(images, 2, -1)[..., :4]
        slow = plugin.create_analyzer("lrp.alpha_2_beta_1", model).analyze(x)
        with plugin.fast_building():
            fast = plugin.create_analyzer("lrp.alpha_2_beta_1", model).analyze(x)
    assert_same(fast, slow)
    assert not engine("base_layer_utils")._UNSAFE_GRAPH_OP_LAYER_CREATION


def test_models_are_built_fast(images):
    with plugin.new_graph(), plugin.fast_building():
        inputs = k2.Input((8, 8, 3))
        x = tf.nn.relu(2.0 * L.Conv2D(4, 3)(inputs) + 0.5)[:, 1:, ::2]
        model = k2.Model(
            inputs, L.Dense(3)(L.Flatten()(tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])))
        )
    maps = plugin.create_analyzer("rap", model).analyze(images)
    assert_same(maps.sum((1, 2, 3)), model_output(model, images).max(1))


@pytest.mark.parametrize("head", ["fused", "layer", "none"])
@pytest.mark.quick("none")
def test_the_model_of_class_0_has_the_other_logit(head, images):
    with plugin.new_graph():
        inputs = k2.Input((8, 8, 3))
        h = L.GlobalAveragePooling2D()(L.Conv2D(3, 3, activation="relu")(inputs))
        output = L.Dense(1, activation="sigmoid" if head == "fused" else None)(h)
        model = k2.Model(inputs, L.Activation("sigmoid")(output) if head == "layer" else output)
    logit = plugin.prepare(model, keep_head=False)
    opposite = plugin.prepare(model, keep_head=False, negated=True)
    z = logit.predict_on_batch(images)
    np.testing.assert_array_equal(opposite.predict_on_batch(images), -z)
    maps = [plugin.create_analyzer("rap", m).analyze(images) for m in (logit, opposite)]
    assert_same(maps[0].sum((1, 2, 3)), z[:, 0])
    assert_same(maps[1].sum((1, 2, 3)), -z[:, 0])
    with plugin.graph_scope(model):
        unchanged = plugin.prepare(model).predict_on_batch(images)
    assert_same(unchanged, z if head == "none" else scipy.special.expit(z))


def test_one_logit_of_a_dense_layer_is_negated():
    for activation, units in (("sigmoid", 1), (None, 3)):
        with plugin.new_graph():
            inputs = k2.Input((4,))
            model = k2.Model(inputs, L.Dense(units, activation=activation)(inputs))
        with pytest.raises(
            InputError, match=r"ends in one logit of a Dense layer .* last layer is"
        ):
            plugin.prepare(model, negated=True)


def test_a_map_of_zeros_gives_a_warning():
    with plugin.new_graph():
        inputs = k2.Input((4,))
        model = k2.Model(inputs, L.Dense(1, use_bias=False)(inputs))
    analyzer = plugin.create_analyzer("rap", model)
    with pytest.warns(UserWarning, match="The map of RAPAnalyzer is zero everywhere for 1 of 2"):
        analyzer.analyze(np.float32([[0, 0, 0, 0], [1, 2, 3, 4]]))
