"""Images and sequences of any size, where layers compute with the size."""

import keras
import numpy as np
import pytest
from helpers.tensors import names, not_on, slopes

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from keras import layers, ops

from rap_keras import create_analyzer
from rap_keras.backends.choice import open_network

pytestmark = pytest.mark.programs  # a program serves all sizes


def _upsampling(interpolation):
    return lambda x: layers.UpSampling2D((3, 2), interpolation=interpolation)(x)


IMAGES = {
    "nearest": _upsampling("nearest"),
    "bilinear": _upsampling("bilinear"),
    "bicubic": _upsampling("bicubic"),
    "lanczos": _upsampling("lanczos5"),
    "resizing": lambda x: layers.Resizing(5, 6)(x),
    "resizing, cropped": lambda x: layers.Resizing(5, 6, crop_to_aspect_ratio=True)(x),
    "resizing, padded": lambda x: layers.Resizing(5, 6, pad_to_aspect_ratio=True)(x),
    "cut out": lambda x: layers.CenterCrop(5, 4)(x),
    "cut out of less": lambda x: layers.CenterCrop(10, 9)(x),
    "pooled": lambda x: layers.AdaptiveAveragePooling2D(3)(x),
    "resized as an operation": lambda x: ops.image.resize(x, (5, 4)),
    "patches": lambda x: ops.image.extract_patches(x, 3),
    "reshaped": lambda x: layers.Reshape((-1, 1, 4))(x),
    "moved": lambda x: ops.transpose(x, (0, 2, 1, 3)),
}


if not hasattr(layers, "AdaptiveAveragePooling2D"):  # older releases
    del IMAGES["pooled"]


@pytest.mark.parametrize(
    "name", names(IMAGES, {"lanczos": not_on("torch", "has no such interpolation")})
)
def test_images_of_any_size(name, rng):
    """A model of any size has the same maps as the running model, which has a known size."""
    inputs = keras.Input((None, None, 3))
    y = IMAGES[name](layers.Conv2D(4, 3, activation="relu", padding="same")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    x = rng.normal(size=(2, 9, 8, 3)).astype("float32")
    (expected,) = slopes(lambda x: keras.ops.max(model(x), 1), [x])
    maps = create_analyzer("gradient", model).analyze(x)
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)


def test_rules_of_a_resized_image_of_any_size(rng):
    x = keras.Input((None, None, 3))
    y = _upsampling("bilinear")(layers.Conv2D(4, 3, activation="relu")(x))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    analyzer = create_analyzer("rap", model)
    for size in ((8, 6), (5, 9)):
        explained = analyzer.explain(rng.normal(size=(2, *size, 3)).astype("float32"))
        sums = explained.relevance.sum((1, 2, 3))
        np.testing.assert_allclose(sums, explained.logits.max(1), rtol=1e-3, atol=1e-4)


@pytest.mark.tensorflow("a graph of unknown sizes")
def test_one_compiled_function_for_all_sizes_where_possible(rng):
    """Sequences of many lengths must not be compiled one by one."""
    x = keras.Input((None, 4))
    network = open_network(keras.Model(x, layers.GlobalAveragePooling1D()(layers.Dense(3)(x))))
    traced = []
    run = network.compiled(lambda inputs: traced.append(1) or inputs[0])
    for length in (3, 5, 8):
        run([rng.normal(size=(2, length, 4)).astype("float32")])
    assert len(traced) == 1
