"""Keras 3 models, rebuilt for iNNvestigate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

if not keras.__version__.startswith("3"):
    pytest.skip("there are no Keras 3 models without Keras 3", allow_module_level=True)

from helpers.compare import assert_same
from helpers.keras2 import k2
from helpers.networks import biased, plain, residual
from keras import layers, ops

import rap_keras
from rap_keras import InputError
from rap_keras import innvestigate as plugin
from rap_keras.datasets import cluttered_digits, preprocess
from rap_keras.models import bundled
from rap_keras.network.bundled_layers import LayerScale


def layered():
    """Layers whose options differ between the versions of Keras."""
    x = inputs = keras.Input((16, 16, 3), name="an image!")
    x = layers.Rescaling(1 / 2, offset=0.1)(x)
    x = layers.SeparableConv2D(6, 3, activation="silu", name="first conv")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Conv2D(8, 3, groups=2, dilation_rate=2, kernel_regularizer="l2")(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.ELU(alpha=0.5)(x))
    x = layers.Conv2DTranspose(4, 3, strides=2, activation="gelu")(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(layers.UpSampling2D()(x))
    x = layers.Cropping2D(1)(layers.SpatialDropout2D(0.1)(x))
    x = LayerScale()(layers.LayerNormalization()(layers.Permute((2, 1, 3))(x)))
    x = layers.Dense(5, activation=keras.activations.tanh)(layers.GlobalMaxPooling2D()(x))
    return keras.Model(inputs, layers.Softmax()(x))


def joined():
    """Nested, shared and Sequential models, two inputs, operations."""
    dense = layers.Dense(6, activation="relu", name="shared")
    nest = keras.Input((6,))
    nest = keras.Model(nest, layers.Add()([dense(nest), nest]), name="nest")
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    x = ops.relu(dense(a) * 2.0 + nest(b)) - 1.0
    x = keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.ReLU(6.0)])(x)
    return keras.Model([a, b], layers.Dense(3)(ops.maximum(x, 0.5 - x)))


@pytest.mark.slow
def test_a_bundled_convnext_is_explained():
    model = bundled.load("convnext")
    x = preprocess(cluttered_digits(2).images)
    expected = rap_keras.create_analyzer("rap", model).analyze(x)
    found = plugin.create_analyzer("rap", plugin.from_keras3(model, keep_head=False)).analyze(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * abs(expected).max())


def test_a_class_token_has_no_layer_in_keras_2():
    with pytest.raises(InputError, match="'class_token/concatenate' is Concatenate of 1 tensors"):
        plugin.from_keras3(bundled.load("vit"))


@pytest.mark.parametrize("build", [plain, residual, layered, joined])
@pytest.mark.quick("plain", "joined")
def test_outputs_are_the_same(build, rng):
    model = biased(build())
    x = [rng.normal(size=(3, *t.shape[1:])).astype("float32") for t in model.inputs]
    expected = model(x if len(x) > 1 else x[0]).numpy()
    weights = [w.copy() for w in model.get_weights()]
    rebuilt = plugin.from_keras3(model)
    assert isinstance(rebuilt, k2.Model)
    for found in (rebuilt.predict_on_batch(x), rebuilt.predict(x, verbose=0)):
        assert_same(found, expected)
    assert tf.executing_eagerly()
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "name",
    ["rap", "gradient", "lrp.alpha_2_beta_1", "integrated_gradients"],
)
@pytest.mark.quick("rap", "gradient")
def test_analyzers_enter_the_graph_by_themselves(name, rng):
    model = plain(head="softmax")
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    rebuilt = plugin.from_keras3(model, keep_head=False)
    with plugin.fast_building():
        maps = plugin.create_analyzer(name, rebuilt).analyze(x)
    assert tf.executing_eagerly()
    if name in ("rap", "gradient"):
        expected = rap_keras.create_analyzer(name, model).analyze(x)
        assert_same(maps, expected)
    else:
        assert np.isfinite(maps).all()


def test_files_are_read(tmp_path, rng):
    model = residual()
    model.save(tmp_path / "model.keras")
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    rebuilt = plugin.from_keras3(tmp_path / "model.keras")
    assert_same(rebuilt.predict_on_batch(x), model(x))
    with pytest.raises(InputError, match=r"got '.*none\.keras': there is no such file"):
        plugin.from_keras3(tmp_path / "none.keras")
    (tmp_path / "bad.keras").write_text("no model")
    with pytest.raises(
        InputError, match=r"Expected a file that Keras can load, got '.*bad\.keras'"
    ):
        plugin.from_keras3(str(tmp_path / "bad.keras"))


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


class Closed(layers.Layer):
    def call(self, x):
        return tf.sin(x)


class Doubled2(k2.layers.Layer):
    def call(self, x):
        return 2 * x


class Tripled2(k2.layers.Layer):
    def call(self, x):
        return 3 * x


def test_layers_that_keras_does_not_define():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(Doubled(name="twice")(inputs)))
    x = np.ones((1, 4), "float32")
    for known in (None, {"Doubled": Doubled2}):  # it only calls operations, and is opened
        rebuilt = plugin.from_keras3(model, custom_objects=known)
        assert_same(rebuilt.predict_on_batch(x), model(x))
    closed = keras.Model(inputs, layers.Dense(3)(Closed(name="sine")(inputs)))
    with pytest.raises(InputError, match=r"layer 'sine' is a Closed.*\{'Closed': MyLayer\}"):
        plugin.from_keras3(closed)
    with pytest.raises(InputError, match="outputs that differ by up to"):
        plugin.from_keras3(model, custom_objects={"Doubled": Tripled2})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            layers.Dense(3, activation="hard_sigmoid"),
            "activation='hard_sigmoid', which has another",
        ),
        (layers.Lambda(lambda x: x + 1, name="plus"), None),
        (layers.Lambda(tf.sin, name="sine"), "but it cannot make Lambda 'sine'"),
        (layers.Reshape((2, 2)), None),
    ],
)
def test_other_layers(layer, message):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layer(inputs))))
    if message is None:
        assert plugin.from_keras3(model).output_shape == (None, 3)
    else:
        with pytest.raises(InputError, match=message):
            plugin.from_keras3(model)


@pytest.mark.parametrize(
    "layer", [layers.Activation("hard_sigmoid"), layers.GRU(4, recurrent_activation="hard_sigmoid")]
)
def test_activations_that_differ_are_refused_whatever_the_input(layer):
    """After the scaling of images, samples of 1 differ by less than the tolerance."""
    inputs = keras.Input((4, 4))
    x = layer(layers.Dense(5, use_bias=False)(layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    with pytest.raises(InputError, match="activations that mean the same in Keras 2"):
        plugin.from_keras3(model)


def test_operations_without_a_layer_are_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(ops.cumsum(inputs, axis=1)))
    with pytest.raises(InputError, match="is Cumsum of 1 tensors"):
        plugin.from_keras3(model)


@pytest.mark.slow
def test_large_applications_are_rebuilt():
    model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=10)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    rebuilt = plugin.from_keras3(model)
    assert_same(rebuilt.predict_on_batch(x), model(x))
