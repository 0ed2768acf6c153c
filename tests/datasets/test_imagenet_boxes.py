"""ImageNet's validation images with boxes."""

import pytest
from helpers.image_files import (
    CAT,
    DOG,
    OBJECT,
    XML,
    annotate,
    check_dataset,
    check_objects,
    mask,
    pixels,
    refused,
    save,
    write,
)
from PIL import Image

from rap_keras.datasets import open_dataset
from rap_keras.support.images import read_image


def test_imagenet_boxes(imagenet):
    cats = mask("##....", "##....", "....##", "....##")
    dogs = mask("#.....", "......", "......", "......")
    without = read_image(imagenet / "images" / "val_2.JPEG")
    samples = {"val_1": (pixels(1), {CAT: cats, DOG: dogs}), "val_2": (without, {})}
    words = "boxes of the class, united"
    dataset = check_dataset(f"imagenet-boxes:{imagenet}", words, samples)
    check_objects(dataset.read(0, (2, 3)), **{CAT: mask("#..", "..#"), DOG: mask("#..", "...")})


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("Data/CLS-LOC/val", "Annotations/CLS-LOC/val"),
        ("ILSVRC/Data/CLS-LOC/val", "ILSVRC/Annotations/CLS-LOC/val"),
        ("val", "bbox/val"),
        ("val", "val"),
        (".", "."),
        (f"val/{CAT}", "annotations"),
        (CAT, "."),
    ],
)
def test_imagenet_boxes_in_every_usual_place(tmp_path, images, annotations):
    for name in ("b", "a"):
        save(tmp_path / images / f"{name}.JPEG", pixels())
        annotate(tmp_path / annotations / f"{name}.xml", (CAT, 0, 0, 1, 1))
    (tmp_path / images / "._a.JPEG").write_bytes(b"of macOS")
    save(tmp_path / "thumbnails" / "c.JPEG", pixels())
    dataset = open_dataset(f"imagenet-boxes:{tmp_path}")
    assert list(dataset.names) == ["a", "b"]
    assert dataset.read(1).objects[CAT].sum() == 1


def test_imagenet_boxes_in_folders_of_classes_are_sorted_together(tmp_path):
    for folder, name in ((CAT, "b"), (DOG, "c"), (CAT, "d"), (DOG, "a")):
        save(tmp_path / "val" / folder / f"{name}.JPEG", pixels())
        annotate(tmp_path / "annotations" / f"{name}.xml", (folder, 0, 0, 1, 1))
    dataset = open_dataset(f"imagenet-boxes:{tmp_path}")
    assert list(dataset.names) == ["a", "b", "c", "d"]
    assert [list(dataset.read(i).objects) for i in range(4)] == [[DOG], [CAT], [DOG], [CAT]]
    save(tmp_path / "val" / DOG / "b.JPEG", pixels())
    with refused("Expected one file 'b'.*rename or remove"):
        open_dataset(f"imagenet-boxes:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "no element found"),
        ("", "no element found"),
        (XML.format(width="", height=4, objects=""), "no size/width"),
        (XML.format(width=6, height="x", objects=""), "'x'"),
        (XML.format(width=6, height=4, objects="<object><name>n1</name></object>"), "no bndbox"),
        (XML.format(width=6, height=4, objects=OBJECT.format("", 0, 0, 1, 1)), "no name"),
        (XML.format(width=6, height=4, objects=OBJECT.format("n1", 0, "?", 1, 1)), r"'\?'"),
        (XML.format(width=6, height=0, objects=OBJECT.format("n1", 0, 0, 1, 1)), "height 0"),
    ],
)
def test_a_damaged_annotation_is_refused_for_its_image_only(imagenet, text, message):
    write(imagenet / "annotations" / "val_1.xml", text)
    dataset = open_dataset(f"imagenet-boxes:{imagenet}")
    with refused(f"'val_1'.*{message}"):
        dataset.read(0)
    assert dataset.read(1).name == "val_2"


def test_missing_boxes_and_damaged_images_are_refused_at_reading(imagenet):
    (imagenet / "annotations" / "val_1.xml").unlink()
    (imagenet / "images" / "val_2.JPEG").write_bytes(b"no image")
    dataset = open_dataset(f"imagenet-boxes:{imagenet}")
    with refused(r"boxes of the image 'val_1' are missing: add val_1\.xml"):
        dataset.read(0)
    with refused("val_2.JPEG' is not in an image format"):
        dataset.read(1)


def test_an_image_that_exif_turns_is_refused(imagenet):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(imagenet / "images" / "val_1.png", pixels(1), exif=exif)
    annotate(imagenet / "annotations" / "val_1.xml", (CAT, 0, 0, 1, 1))
    with refused("'val_1'.*width 4 and height 6, got width 6 and height 4.*EXIF"):
        open_dataset(f"imagenet-boxes:{imagenet}").read(0, (5, 5))


def test_imagenet_boxes_without_images_or_annotations_are_refused(tmp_path):
    with refused("There is no folder"):
        open_dataset(f"imagenet-boxes:{tmp_path / 'none'}")
    with refused(r"Expected images \(.*got none"):
        open_dataset(f"imagenet-boxes:{tmp_path}")
    save(tmp_path / "images" / "a.JPEG", pixels())
    with refused("Expected XML files.*got none"):
        open_dataset(f"imagenet-boxes:{tmp_path}")


def test_a_folder_that_cannot_be_read_is_refused(imagenet, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", forbid)
    with refused(r"images' cannot be read \(Permission denied\)"):
        open_dataset(f"imagenet-boxes:{imagenet}")


def test_opening_lists_files_and_reads_none(tmp_path):
    for folder, suffix in (("images", "JPEG"), ("annotations", "xml")):
        (tmp_path / folder).mkdir()
        for i in range(2000):
            (tmp_path / folder / f"val_{i:05}.{suffix}").touch()  # empty: reading would fail
    dataset = open_dataset(f"imagenet-boxes:{tmp_path}")
    assert len(dataset.names) == 2000
