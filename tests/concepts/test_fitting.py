"""Atlases: the references of each channel, resumed, divided and merged."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.command_line import fail, files, run, succeed
from helpers.compare import assert_same
from helpers.networks import biased
from keras import layers
from PIL import Image

from rap_keras import InputError, benchmark, concepts, create_analyzer
from rap_keras.benchmark import distributed
from rap_keras.benchmark.store import FILE, Store
from rap_keras.concepts.measuring import Channels
from rap_keras.concepts.settings import ModelRequest, Settings
from rap_keras.datasets import cluttered_digits
from rap_keras.models.loading import load_model

pytestmark = pytest.mark.filterwarnings("default:1 image left out")
LAYER = "block3_conv2"
METHOD = "lrp.epsilon"
MODEL = ["--model", "bundled:vgg", "--layer", LAYER, "--method", METHOD]
COUNT = 11  # images, the last chunk is not full


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for k, image in enumerate(cluttered_digits(COUNT).images):
        Image.fromarray(image).save(folder / f"{k:02}.png")
    (folder / "05.png").write_bytes(b"no image")
    return folder


def fitted(photos, out, *arguments):
    return run(
        "concepts", "fit", photos, *MODEL, "--chunk", 4, "--count", 3, "--out", out, *arguments
    )


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("atlas") / "whole"
    result = fitted(photos, out)
    assert result.exit_code == 0, result.output
    assert "The references of 48 channels of block3_conv2 are in" in result.stdout
    assert "1 image left out. The first: " in result.stderr
    assert files(out) == ["atlas.npz", FILE]
    return out


def content(out):
    return (out / "atlas.npz").read_bytes()


def test_references_have_the_largest_relevance_of_all_images(whole, photos):
    """Against the relevance of the layer, and a plain sort."""
    atlas, loaded = concepts.load(whole), load_model("bundled:vgg")
    read = [k for k in range(COUNT) if k != 5]
    images = [np.array(Image.open(photos / f"{k:02}.png")) for k in read]
    x = loaded.preprocess(np.stack(images))
    at_layer = create_analyzer(METHOD, loaded.model).analyze_layers(x)[LAYER]
    logits = loaded.logits(x)
    for unit in range(len(atlas)):
        largest = at_layer[..., unit].reshape(len(x), -1).max(1)
        order = [k for k in np.argsort(-largest, kind="stable")[:3] if largest[k] > 0]
        references = atlas.references(unit)
        assert [one.number for one in references] == [read[k] for k in order]
        assert [one.name for one in references] == [f"{read[k]:02}.png" for k in order]
        assert_same([one.relevance for one in references], largest[order])
        for one, k in zip(references, order, strict=True):
            assert_same(at_layer[k][(*one.position, unit)], one.relevance)
            assert one.neuron == logits[k].argmax()
    assert repr(atlas) == "<48 channels of block3_conv2, bundled:vgg, lrp.epsilon, 11 images>"


@pytest.mark.parametrize(
    ("given", "message"),
    [((48,), "Expected a channel from 0 to 47"), ((0, -1), "Expected count to be")],
)
def test_references_that_do_not_exist(whole, given, message):
    with pytest.raises(InputError, match=message):
        concepts.load(whole).references(*given)


def test_boxes_are_receptive_fields(whole):
    """Those of the cells whose fields lie inside the image, and have at most half of its size."""
    atlas = concepts.load(whole)
    fields = atlas.about["fields"]
    assert fields == {"first": [1.5, 1.5], "step": [4.0, 4.0], "size": [26.0, 26.0]}
    for unit in range(len(atlas)):
        for one in atlas.references(unit):
            top, left, bottom, right = one.box
            assert (bottom - top, right - left) == (26, 26)
            assert 0 <= top <= bottom <= 64
            row, column = one.position
            if 4 <= row < 12:
                assert abs((top + bottom - 1) / 2 - (1.5 + 4 * row)) <= 0.5
            assert left <= 1.5 + 4 * column <= right


def test_a_run_that_is_resumed_gives_the_same_bytes(whole, photos, tmp_path, monkeypatch):
    out, add, added = tmp_path / "atlas", Store.add, []

    def stopped(self, chunk):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(1)
        add(self, chunk)

    monkeypatch.setattr(Store, "add", stopped)
    assert fitted(photos, out).exit_code != 0
    assert files(out) == [FILE]
    monkeypatch.setattr(Store, "add", add)
    with Store(out) as store:
        assert len(store.positions()) == 8
    assert fitted(photos, out).exit_code == 0
    assert content(out) == content(whole)
    # Run again, it measures only the chunk whose image could not be read.
    chunks = []
    monkeypatch.setattr(Store, "add", lambda self, chunk: chunks.append(len(chunk)))
    assert fitted(photos, out).exit_code == 0
    assert chunks == [4]
    assert content(out) == content(whole)


KILLED = """
import os, signal, sys
from rap_keras.benchmark.store import Store
from rap_keras.cli import main

