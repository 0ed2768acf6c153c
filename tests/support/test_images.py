import io
import os
import resource

import numpy as np
import pytest
from PIL import ExifTags, Image

from rap_keras.errors import InputError
from rap_keras.support import images
from rap_keras.support.images import as_rgb, check_image, collect_images, read_image, size_of


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_reads_rgb_as_it_is(tmp_path, pixels):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels)), pixels)
    assert read_image(tmp_path / "a.png").flags.writeable


def test_grey_palette_and_transparent_images_become_rgb(tmp_path, pixels):
    grey = pixels[..., 0]
    expected = np.repeat(grey[..., np.newaxis], 3, axis=2)
    np.testing.assert_array_equal(read_image(save(tmp_path / "grey.png", grey)), expected)

    transparent = np.dstack([pixels, np.full((6, 9), 7, np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "alpha.png", transparent)), pixels)

    image = Image.fromarray(grey).convert("P")
    image.save(tmp_path / "palette.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), expected)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 256, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path / "deep.png", deep))
    np.testing.assert_array_equal(image[0, :, 0], [0, 1, 255])


def test_pixels_of_no_known_range_are_refused(tmp_path, pixels):
    path = save(tmp_path / "float.tif", pixels[..., 0].astype(np.float32))
    with pytest.raises(InputError, match="an unknown range"):
        read_image(path)


def test_warps_to_the_size(tmp_path):
    halves = np.zeros((4, 8, 3), np.uint8)
    halves[:, 4:] = 200
    image = read_image(save(tmp_path / "a.png", halves), size=(6, 4))
    np.testing.assert_array_equal(image[:, 0], 0)
    np.testing.assert_array_equal(image[:, 3], 200)
    assert image.shape == (6, 4, 3)


def test_turns_photos_upright(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    path = save(tmp_path / "a.png", pixels, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(pixels, -1))
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_rgb(opened), np.rot90(pixels, -1))


def test_damaged_missing_and_other_files_are_refused(tmp_path, pixels):
    whole = save(tmp_path / "whole.png", np.tile(pixels, (20, 20, 1))).read_bytes()
    for name, content, words in (
        ("cut.png", whole[: len(whole) // 2], "is truncated"),
        ("text.png", b"no", "is not in an image format"),
        ("0.png", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}' {words}"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="There is no image"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="to be a file, got a folder"):
        read_image(tmp_path)


def test_too_many_pixels_are_refused(tmp_path, pixels, monkeypatch):
    path = save(tmp_path / "a.png", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(
        InputError, match=r"a.png' has more than 100 megapixels, .*: save it smaller"
    ):
        read_image(path)
    # Between once and twice its limit Pillow warns, which is not the user's business.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    np.testing.assert_array_equal(read_image(path), pixels)
    monkeypatch.setattr(images, "MOST_PIXELS", 54)
    np.testing.assert_array_equal(read_image(path), pixels)
    monkeypatch.setattr(images, "MOST_PIXELS", 53)
    monkeypatch.setattr(Image.Image, "load", None)  # nothing is decoded
    for read in (read_image, check_image):
        with pytest.raises(InputError, match="has more than"):
            read(path)


def test_a_small_file_of_many_pixels_takes_no_memory(tmp_path):
    path = tmp_path / "a.png"
    with Image.new("1", (13_000, 13_000)) as image:
        image.save(path)
    assert path.stat().st_size < 10**5
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="has more than 100 megapixels"):
        read_image(path, (8, 8))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**15  # KiB


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_of_too_many_pixels_is_decoded_smaller(orientation, tmp_path, monkeypatch):
    halves = np.zeros((160, 320, 3), np.uint8)
    halves[:, 160:] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", halves, exif=exif, quality=95)
    size = (40, 20) if orientation == 6 else (20, 40)
    whole = read_image(path, size)
    monkeypatch.setattr(images, "MOST_PIXELS", 80 * 40)
    with pytest.raises(InputError, match="has more than"):
        read_image(path)
    with pytest.raises(InputError, match="has more than"):
        read_image(path, (160, 320))
    check_image(path)
    assert np.abs(read_image(path, size).astype(int) - whole).max() < 40  # at the border only
    assert np.abs(read_image(path, size).astype(int) - whole).mean() < 4


def test_collects_files_folders_and_patterns_once_and_sorted(tmp_path, pixels):
    b = save(tmp_path / "b.png", pixels)
    a = save(tmp_path / "a.JPG", pixels)
    deep = save(tmp_path / "sub" / "deep.png", pixels)
    odd = save(tmp_path / "odd[1].png", pixels)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    assert collect_images([tmp_path]) == [a, b, odd]
    assert collect_images([b, str(tmp_path), tmp_path / "sub" / ".." / "b.png"]) == [a, b, odd]
    assert collect_images([str(tmp_path / "**" / "*.png")]) == [b, odd, deep]
    assert collect_images([odd]) == [odd]


def test_a_link_to_the_same_image_is_not_a_second_one(tmp_path, pixels):
    a = save(tmp_path / "a.png", pixels)
    (tmp_path / "z.png").symlink_to(a)
    assert collect_images([a, tmp_path / "z.png"]) == [a]


def test_named_files_may_have_any_ending(tmp_path, pixels):
    path = save(tmp_path / "scan", pixels, format="png")
    assert collect_images([path]) == [path]
    np.testing.assert_array_equal(read_image(path), pixels)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.png", "There is no image or folder"),
        ("*.png", "No image matches .*: check the pattern"),
        ("empty", "contains no images"),
        ("a" * 5000 + ".png", "There is no image or folder"),
    ],
)
def test_nothing_found_is_refused(tmp_path, source, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        collect_images([str(tmp_path / source)])


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (read_image, check_image):
        with pytest.raises(InputError, match=r"a.png' to be a file, got a named pipe"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(orientation, ending, tmp_path):
    file = tmp_path / f"photo.{ending}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (30, 20)).save(file, exif=exif)
    assert size_of(file) == read_image(file).shape[:2]


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(np.tile(pixels, (20, 20, 1))).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_file_that_ends_early_is_called_truncated(kind, part, tmp_path, pixels):
    whole = encoded(pixels, kind)
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[: max(20, int(part * len(whole)))])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, a file of 0 bytes"),
        (bytes(3000), "begins with zeros"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC image, .* save it as PNG or JPEG"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg></svg>', "is an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
        (b"some text", "is not in an image format that can be read"),
    ],
)
def test_what_is_no_image_is_told_as_what_it_is(content, message, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        check_image(path)


@pytest.mark.parametrize("name", ["a.webp", "a.avif"])
def test_an_image_without_a_decoder_is_told(name, tmp_path, pixels, monkeypatch):
    path = tmp_path / name
    begin = {"a.webp": b"RIFF\0\0\1\0WEBPVP8 ", "a.avif": b"\0\0\0\x20ftypavif\0\0\0\0avif"}
    path.write_bytes(begin[name] + bytes(50))
    monkeypatch.setattr(images.features, "check", lambda feature: False)
    with pytest.raises(
        InputError, match=r"is a file of \w+, which cannot be read here: save it as"
    ):
        check_image(path)
    monkeypatch.setattr(images.features, "check", lambda feature: True)
    with pytest.raises(InputError, match="truncated or damaged"):
        check_image(path)


def test_an_image_of_four_inks_and_the_first_of_several_frames(tmp_path, pixels):
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "inks.tif")
    np.testing.assert_allclose(read_image(tmp_path / "inks.tif"), pixels, atol=1)
    frames = [Image.fromarray(values) for values in (pixels, pixels[::-1])]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("source", ["", "  "])
def test_an_empty_name_is_no_folder(source):
    with pytest.raises(InputError, match="got an empty text"):
        collect_images([source])
