"""The networks of keras.applications: built, explained, conserved."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.tensors import names, not_on
from keras import layers
from keras.src.applications import convnext, densenet

from rap_keras import create_analyzer

apps = keras.applications
ABSENT = {"NASNetMobile": not_on("torch", "has no such network")}
CONSERVING = ["VGG16", "ResNet50", "DenseNet121", "EfficientNetB0", "MobileNetV2"]


def benchmark_names():
    path = Path(__file__).parents[2] / "benchmarks" / "applications.py"
    spec = importlib.util.spec_from_file_location("applications_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NAMES


def error_of(model, rng, dtype="float32"):
    shape = (1, *(n or 224 for n in model.input_shape[1:3]), 3)
    x = rng.normal(size=shape).astype(dtype)
    return create_analyzer("rap", model).conservation(x).max_error


@pytest.mark.slow
@pytest.mark.parametrize("head", ["softmax", None])
def test_a_small_mobilenet_conserves(head, rng):
    model = apps.MobileNetV2(
        weights=None, input_shape=(96, 96, 3), alpha=0.35, classifier_activation=head
    )
    assert error_of(model, rng) < 1e-5


@pytest.mark.slow
def test_a_small_convnext_conserves(rng):
    model = convnext.ConvNeXt(
        depths=(1, 1, 2, 1),
        projection_dims=(8, 16, 24, 32),
        layer_scale_init_value=1.0,
        weights=None,
        input_shape=(64, 64, 3),
    )
    assert error_of(model, rng) < 1e-5


def check_borders(model):
    """Letterboxed images are padded before max-pooling, where padding wins over what is negative."""
    x = np.zeros((2, 64, 64, 3), "float32")
    x[:, 16:-16] = np.random.default_rng(0).uniform(0, 1, (2, 32, 64, 3))
    x[1] -= 1
    assert create_analyzer("rap", model).conservation(x).max_error < 1e-5


def test_images_with_borders():
    """A network that begins as DenseNet and ResNet do."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((64, 64, 3))
    x = layers.Conv2D(4, 7, strides=2, use_bias=False)(layers.ZeroPadding2D(3)(x))
    x = layers.ZeroPadding2D(1)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(3, strides=2)(x))
    check_borders(keras.Model(inputs, layers.Dense(5)(x)))


@pytest.mark.slow
def test_images_with_borders_in_a_small_densenet():
    keras.utils.set_random_seed(0)
    check_borders(densenet.DenseNet([1, 1, 1, 1], weights=None, input_shape=(64, 64, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet50V2", "DenseNet121", "MobileNetV2"])
def test_images_with_borders_in_real_networks(name):
    keras.utils.set_random_seed(0)
    check_borders(getattr(apps, name)(weights=None, input_shape=(64, 64, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONSERVING)
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 1e-5), ("float64", 1e-10)])
def test_relevance_is_conserved_at_224_pixels(name, dtype, allowed, rng):
    keras.config.set_floatx(dtype)
    try:
        model = getattr(apps, name)(weights=None)
        assert model.dtype_policy.name == dtype
        assert error_of(model, rng, dtype) < allowed
    finally:
        keras.config.set_floatx("float32")
        keras.utils.clear_session()


@pytest.mark.slow
@pytest.mark.parametrize("name", names(sorted({*benchmark_names()} - {*CONSERVING}), ABSENT))
def test_every_application_conserves(name, rng):
    model = getattr(apps, name)(weights=None)
    assert error_of(model, rng) < 1e-5
    keras.utils.clear_session()