insert = Store._insert_maps

def at_seventh(self, position, maps):
    insert(self, position, maps)
    if self._database.execute("SELECT count(*) FROM images").fetchone() == (7,):
        os.kill(os.getpid(), signal.SIGKILL)

Store._insert_maps = at_seventh
main()
"""


@pytest.mark.slow
def test_a_killed_run_gives_the_same_bytes(whole, photos, tmp_path):
    out = tmp_path / "atlas"
    arguments = ["concepts", "fit", photos, *MODEL, "--chunk", 4, "--count", 3, "--out", out]
    result = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)])
    assert result.returncode == -signal.SIGKILL
    with Store(out) as store:
        assert len(store.positions()) == 4
    assert fitted(photos, out).exit_code == 0
    assert content(out) == content(whole)


def test_merged_shards_give_the_same_bytes(whole, photos, tmp_path):
    parts = [tmp_path / str(k) for k in (1, 2)]
    for k, part in enumerate(parts, start=1):
        result = fitted(photos, part, "--shard", f"{k}/2")
        assert result.exit_code == 0
        assert f"Part {k}/2 is measured" in result.stdout
        assert files(part) == [FILE]
    assert "Expected each of the 2 shards once" in fail(
        "concepts", "merge", parts[0], "--out", tmp_path / "none"
    )
    out = tmp_path / "merged"
    result = run("concepts", "merge", *parts, "--out", out)
    assert "The references of 48 channels" in result.stdout
    assert content(out) == content(whole)


def test_results_of_another_command_are_refused(whole, tmp_path):
    for arguments in (["report", whole], ["merge", whole, "--out", tmp_path / "out"]):
        message = fail(*arguments)
        assert f"Expected results of rap-keras benchmark in '{whole}', got those of" in message
    with pytest.raises(InputError, match="got those of rap-keras concepts"):
        benchmark.load(whole)
    settings = benchmark.Settings(methods=("gradient",), metrics=("ratio",), limit=2)
    before = random_numbers()
    benchmark.run(settings, tmp_path / "bench")
    assert random_numbers() == before  # the seeds are the caller's
    assert "got those of rap-keras benchmark" in fail(
        "concepts", "merge", tmp_path / "bench", "--out", tmp_path / "out"
    )
    Image.fromarray(cluttered_digits(1).images[0]).save(tmp_path / "photo.png")
    assert "Expected results of the same protocol" in fail(
        "concepts", "fit", *MODEL, "--out", tmp_path / "bench", tmp_path / "photo.png"
    )
    assert not (tmp_path / "out").exists()


def test_workers_give_the_same_bytes(ray_here, whole, photos, tmp_path):
    assert fitted(photos, tmp_path / "atlas", "--workers", 2).exit_code == 0
    assert len(ray_here) == 1
    assert content(tmp_path / "atlas") == content(whole)


def test_a_worker_returns_records_and_arrays(photos):
    settings = Settings(LAYER, METHOD, chunk=4)
    sources = sorted(photos.iterdir())
    make = partial(Channels, ModelRequest("bundled:vgg"), sources, settings)
    protocol = json.loads(json.dumps(make().protocol()))
    answer = distributed.Worker(make, protocol, False)({"chunk": np.array([1])})
    records, arrays = zip(*pickle.loads(answer["measured"][0]), strict=True)
    assert [one["status"] for one in records] == ["kept", "skipped", "kept", "kept"]
    assert [one["relevance"].shape for one in arrays if one] == [(48,)] * 3
    assert arrays[1] == {}
    answer = distributed.Worker(make, protocol, True)({"chunk": np.array([1])})
    assert "05.png" in answer["error"][0]


def test_other_settings_are_refused(whole, photos):
    message = fitted(photos, whole, "--method", "lrp.z")
    assert message.exit_code == 2
    assert "method was" in message.stderr
    assert "now is" in message.stderr


def colours():
    """Channels that each see one colour, in one place each."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, use_bias=False, activation="relu", name="colours")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, use_bias=False)(x))
    model.set_weights([np.eye(3).reshape(1, 1, 3, 3), np.eye(3)])
    return model


