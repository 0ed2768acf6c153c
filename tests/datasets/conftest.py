"""Small data sets of each kind."""

import numpy as np
import pytest
from helpers.image_files import (
    CAT,
    DOG,
    FIRST,
    GREY,
    IDS,
    annotate,
    pixels,
    save,
    save_palette,
    write,
)


@pytest.fixture
def imagenet(tmp_path):
    """Two images, warped to 6 x 4; their boxes drawn at 60 x 40."""
    for i, suffix in ((2, "JPEG"), (1, "png")):
        save(tmp_path / "images" / f"val_{i}.{suffix}", pixels(i))
    folder = tmp_path / "annotations"
    boxes = [(CAT, 0, 0, 20, 20), (DOG, 0, 0, 10, 10), (CAT, 40, 20, 60, 40)]
    annotate(folder / "val_1.xml", *boxes, width=60, height=40)
    annotate(folder / "val_2.xml", width=60, height=40)
    return tmp_path


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for i, name in enumerate(("2007_02", "2007_01", "2007_03", "unsegmented")):
        save(root / "JPEGImages" / f"{name}.jpg", pixels(i))
    save_palette(root / "SegmentationClass" / "2007_01.png", IDS)
    save_palette(root / "SegmentationClass" / "2007_02.png", np.zeros((4, 6)))
    save_palette(root / "SegmentationClass" / "2007_03.png", np.ones((4, 6)))
    return root


@pytest.fixture
def masked(tmp_path):
    save(tmp_path / "images" / "b.png", pixels(1))
    save(tmp_path / "images" / "a.jpg", pixels(2))
    save(tmp_path / "masks" / "b.png", GREY)
    save(tmp_path / "masks" / "a.png", FIRST)  # of one bit
    return tmp_path


@pytest.fixture
def tabled(tmp_path):
    save(tmp_path / "b.png", pixels(1))
    save(tmp_path / "a.png", pixels(2))
    save(tmp_path / "unnamed.png", pixels(3))
    write(
        tmp_path / "boxes.csv",
        "image,x_min,y_min,x_max,y_max,class,width,height\n"
        "b.png,0,0,20,20,cat,60,40\nb.png,0,0,1,1,dog,,\nb.png,4,2,6,4,cat,,\na.png,0,0,6,4,cat,,\n",
    )
    return tmp_path
