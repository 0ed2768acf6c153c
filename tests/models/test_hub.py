import importlib.util
import sys

import numpy as np
import pytest
from helpers.command_line import run
from helpers.compare import assert_same
from PIL import Image

import rap_keras
from rap_keras.benchmark.rows import read_row
from rap_keras.errors import InputError
from rap_keras.models.loading import load_model

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="KerasHub is not installed"
)


@pytest.fixture(scope="module")
def classifier():
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(32, 48), scale=[0.01, 0.02, 0.03], offset=[-1.0, -2.0, 0.5]
    )
    model = keras_hub.models.ResNetImageClassifier(
        backbone=backbone,
        num_classes=1000,
        preprocessor=keras_hub.models.ResNetImageClassifierPreprocessor(converter),
        activation="softmax",
    )
    # Other weights than the seed of each test gives.
    kernel = model.output_dense.kernel
    kernel.assign(np.random.default_rng(1).normal(0, 0.1, kernel.shape))
    return model


@pytest.fixture(scope="module")
def preset(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "small_imagenet"
    classifier.save_to_preset(str(folder))
    return folder


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)


@needs_hub
def test_a_preset_has_its_size_and_preprocessing(classifier, preset, images):
    loaded = load_model(f"hub:{preset}")
    assert loaded.input_size == (32, 48)
    assert loaded.weights == "own"
    x = loaded.preprocess(images)
    assert x.dtype == np.float32
    assert_same(x, images * np.array([0.01, 0.02, 0.03]) + [-1.0, -2.0, 0.5])
    assert_same(x, np.array(classifier.preprocessor(images)))
    assert_same(np.array(loaded.model(x)), np.array(classifier(x)))
    logits = loaded.logits(x)
    assert_same(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), np.array(classifier(x)))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A small ViT as a preset, with random weights."""
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=(8, 8),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=12,
    )
    converter = keras_hub.layers.ViTImageConverter(image_size=(16, 16), scale=1 / 255)
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(converter)
    model = keras_hub.models.ViTImageClassifier(backbone, 3, preprocessor)
    generator = np.random.default_rng(2)
    for weight in model.weights:
        if "float" in str(weight.dtype):
            weight.assign(generator.normal(0.05, 0.3, weight.shape))
    folder = tmp_path_factory.mktemp("presets") / "vit"
    model.save_to_preset(str(folder))
    return load_model(f"hub:{folder}")


@needs_hub
@pytest.mark.parametrize(
    "row",
    [
        *("attention.rollout", "generic_attention", "transformer_attribution", "legrad"),
        *("lrp.attnlrp", "rap:positions=share", "lrp.epsilon:positions=alone"),
    ],
)
def test_methods_for_transformers_run_on_a_preset(row, transformer, images):
    method = read_row(row)
    analyzer = rap_keras.create_analyzer(method.name, transformer.network, **method.options)
    x = transformer.preprocess(images[:, :16, :16])
    found = analyzer.explain(x, 1)
    assert found.relevance.shape == x.shape
    assert found.relevance.any()
    if row.startswith("rap"):
        np.testing.assert_allclose(found.relevance.sum((1, 2, 3)), found.logits[:, 1], rtol=1e-3)
    else:
        cells = found.relevance.sum(-1).reshape(2, 2, 8, 2, 8).sum((2, 4))
        assert cells.std() > 1e-7  # the patches differ


@needs_hub
def test_another_size_is_not_resized_back(preset, images):
    loaded = load_model(f"hub:{preset}", size=16)
    assert loaded.input_size == (16, 16)
    assert loaded.preprocess(images[:, :16, :16]).shape == (2, 16, 16, 3)


@needs_hub
def test_maps_of_a_preset_sum_to_the_logit(preset, images):
    loaded = load_model(f"hub:{preset}")
    analyzer = rap_keras.create_analyzer("rap", loaded.network)
    assert analyzer.conservation(loaded.preprocess(images)).max_error < 1e-4


@needs_hub
def test_labels_are_imagenets_where_the_name_tells_so(preset, monkeypatch):
    from rap_keras.models import hub

    names = tuple(f"class {k}" for k in range(1000))
    monkeypatch.setattr(hub, "imagenet_classes", lambda: (names[::-1], names))
    loaded = load_model(f"hub:{preset}")
    assert (loaded.synsets, loaded.labels) == (names[::-1], names)
    assert load_model(f"hub:{preset}", weights="none").labels is None
    other = preset.rename(preset.parent / "flowers")
    try:
        assert load_model(f"hub:{other}").labels is None
    finally:
        other.rename(preset)


@needs_hub
def test_weights_of_a_preset(classifier, preset, images, tmp_path):
    random = load_model(f"hub:{preset}", weights="none")
    assert random.weights == "none"
    x = random.preprocess(images)
    assert np.abs(np.array(random.model(x)) - np.array(classifier(x))).max() > 1e-6
    random.model.save_weights(tmp_path / "one.weights.h5")
    one = load_model(f"hub:{preset}", weights=str(tmp_path / "one.weights.h5"))
    assert_same(np.array(one.model(x)), np.array(random.model(x)))
    with pytest.raises(InputError, match="no weights file"):
        load_model("hub:resnet_50_imagenet", weights="missing.h5")


@needs_hub
def test_a_preset_without_a_preprocessor_needs_one(classifier, tmp_path):
    import keras_hub

    keras_hub.models.ResNetImageClassifier(classifier.backbone, 3).save_to_preset(
        str(tmp_path / "bare")
    )
    with pytest.raises(InputError, match="Expected preprocess"):
        load_model(f"hub:{tmp_path / 'bare'}")
    loaded = load_model(f"hub:{tmp_path / 'bare'}", preprocess="torch")
    assert (loaded.input_size, loaded.model.output_shape) == (None, (None, 3))


@needs_hub
def test_the_command_line_explains_a_preset(preset, images, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "image.png")
    result = run(
        "explain", tmp_path / "image.png", "--model", f"hub:{preset}", "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "out" / "image.npy").shape == (32, 48, 3)


@needs_hub
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_preset", "no image classifier 'no_such_preset': name one of its presets"),
        ("bert_base_en", "no image classifier 'bert_base_en'"),
    ],
)
def test_what_is_no_preset_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_model(f"hub:{name}")


@needs_hub
def test_a_folder_without_a_preset_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot be loaded as an image classifier") as error:
        load_model(f"hub:{tmp_path}")
    assert "\n" not in str(error.value)


@needs_hub
def test_a_download_that_fails_is_one_line(monkeypatch):
    import keras_hub

    def fails(*_, **__):
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(keras_hub.models.ImageClassifier, "from_preset", fails)
    message = r"'resnet_50_imagenet' cannot be downloaded .* \(ConnectionError: no network\)"
    with pytest.raises(InputError, match=message):
        load_model("hub:resnet_50_imagenet")


def test_without_kerashub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"needs KerasHub .* pip install 'keras-hub>=0.32'"):
        load_model("hub:resnet_50_imagenet")
