"""Logits, probabilities and positions of the neurons that are explained."""

from typing import Any

import numpy as np


def explained_sum(logits: np.ndarray, neurons: np.ndarray | None) -> np.ndarray:
    """The sum of the explained logits, float64 of shape `(batch,)` or `(batch, k)`."""
    flat = _flat(logits)
    if neurons is None:
        return flat.sum(1)
    if neurons.dtype == bool:
        return np.where(neurons.reshape(flat.shape), flat, 0).sum(1)
    if neurons.ndim == 2:
        return np.take_along_axis(flat, neurons, 1)
    return flat[np.arange(len(flat)), neurons]


def explained_probabilities(
    logits: np.ndarray, neurons: np.ndarray, head: Any
) -> np.ndarray | None:
    """The probabilities of the explained classes, float64 of shape `(batch,)` or `(batch, k)`.

    None for a regression and for a region. Several logits without a head count as those of a softmax,
    as in `rap_keras.evaluation`.
    """
    # Imported here, because it loads SciPy.
    from rap_keras.evaluation.heads import both_classes, probabilities

    if neurons.dtype == bool or logits.ndim > 2:
        return None
    flat = _flat(logits)
    if flat.shape[1] == 1 and head != "sigmoid":
        return None
    found = probabilities(both_classes(flat, head), head)
    return None if found is None else explained_sum(found, neurons)


def region_parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes of a region, and its positions as a boolean array."""
    return np.flatnonzero(mask.reshape(-1, mask.shape[-1]).any(0)), np.asarray(mask.any(-1))


def _flat(logits: np.ndarray) -> np.ndarray:
    """The logits as float64 of shape `(batch, outputs)`, also of an empty batch."""
    return logits.reshape(len(logits), int(np.prod(logits.shape[1:]))).astype(np.float64)
