"""Pascal VOC 2012."""

import numpy as np
import pytest
from helpers.image_files import (
    IDS,
    check_dataset,
    check_objects,
    mask,
    pixels,
    refused,
    same,
    save,
    save_palette,
    twice,
    write,
)

from rap_keras.datasets import open_dataset
from rap_keras.datasets.voc import CLASSES
from rap_keras.support.images import read_image


def test_voc(voc):
    cat = mask("......", "##....", "##....", "......")
    television = mask("......", "......", "......", ".....#")
    void = mask("##....", "..#...", "..#...", "......")
    first, second, third = (read_image(voc / "JPEGImages" / f"2007_0{k}.jpg") for k in (1, 2, 3))
    samples = {
        "2007_01": (first, {"cat": cat, "tvmonitor": television}, void),
        "2007_02": (second, {}),
        "2007_03": (third, {"aeroplane": np.ones((4, 6), bool)}),
    }
    dataset = check_dataset(f"voc:{voc}", "pixels of the class", samples)
    small = dataset.read(0, (2, 2))  # centres fall on rows 1 and 3 and columns 1 and 4
    check_objects(small, cat=mask("#.", ".."))  # the television is gone
    same(small.void, mask("..", ".."))
    large = dataset.read(0, (8, 12))
    same(large.void, twice(void))
    check_objects(large, cat=twice(cat), tvmonitor=twice(television))


def test_the_classes_of_voc():
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)
    assert (CLASSES[7], CLASSES[14]) == ("cat", "person")


@pytest.mark.parametrize("above", ["VOCdevkit", "."])
def test_voc_is_found_below_the_folder(voc, tmp_path, above):
    assert len(open_dataset(f"voc:{tmp_path / above}").names) == 3


def test_the_lists_of_voc_count_if_they_are_there(voc):
    lists = voc / "ImageSets" / "Segmentation"
    write(lists / "val.txt", "2007_03\n2007_01\n\n")
    write(lists / "train.txt", "unsegmented\n2007_02\n")
    assert list(open_dataset(f"voc:{voc}").names) == ["2007_03", "2007_01"]
    train = open_dataset(f"voc:{voc}:train")
    assert list(train.names) == ["unsegmented", "2007_02"]
    assert train.read(1).objects == {}
    with refused(
        r"SegmentationClass/unsegmented\.png' of the image 'unsegmented', got no such file"
    ):
        train.read(0)
    with refused("no such text file"):
        open_dataset(f"voc:{voc}:test")
    write(lists / "val.txt", "\n")
    with refused("Expected images with masks.*got none"):
        open_dataset(f"voc:{voc}")


def test_damaged_masks_and_images_of_voc_are_refused(voc):
    masks = voc / "SegmentationClass"
    save(masks / "2007_01.png", pixels())
    save_palette(masks / "2007_02.png", np.full((4, 6), 21))
    save_palette(masks / "2007_03.png", np.ones((5, 6)))
    dataset = open_dataset(f"voc:{voc}")
    with refused("'2007_01' to have Pillow's mode P or L, got RGB"):
        dataset.read(0)
    with refused("values 0 to 20 and 255.*'2007_02', got 21"):
        dataset.read(1)
    with refused("'2007_03'.*width 6 and height 4, got width 6 and height 5"):
        dataset.read(2, (4, 4))
    whole = (masks / "2007_03.png").read_bytes()
    (masks / "2007_03.png").write_bytes(whole[: len(whole) // 2])
    with refused("2007_03.png' of the image '2007_03' is truncated"):
        dataset.read(2)
    (voc / "JPEGImages" / "2007_03.jpg").write_bytes(b"")
    with refused("2007_03.jpg' is empty"):
        dataset.read(2)


def test_an_unpaletted_mask_of_voc_holds_ids_too(voc):
    save(voc / "SegmentationClass" / "2007_01.png", IDS.astype(np.uint8))
    sample = open_dataset(f"voc:{voc}").read(0)
    same(sample.objects["cat"], IDS == 8)


def test_other_folders_are_no_voc(tmp_path):
    with refused("There is no folder"):
        open_dataset(f"voc:{tmp_path / 'none'}")
    with refused("Expected the folders JPEGImages and SegmentationClass"):
        open_dataset(f"voc:{tmp_path}")
    for name in ("JPEGImages", "SegmentationClass"):
        (tmp_path / name).mkdir()
    with refused("Expected images with masks.*got none"):
        open_dataset(f"voc:{tmp_path}")