@pytest.mark.parametrize("method", ["rap", "lrp.epsilon"])
def test_known_detectors_find_their_images(method, tmp_path):
    images = np.zeros((9, 8, 8, 3), np.uint8)
    places = [(k % 8, (3 * k) % 8) for k in range(9)]
    for k, (row, column) in enumerate(places):
        images[k, row, column, k % 3] = 20 * (k + 1)
    atlas = concepts.fit(
        colours(), images, tmp_path, "colours", method=method, count=4, preprocess="unit"
    )
    for colour in range(3):
        references = atlas.references(colour)
        assert [one.number for one in references] == [colour + 6, colour + 3, colour]
        assert [one.position for one in references] == [places[one.number] for one in references]
        assert [one.neuron for one in references] == [colour] * 3
        for one in references:  # the field of a cell is one pixel
            assert one.box == (*one.position, one.position[0] + 1, one.position[1] + 1)
    assert (atlas.numbers[:, 3] == -1).all()
    found = concepts.explain(atlas, images[4], model=colours_loaded(), images=images, count=1)
    assert [one.unit for one in found.concepts] == [1]
    assert_same(found.concepts[0].share, 1, 1e-4)
    assert_same(found.maps[0], found.relevance)
    assert [int(crop.max()) for crop in found.crops[0]] == [160, 100, 40]


def test_an_image_that_overflows_is_left_out(tmp_path):
    model = colours()
    model.layers[1].set_weights([2e36 * np.eye(3).reshape(1, 1, 3, 3)])
    images = np.ones((3, 8, 8, 3), np.uint8)
    images[1] = 255
    more = {"method": "lrp.epsilon", "preprocess": "none"}
    with pytest.warns(UserWarning, match="1 image left out.*relevance of the image '1', got NaN"):
        atlas = concepts.fit(model, images, tmp_path / "loose", "colours", **more)
    assert [one.number for one in atlas.references(0)] == [0, 2]
    with pytest.raises(InputError, match="finite relevance of the image '1', got NaN or inf"):
        concepts.fit(model, images, tmp_path / "strict", "colours", strict=True, **more)


def colours_loaded():
    return load_model(colours(), preprocess="unit")


def attentive():
    inputs = keras.Input((8, 8, 3))
    x = layers.Reshape((16, 6))(layers.Conv2D(6, 2, strides=2)(inputs))
    x = layers.MultiHeadAttention(3, 4, name="attention")(x, x)
    x = layers.Dense(5, activation="relu", name="neurons")(layers.Flatten()(x))
    return biased(keras.Model(inputs, layers.Dense(3)(x)))


