"""Batches one after the other, as models are trained on them."""

from typing import Any

import keras
import numpy as np

from helpers.tensors import BACKEND


class Pages(keras.utils.PyDataset):
    """Batches by number, with labels if there are any."""

    def __init__(self, x: np.ndarray, size: int, labels: np.ndarray | None = None) -> None:
        super().__init__()
        self.x, self.size, self.labels = x, size, labels

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def __getitem__(self, k: int) -> Any:
        part = slice(k * self.size, (k + 1) * self.size)
        return self.x[part] if self.labels is None else (self.x[part], self.labels[part])


def batched(x: np.ndarray, size: int, labels: np.ndarray | None = None) -> Any:
    """The data of the backend: a `tf.data.Dataset`, a PyTorch DataLoader, or else that of Keras."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(x if labels is None else (x, labels))
        return data.batch(size)
    if BACKEND == "torch":
        from torch.utils.data import DataLoader

        return DataLoader(x if labels is None else list(zip(x, labels, strict=True)), size)
    return Pages(x, size, labels)
