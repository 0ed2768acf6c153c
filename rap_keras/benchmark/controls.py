"""Control maps, which explain nothing."""

import numpy as np
from numpy.typing import NDArray

RANDOM = "control.random"
MEAN_SHIFTED = "control.mean_shifted"
EDGES = "control.edges"
CONTROLS = (RANDOM, MEAN_SHIFTED, EDGES)
SHIFTED_METHOD = "lrp.alpha_1_beta_0"


def random_map(shape: tuple[int, int], seed: int, position: int) -> NDArray[np.float64]:
    """Gaussian noise with standard deviation 1, the same for the same seed and place in the data set."""
    return np.random.default_rng([seed, position]).normal(size=shape)


def mean_shifted(heatmap: NDArray[np.floating]) -> NDArray[np.float64]:
    """A heat map minus its mean: it has negative values, which mean nothing."""
    heatmap = np.asarray(heatmap, np.float64)
    return heatmap - heatmap.mean()


def edges(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The edges of an image: the gradient magnitude of its brightness, by Sobel's filters."""
    from scipy import ndimage

    brightness = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    return np.hypot(ndimage.sobel(brightness, axis=0), ndimage.sobel(brightness, axis=1))
