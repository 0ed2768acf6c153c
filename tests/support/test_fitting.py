"""`rap_keras.support.fitting`."""

import numpy as np
import pytest
from PIL import Image

from rap_keras.errors import InputError
from rap_keras.support.fitting import FITS, check_fit, fitted, restored


def fit(pixels, size, how):
    return np.asarray(fitted(Image.fromarray(pixels), size, how))


@pytest.fixture
def wide(rng):
    return rng.integers(1, 256, (12, 20, 3), np.uint8)


def test_warp_takes_the_whole_image(wide):
    expected = Image.fromarray(wide).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(fit(wide, (8, 8), "warp"), expected)


@pytest.mark.parametrize("turned", [False, True])
def test_crop_takes_the_middle(wide, turned):
    image, middle = wide, wide[:, 4:16]
    if turned:
        image, middle = np.swapaxes(image, 0, 1), np.swapaxes(middle, 0, 1)
    np.testing.assert_array_equal(
        fit(image, (6, 6), "crop"), fit(np.ascontiguousarray(middle), (6, 6), "warp")
    )


@pytest.mark.parametrize("turned", [False, True])
def test_pad_adds_black_bars(wide, turned):
    image = np.swapaxes(wide, 0, 1) if turned else wide
    found = fit(np.ascontiguousarray(image), (10, 10), "pad")
    found = np.swapaxes(found, 0, 1) if turned else found
    assert not found[:2].any()
    assert not found[8:].any()
    turned_back = np.swapaxes(fit(np.ascontiguousarray(image), (10, 6), "warp"), 0, 1)
    np.testing.assert_array_equal(found[2:8], turned_back if turned else fit(wide, (6, 10), "warp"))


@pytest.mark.parametrize("size", [(7, 7), (5, 11), (30, 30)])
@pytest.mark.parametrize("shape", [(7, 7), (20, 12), (3, 40)])
@pytest.mark.parametrize("how", FITS)
def test_a_map_keeps_its_sum(how, shape, size, rng):
    relevance = rng.standard_normal((*size, 3)).astype(np.float32)
    # What was made from no pixel of the image is left out.
    shows = fit(np.full((*shape, 3), 255, np.uint8), size, how).any(-1)
    found = restored(relevance, shape, how)
    assert found.shape == (*shape, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum((0, 1)), relevance[shows].sum(0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("how", FITS)
def test_a_map_comes_back_to_its_place(how):
    """A bright square, as a map of what the model sees of it, lies where it was."""
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:35, 40:60] = 255
    seen = fit(image, (48, 48), how).astype(np.float64)
    found = restored(seen, image.shape[:2], how)[..., 0]
    there = image[..., 0] > 0
    assert found[there].sum() > 0.85 * found.sum()
    assert found[25:30, 45:55].min() > 0.8 * found.max()


@pytest.mark.parametrize("shape", [(7, 7), (20, 12), (3, 40)])
def test_an_even_map_stays_even(shape):
    found = restored(np.ones((8, 8, 1)), shape, "warp")
    np.testing.assert_allclose(found, 64 / np.prod(shape))


def test_a_map_is_the_integral_of_the_line_through_its_pixels(rng):
    values = rng.standard_normal(5)
    # The line, in steps of a thousandth of a pixel of the map.
    fine = np.interp((np.arange(5000) + 0.5) / 1000, np.arange(5) + 0.5, values) / 1000
    for new in (2, 4, 8, 20):
        found = restored(values.reshape(1, 5, 1), (1, new), "warp").ravel()
        np.testing.assert_allclose(found, fine.reshape(new, -1).sum(1), atol=1e-5)


def test_what_crop_cuts_off_is_zero(rng):
    found = restored(rng.standard_normal((6, 6, 1)), (12, 20), "crop")
    assert not found[:, :4].any()
    assert not found[:, 16:].any()
    assert found[:, 4:16].any()


def test_a_map_of_the_size_of_its_image_stays(rng):
    relevance = rng.standard_normal((9, 5, 2))
    for how in FITS:
        np.testing.assert_allclose(restored(relevance, (9, 5), how), relevance, atol=1e-12)


def test_other_ways_are_refused():
    with pytest.raises(InputError, match="warp, crop or pad, got 'squash'"):
        check_fit("squash")
