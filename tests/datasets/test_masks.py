"""Boxes as masks, and masks at other sizes."""

import numpy as np
import pytest
from helpers.image_files import mask, pixels, refused, same, save

from rap_keras.datasets.masks import Box, boxed_sample
from rap_keras.support.images import read_image, warp_image


def boxed(edges, drawn_at, size):
    sample = boxed_sample("a", pixels(0, *drawn_at), [Box("c", edges, drawn_at)], size)
    return sample.objects["c"]


def test_a_box_at_its_own_size_covers_the_pixels_between_its_edges():
    expected = mask("......", ".###..", ".###..", "......")
    same(boxed((1, 1, 4, 3), (4, 6), None), expected)


@pytest.mark.parametrize(
    ("edges", "drawn_at", "size", "rows", "columns"),
    [
        # 500 wide to 5: 100 to 1. Centres at 50, 150, 250, 350, 450.
        ((50, 0, 350, 100), (100, 500), (1, 5), [0], [0, 1, 2]),  # 50 is in, 350 is not
        ((51, 0, 351, 100), (100, 500), (1, 5), [0], [1, 2, 3]),
        # Height and width are scaled each by its own factor: centres at 5, 15 and at 10, 30, 50.
        ((9, 6, 31, 20), (20, 60), (2, 3), [1], [0, 1]),
        # Enlarged: 2 pixels become 6, centres at 1/6, 3/6, ... of the old ones.
        ((0.5, 0, 1, 1), (1, 2), (1, 6), [0], [1, 2]),
        # Smaller than a pixel: the one its centre (160 and 20 of 100) lies in.
        ((155, 15, 165, 25), (100, 500), (1, 5), [0], [1]),
        ((160, 20, 160, 20), (100, 500), (1, 5), [0], [1]),
        # On the far edge: the last pixel.
        ((500, 100, 500, 100), (100, 500), (1, 5), [0], [4]),
        ((-7, -7, 160, 900), (100, 500), (1, 5), [0], [0, 1]),  # cut off at the image
    ],
)
def test_boxes_are_scaled_and_hold_the_centres_of_their_pixels(
    edges, drawn_at, size, rows, columns
):
    expected = np.zeros(size, bool)
    expected[np.ix_(rows, columns)] = True
    same(boxed(edges, drawn_at, size), expected)


def test_boxes_are_united_by_class():
    boxes = [
        Box("a", (0, 0, 2, 2), (4, 6)),
        Box("b", (1, 0, 3, 1), (4, 6)),
        Box("a", (4, 2, 6, 4), (4, 6)),
    ]
    objects = boxed_sample("x", pixels(), boxes, None).objects
    assert list(objects) == ["a", "b"]
    same(objects["a"], mask("##....", "##....", "....##", "....##"))
    same(objects["b"], mask(".##...", "......", "......", "......"))


@pytest.mark.parametrize(
    "edges",
    [(4, 1, 2, 3), (1, 3, 2, 1), (7, 1, 8, 2), (-3, 1, -1, 2), (1, 1, float("nan"), 2)],
)
def test_boxes_inside_out_or_off_the_image_are_refused(edges):
    with refused(r"on the image 'a' of width 6 and height 4, got \("):
        boxed(edges, (4, 6), None)


def test_warping_is_that_of_read_image(tmp_path):
    image = pixels(3, 20, 31)
    path = save(tmp_path / "a.png", image)
    same(warp_image(image, (7, 9)), read_image(path, (7, 9)))
