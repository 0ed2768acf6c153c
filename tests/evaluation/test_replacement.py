"""Replacements of pixels: colours, images, and means of neighbours."""

import numpy as np
import pytest
from helpers.scores import random_case

from rap_keras.evaluation import (
    blurred,
    noisy_linear_imputation,
    perturb,
)


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [(7, [7, 7]), ([8.0, 9.0], [8, 9]), ([[[1.0, 2.0], [3.0, 4.0]]], [3, 4])],
)
def test_perturb_by_hand(replacement, expected):
    x = np.array([[[10, 20], [30, 40]]], np.float32)
    masks = np.array([[[False, True]], [[False, False]]])
    images = perturb(x, masks, replacement)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, [[[[10, 20], expected]], x])
    np.testing.assert_array_equal(x, [[[10, 20], [30, 40]]])


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [("float64", "float64"), ("float16", "float16"), ("uint8", "float32"), ("int64", "float32")],
)
def test_dtype_of_perturbed_images(given_dtype, dtype):
    x = np.ones((1, 2, 1), given_dtype)
    images = perturb(x, np.array([[[True, False]]]), 0.5)
    assert images.dtype == dtype
    assert images.ravel().tolist() == [0.5, 1]


def slow_imputation(image, missing):
    """The system of equations written down pixel by pixel."""
    height, width = missing.shape
    places = list(zip(*np.nonzero(missing), strict=True))
    system, known = np.zeros((len(places),) * 2), np.zeros((len(places), image.shape[-1]))
    for row, (y, x) in enumerate(places):
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                other = (y + down, x + right)
                if not (0 <= other[0] < height and 0 <= other[1] < width) or down == right == 0:
                    continue
                weight = 1 / 6 if down == 0 or right == 0 else 1 / 12
                system[row, row] += weight
                if missing[other]:
                    system[row, places.index(other)] -= weight
                else:
                    known[row] += weight * image[other]
    result = image.copy()
    result[missing] = np.linalg.solve(system, known)
    return result


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_imputation_solves_the_system(share):
    rng = np.random.default_rng(3)
    x, mask = rng.normal(size=(6, 7, 3)), rng.random((6, 7)) < share
    found = noisy_linear_imputation(x, mask, noise=0)
    np.testing.assert_allclose(found, slow_imputation(x, mask), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[~mask], x[~mask].astype(np.float32))


def test_imputation_equals_quantus():
    # quantus.functions.perturb_func.noisy_linear_imputation of Quantus 0.6.0, noise=0, one channel.
    image = np.array(
        [
            [-0.65, -0.13, 0.78, 1.49, -1.26, 1.51],
            [1.35, 0.78, 0.26, -0.31, 1.46, 1.96],
            [1.8, 1.32, 0.36, -1.21, -0.0, 0.66],
            [-1.29, 0.4, 0.43, 0.7, -1.18, -0.66],
            [-0.44, -1.17, 1.74, -0.5, 0.33, -0.26],
            [1.58, 1.32, 0.63, -2.2, 0.05, 0.68],
        ]
    )
    mask = np.eye(6, dtype=bool)
    mask[1:4, 2:5] = True
    expected = image.copy()
    expected[mask] = [
        *[0.6641487025, 0.8807435124, 0.7672770052, 0.6320986865, 0.6525885361],
        *[0.7102194357, 0.5212007931, 0.4928321338],
        *[0.5410819082, 0.3106716167, 0.001818322, -0.3431942152, -0.152638843],
    ]
    found = noisy_linear_imputation(image[..., np.newaxis], mask, noise=0)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)


def test_noise_of_the_imputation():
    x, mask = np.zeros((40, 50, 3)), np.zeros((40, 50), bool)
    mask[5:35] = True
    found = noisy_linear_imputation(x, mask, noise=0.5, seed=3)
    assert found[mask].std() == pytest.approx(0.5, rel=0.05)
    assert not found[~mask].any()
    np.testing.assert_array_equal(found, noisy_linear_imputation(x, mask, 0.5, [3]))
    assert (found != noisy_linear_imputation(x, mask, 0.5, 4))[mask].all()
    assert noisy_linear_imputation(x, mask)[mask].std() == pytest.approx(0.01, rel=0.05)


def test_imputation_of_no_pixel_and_of_all_pixels():
    x, _ = random_case()
    mask = np.zeros((5, 4), bool)
    np.testing.assert_array_equal(noisy_linear_imputation(x, mask), x)
    mean = np.broadcast_to(x.mean(axis=(0, 1)), x.shape)
    np.testing.assert_allclose(noisy_linear_imputation(x, ~mask, 0), mean, atol=1e-6)


def test_blurred_equals_the_sum_over_all_pixels():
    x, _ = random_case((7, 9, 2))
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    mirrored = np.pad(x, ((6, 6), (6, 6), (0, 0)), mode="symmetric")
    expected = np.array(
        [
            [
                (kernel[..., np.newaxis] * mirrored[i : i + 13, j : j + 13]).sum((0, 1))
                for j in range(9)
            ]
            for i in range(7)
        ]
    )
    found = blurred(x, 1.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(blurred(x), blurred(x, 5))
