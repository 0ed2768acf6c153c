"""Images, maps and models for the tests of measures."""

import numpy as np

# Its measures were computed by Quantus 0.6.0.
QUANTUS_MAP = np.array(
    [
        [0.13, -0.13, 0.64, 0.1, -0.54, 0.36],
        [1.3, 0.95, -0.7, -1.27, -0.62, 0.04],
        [-2.33, -0.22, -1.25, -0.73, -0.54, -0.32],
        [0.41, 1.04, -0.13, 1.37, -0.67, 0.35],
        [0.9, 0.09, -0.74, -0.92, -0.46, 0.22],
        [-1.01, -0.21, -0.16, 0.54, 0.21, 0.36],
    ]
)


class Net:
    """Linear logits of a batch, computed image by image; stores the arguments of its calls."""

    def __init__(self, shape, classes=3, seed=0):
        self.weights = np.random.default_rng(seed).normal(size=(classes, *shape))
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch)
        return np.array([[(w * image).sum() for w in self.weights] for image in batch])


def random_case(shape=(5, 4, 3), seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[:2])