def test_neurons_and_heads(rng, tmp_path):
    images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    loaded = load_model(attentive(), preprocess="unit")
    for layer, kind, count in (("attention", "head", 3), ("neurons", "neuron", 5)):
        out, method = tmp_path / layer, "lrp.epsilon"
        atlas = concepts.fit(loaded, images, out, layer, method=method, count=2)
        assert (atlas.kind, len(atlas)) == (kind, count)
        found = concepts.explain(atlas, images[0], model=loaded, images=images, count=2)
        assert found.maps.shape == (2, 8, 8, 3)
        boxes = [one.box for references in found.references for one in references]
        assert boxes.count(None) == len(boxes) > 0
        assert {crop.shape for crops in found.crops for crop in crops} == {(8, 8, 3)}
        with pytest.raises(
            InputError, match=f"Expected a {kind} from 0 to {count - 1}, got {count}"
        ):
            atlas.references(count)
    with pytest.raises(InputError, match="fitted to a model without a name"):
        concepts.explain(atlas, images[0], images=images)
    with pytest.raises(InputError, match="fitted to pixels: pass them"):
        concepts.explain(atlas, images[0], model=loaded)


def random_numbers():
    """What decides about the next numbers of Python and NumPy."""
    return random.getstate(), str(np.random.get_state())  # noqa: NPY002


def test_the_default_is_the_last_layer_of_feature_maps(tmp_path):
    before = random_numbers()
    atlas = concepts.fit("bundled:vgg", cluttered_digits(2).images, tmp_path, target=3)
    assert random_numbers() == before  # the seeds are the caller's
    assert atlas.layer == "block4_pool"
    assert set(atlas.neurons[atlas.numbers >= 0].tolist()) <= {3}


