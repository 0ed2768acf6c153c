"""Class activation maps against slow versions of their papers' equations."""

import keras
import numpy as np
import pytest
from helpers.compare import FLOAT32, assert_same
from helpers.networks import biased, plain, residual, segmenting
from helpers.tensors import array, slopes, tensor
from keras import layers

import rap_keras
from rap_keras import InputError, create_analyzer
from rap_keras.models import bundled

NAMES = ["grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam"]


@pytest.fixture
def images(rng):
    return rng.normal(size=(4, 12, 12, 3)).astype(np.float32)


def features_and_gradients(model, name, x, neurons):
    """Feature maps of a layer and the gradients of the logits, by Keras alone, float64."""
    layer = model.get_layer(name)
    features = array(keras.Model(model.input, layer.output)(x))
    above = keras.Model(layer.output, model.output)
    chosen = np.eye(model.output.shape[-1], dtype=features.dtype)[neurons]
    (gradients,) = slopes(lambda a: above(a) * tensor(chosen), [features])
    return features.astype(np.float64), gradients.astype(np.float64)


def coarse(name, a, g, relu):
    """One sample's map, loop by loop, as the papers write it."""
    rows, columns, channels = a.shape
    result = np.zeros((rows, columns))
    for k in range(channels):
        if name == "grad_cam":
            weight = np.full((rows, columns), g[..., k].sum() / (rows * columns))
        elif name == "grad_cam_plus_plus":  # of Y = exp(S), over exp(S)
            weight = 0.0
            for i, j in np.ndindex(rows, columns):
                second, third = g[i, j, k] ** 2, g[i, j, k] ** 3
                below = 2 * second + a[..., k].sum() * third
                weight += (second / below if below else 0) * max(g[i, j, k], 0)
        elif name == "hires_cam":
            weight = g[..., k]
        else:
            weight = np.maximum(g[..., k], 0)
        result += weight * a[..., k]
    return np.maximum(result, 0) if relu else result


def bilinear(places, size):
    """Pixel by pixel, between the centres of the places."""
    rows, columns = places.shape
    image = np.zeros(size)
    for y, x in np.ndindex(*size):
        v = np.clip((y + 0.5) * rows / size[0] - 0.5, 0, rows - 1)
        u = np.clip((x + 0.5) * columns / size[1] - 0.5, 0, columns - 1)
        i, j = min(int(v), rows - 2), min(int(u), columns - 2)
        a, b = v - i, u - j
        top = (1 - b) * places[i, j] + b * places[i, j + 1]
        image[y, x] = (1 - a) * top + a * ((1 - b) * places[i + 1, j] + b * places[i + 1, j + 1])
    return image


def last_of(model, kind):
    return [layer.name for layer in model.layers if isinstance(layer, kind)][-1]


@pytest.mark.parametrize(
    ("name", "relu"),
    [(name, relu) for name in NAMES for relu in (True, False)],
)
@pytest.mark.quick("grad_cam-True", "grad_cam_plus_plus-False")  # the others: test_cam_inputs.py
def test_maps_are_those_of_the_equations(name, relu, images):
    varied = 0
    for model, layer, default in [
        (m := plain(), last_of(m, layers.Conv2D), True),
        (m, last_of(m, layers.MaxPooling2D), False),
        (m := residual(), last_of(m, layers.ReLU), True),
    ]:
        neurons = [1, 7, 0, 9]
        options = {} if default else {"layer": layer}
        analyzer = create_analyzer(name, model, relu=relu, batch_size=3, **options)
        found = analyzer.analyze(images, neurons)
        parts = features_and_gradients(model, layer, images, neurons)
        expected = [
            bilinear(coarse(name, a, g, relu), (12, 12)) for a, g in zip(*parts, strict=True)
        ]
        varied += np.std(expected) > 0
        # A quotient of Grad-CAM++ has no lower bound below.
        tolerance = 1e-3 if name == "grad_cam_plus_plus" else 10 * FLOAT32
        assert_same(found.sum(-1), np.stack(expected), tolerance)
        np.testing.assert_array_equal(found[..., 0], found[..., 2])
        several = analyzer.analyze(images, np.stack([neurons, [2] * 4], 1))
        assert_same(several[:, 0], found, tolerance)
        if relu:
            assert found.min() >= 0
    assert varied  # a ReLU may leave nothing of some


def test_hires_cam_before_one_linear_layer_sums_to_the_logit(images):
    x = inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(x)
    model = biased(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))))
    explained = create_analyzer("hires_cam", model).explain(images)
    bias = array(model.layers[-1].bias)[explained.neurons]
    # 6 x 6 places become 12 x 12 pixels: each counts four times.
    sums = explained.relevance.sum((1, 2, 3)) / 4
    assert_same(sums, explained.explained_logits - bias, 1e-4)


