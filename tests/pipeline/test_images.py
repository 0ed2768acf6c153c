"""Images from files and arrays, on their way into a model."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rap_keras
from rap_keras import InputError
from rap_keras.models.loading import LoadedModel
from rap_keras.pipeline import images as pipeline_images
from rap_keras.pipeline.images import Images, listed


def test_one_batch_of_images_is_in_memory(monkeypatch):
    read = []

    def read_image(path, size, fit):
        read.append(path)
        return np.zeros((4, 4 if path.stem < "6" else 5, 3), np.uint8)

    paths = [Path(f"{name}.png") for name in range(9)]
    monkeypatch.setattr(pipeline_images, "check_image", lambda path: None)
    monkeypatch.setattr(pipeline_images, "has_alpha", lambda path: False)
    monkeypatch.setattr(pipeline_images, "read_image", read_image)
    loaded = LoadedModel(None, "any", None, lambda images: images + np.float32(1))
    found, ahead = [], []
    for part, pixels, x in Images(paths).batches(loaded, 4):
        assert len(part) == len(pixels)
        np.testing.assert_array_equal(x, pixels + 1.0)
        found.append(list(part))
        ahead.append(len(read) - sum(map(len, found)))
    assert found == [paths[:4], paths[4:6], paths[6:]]  # the seventh image has another size
    assert max(ahead) <= 1


def saved(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def loaded(size):
    return LoadedModel(None, "any", size, lambda pixels: pixels.astype(np.float32))


def test_images_of_every_kind_keep_their_order(tmp_path, rng):
    first, second, third = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    saved(tmp_path / "in" / "b.png", second)
    saved(tmp_path / "in" / "a.png", first)
    given = Images(
        listed([third, tmp_path / "in", Image.fromarray(first), str(tmp_path / "in" / "*.png")])
    )
    pixels, x = given.together(loaded(None), "")
    np.testing.assert_array_equal(pixels, [third, first, second, first, first, second])
    np.testing.assert_array_equal(x, pixels)


def test_warnings_go_where_they_are_told_to(tmp_path):
    good = saved(tmp_path / "good.png", np.zeros((8, 12, 3), np.uint8))
    clear = saved(tmp_path / "clear.png", np.zeros((8, 12, 4), np.uint8))
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    told = []
    given = Images([good, clear, bad], strict=False, warn=told.append, warns_of_warping=True)
    assert [batch[0] for batch in given.batches(loaded((6, 6)), 4)] == [[good, clear]]
    assert [words.split(" ")[0] for words in told] == ["Skipped:", "The", "Images"]
    assert 'from 12 x 8 to 6 x 6 pixels: fit="crop" or fit="pad" keeps' in told[2]
    assert [one["file"] for one in given.skipped] == [str(bad)]
    with pytest.raises(InputError, match="is not in an image format that can be read"):
        Images([good, bad])


def test_explain_warns_of_an_alpha_channel_only(tmp_path):
    wide = saved(tmp_path / "wide.png", np.full((32, 64, 4), 128, np.uint8))
    with pytest.warns(UserWarning, match="^The alpha channel of") as told:
        rap_keras.explain("bundled:vgg", wide, "gradient")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rap_keras.explain("bundled:vgg", np.asarray(Image.open(wide))[..., :3], "gradient")