def test_a_model_that_is_given_keeps_its_preprocessing_and_output(rng, tmp_path):
    inputs = keras.Input((6, 6, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, [layers.Dense(2, name="one")(x), layers.Dense(3, name="two")(x)])
    images = rng.integers(0, 256, (3, 6, 6, 3)).astype(np.uint8)
    with pytest.raises(InputError, match="Expected a classifier with one output"):
        concepts.fit(model, images, tmp_path, "conv", preprocess="unit")
    given = {"preprocess": "unit", "output": "two"}
    atlas = concepts.fit(model, images, tmp_path, "conv", **given)
    for other in ({"preprocess": "tf"}, {"output": "one"}):
        with pytest.raises(InputError, match="Expected results of the same protocol"):
            concepts.fit(model, images, tmp_path, "conv", **given | other)
        other_model = load_model(model, **given | other)
        with pytest.raises(InputError, match="Expected the output and the preprocessing"):
            concepts.explain(atlas, images[0], model=other_model, images=images)
    loaded = load_model(model, **given)
    found = concepts.explain(atlas, images[0], model=loaded, images=images)
    assert found.found.explanation.logits.shape == (1, 3)


def test_what_does_not_fit_is_refused(whole, photos, tmp_path):
    images = cluttered_digits(2).images
    for layer, method, message in (
        ("conv", "rap", "Expected layer to be a layer"),
        (LAYER, "gradient", "does not distribute the logit"),
    ):
        with pytest.raises(InputError, match=message):
            concepts.fit("bundled:vgg", images, tmp_path / "a", layer, method=method)
        assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="Expected the name of a model for workers"):
        concepts.fit(colours_loaded(), images, tmp_path / "a", workers=distributed.Workers(2))
    atlas = concepts.load(whole)
    with pytest.raises(InputError, match="Expected the weights of bundled:vgg"):
        concepts.explain(atlas, photos / "00.png", model=load_model("bundled:residual"))
    with pytest.raises(InputError, match="There is no file with concepts"):
        concepts.load(tmp_path)
    (tmp_path / "atlas.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="Expected a file with concepts"):
        concepts.load(tmp_path)
    header = {"kind": "concepts", "about": {}, "names": {}}
    np.savez(tmp_path / "atlas.npz", header=np.array(json.dumps(header)))
    with pytest.raises(InputError, match="which contains something else"):
        concepts.load(tmp_path)


@pytest.mark.drawn
def test_show(whole, photos, tmp_path):
    out = tmp_path / "shown"
    text = succeed(
        "concepts", "show", photos / "03.png", "--atlas", whole, "--count", 2, "--out", out
    )
    assert files(out) == [f"03-concepts.{kind}" for kind in ("json", "npz", "png")]
    summary = json.loads((out / "03-concepts.json").read_text("utf-8"))
    assert summary["layer"] == LAYER
    assert len(summary["concepts"]) == 2
    for one in summary["concepts"]:
        assert f"  channel {one['channel']}: {one['share']:.1%} of the logit" in text
        assert 1 <= len(one["references"]) <= 3
    with np.load(out / "03-concepts.npz") as arrays:
        maps = arrays["maps"]
    loaded = load_model("bundled:vgg")
    x = loaded.preprocess(np.array(Image.open(photos / "03.png"))[np.newaxis])
    units = [one["channel"] for one in summary["concepts"]]
    analyzer = create_analyzer(METHOD, loaded.model)
    assert_same(maps, analyzer.analyze(x, concepts={LAYER: units})[0])
    relevance = analyzer.analyze_layers(x)[LAYER].sum((0, 1, 2))
    np.testing.assert_array_equal(units, np.argsort(-relevance)[:2])
    assert_same([one["relevance"] for one in summary["concepts"]], relevance[units])
    with Image.open(out / "03-concepts.png") as figure:
        assert figure.width > figure.height


def test_photos_that_were_moved(whole, photos, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    arguments = ["concepts", "show", photos / "03.png", "--atlas", whole, "--out", tmp_path / "out"]
    message = fail(*arguments, "--images", moved)
    assert "which the atlas refers to: pass the folder of its images, --images DIR" in message
    assert not (tmp_path / "out").exists()
    for path in photos.iterdir():
        os.link(path, moved / path.name)
    succeed(*arguments, "--images", moved, "--count", 1)


def test_means_may_be_arrays(tmp_path):
    images, model = cluttered_digits(3).images, "bundled:vgg"
    given = {"layer": LAYER, "method": METHOD, "preprocess": "tf", "mean": np.zeros(3)}
    atlas = concepts.fit(model, images[:2], tmp_path, **given)
    again = concepts.fit(model, images[:2], tmp_path, **given | {"mean": [0.0, 0.0, 0.0]})
    np.testing.assert_array_equal(atlas.relevance, again.relevance)
    assert len(concepts.explain(atlas, images[2], count=1, images=images[:2]).maps) == 1


def test_images_are_given_in_the_forms_of_fit(rng, tmp_path):
    images, model = rng.integers(1, 256, (3, 8, 8, 3), dtype=np.uint8), colours_loaded()
    images[..., 0] = 128 + images[..., 0] // 2  # all are red
    given = {"layer": "colours", "method": METHOD}
    atlas = concepts.fit(model, images[0], tmp_path / "one", "colours", method=METHOD)
    expected = concepts.explain(atlas, images[2], model=model, count=1, images=images[:1])
    expected = expected.crops[0][0]
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    for given in (images[0], Image.fromarray(images[0]), [tmp_path / "0.png"]):
        found = concepts.explain(atlas, images[2], model=model, count=1, images=given)
        np.testing.assert_array_equal(found.crops[0][0], expected)
    both = concepts.fit(model, images[:2], tmp_path / "two", "colours", method=METHOD)
    with pytest.raises(InputError, match=r"Expected the 2 images to which .* got 1"):
        concepts.explain(both, images[2], model=model, images=images[0])


def test_names_in_folders_of_folders(tmp_path):
    from rap_keras.concepts.settings import relative_names

    paths = [tmp_path / "a" / "x.png", tmp_path / "b" / "c" / "x.png"]
    assert relative_names(paths) == (tmp_path, ["a/x.png", "b/c/x.png"])
    assert relative_names(paths[:1]) == (tmp_path / "a", ["x.png"])
    assert relative_names([Path("x.png"), Path("a/y.png")]) == (Path(), ["x.png", "a/y.png"])


@pytest.mark.parametrize("target", ["all", "3,4", "top:2", "-1"])
def test_targets_that_are_refused(target, whole, photos):
    arguments = ["concepts", "show", photos / "03.png", "--atlas", whole, "--target", target]
    assert "Expected --target to be max or one class" in fail(*arguments)