def test_the_layer_by_default_has_the_axes_of_the_image():
    (node,) = create_analyzer("grad_cam", bundled.load("vit"))._layer.nodes
    assert isinstance(node.layer, layers.Conv2D)  # of the patches: attention has four axes, too
    model = segmenting()
    analyzer = create_analyzer("grad_cam", model)
    assert isinstance(analyzer._layer.nodes[0].layer, layers.Concatenate)
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    assert analyzer.analyze(x, (2, 3, 1)).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_options_are_saved(name, tmp_path, images):
    model = plain()
    layer = last_of(model, layers.MaxPooling2D)
    made = create_analyzer(name, model, layer=layer, relu=False, contrast="softmax")
    made.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    assert again.options() == made.options()
    assert (again.name, again.options()["layer"], again.options()["relu"]) == (name, layer, False)
    assert_same(again.analyze(images), made.analyze(images))


def dense():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(2)(inputs))


def pooled():
    x = inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 4)(x))))


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (dense, {}, "Expected a model with an input of images"),
        (pooled, {}, "Expected a model with a layer of feature maps"),
        (plain, {"layer": "cnv"}, "Expected layer to be a layer of the model, got 'cnv'"),
        (
            plain,
            {"layer": "dense_of_plain"},
            "one output of shape .batch, rows, columns, channels.",
        ),
        (plain, {"relu": 1}, "Expected relu to be True or False, got 1"),
    ],
)
def test_wrong_options_and_models_are_refused(build, options, message):
    model = build()
    if options.get("layer") == "dense_of_plain":
        options = {"layer": last_of(model, layers.Dense)}
    with pytest.raises(InputError, match=message) as error:
        create_analyzer("grad_cam", model, **options)
    assert "\n" not in str(error.value)


def test_layers_have_no_relevance(images):
    analyzer = create_analyzer("layer_cam", plain())
    for call in (analyzer.analyze_layers, analyzer.conservation):
        with pytest.raises(InputError, match="has no relevance of layers"):
            call(images)


def averaging(share):
    """Three members, or one that is called with the image and its mirror image."""
    inputs = keras.Input((12, 12, 3))
    members = []
    for name in "a" if share else "abc":
        x = own = keras.Input((12, 12, 3))
        x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="map")(x)
        x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
        members.append(keras.Model(own, x, name=name))
    views = [inputs, keras.ops.flip(inputs, 2)] if share else [inputs]
    outputs = [member(view) for member in members for view in views]
    return keras.Model(inputs, layers.Average()(outputs))


@pytest.mark.parametrize("name", NAMES)
def test_branches_need_the_layer_option(name):
    for share, layers_named in (
        (False, "'a/map', 'b/map', 'c/map'"),
        (True, "'a/map:0', 'a:1/map'"),
    ):
        with pytest.raises(InputError, match=f"on every path .*layer={layers_named}"):
            create_analyzer(name, averaging(share))


def test_a_layer_that_is_called_several_times_is_named_by_its_call(images):
    model = averaging(share=True)
    with pytest.raises(InputError, match=r"calls 2 times.*choose 'a/map:0' or 'a:1/map'"):
        create_analyzer("hires_cam", model, layer="a/map")
    first, second = (
        create_analyzer("hires_cam", model, layer=layer).analyze(images)
        for layer in ("a/map:0", "a:1/map")
    )
    assert not np.allclose(first, second)


@pytest.mark.parametrize("size", [(96, 128), (None, None)])
def test_aligned_maps_lie_where_the_object_is(size):
    """Ones in three convolutions of stride 2 see the object: their map's centre is the object's."""
    x = inputs = keras.Input((*size, 1))
    for _ in range(3):
        x = layers.Conv2D(
            1, 3, strides=2, padding="same", kernel_initializer="ones", use_bias=False
        )(x)
    x = layers.Dense(1, kernel_initializer="ones")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    image = np.zeros((1, 96, 128, 1), np.float32)
    image[0, 47:50, 60:63] = 1
    for align, least, most in (("image", 2, 6), ("receptive_field", 0, 1.5)):
        mass = create_analyzer("hires_cam", model, align=align).analyze(image)[0, ..., 0]
        rows, columns = np.indices(mass.shape)
        off = np.hypot(
            (mass * rows).sum() / mass.sum() - 48, (mass * columns).sum() / mass.sum() - 61
        )
        assert least <= off <= most


@pytest.mark.parametrize("name", NAMES)
def test_the_alignment_is_saved_and_loaded(name, tmp_path):
    made = create_analyzer(name, plain(), align="receptive_field")
    made.save(tmp_path)
    assert rap_keras.load_analyzer(tmp_path).options()["align"] == "receptive_field"
    with pytest.raises(InputError, match="Expected align to be one of 'image', 'receptive_field'"):
        create_analyzer(name, plain(), align="corners")
