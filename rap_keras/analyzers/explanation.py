"""What an analyzer says of samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Explanation:
    """The relevance of samples, and what it is the relevance of; all from one forward pass.

    Attributes:
        relevance: What `analyze` returns: an array of the shape of x, of k neurons per sample of shape
            `(batch, k, ...)`; a list or dict of them for several inputs.
        logits: The model's logits, `(batch, classes)` for a classifier, in at least single precision.
        neurons: The output neuron that is explained of each sample, int32 of shape `(batch,)`, or the
            k neurons, `(batch, k)`; of a region a boolean array of the shape of the logits; None where
            all neurons are explained.
        method: The name of the method, as `create_analyzer` takes it.
    """

    relevance: Any
    logits: np.ndarray
    neurons: np.ndarray | None
    method: str

    @property
    def explained_logits(self) -> np.ndarray:
        """The logit of the explained neuron, or the sum of those of the region, float64 `(batch,)`.

        Of k neurons per sample `(batch, k)`. Methods that conserve relevance give maps of this sum, or
        with contrast of the sum 0.
        """
        return explained_sum(self.logits, self.neurons)


def explained_sum(logits: np.ndarray, neurons: np.ndarray | None) -> np.ndarray:
    """The sum of the logits that are explained, float64 of shape `(batch,)`, or `(batch, k)`.

    Args:
        logits: `(batch, ...)`.
        neurons: As `Explanation.neurons`.
    """
    flat = logits.reshape(len(logits), int(np.prod(logits.shape[1:]))).astype(np.float64)
    if neurons is None:
        return flat.sum(1)
    if neurons.dtype == bool:
        return np.where(neurons.reshape(flat.shape), flat, 0).sum(1)
    if neurons.ndim == 2:
        return np.take_along_axis(flat, neurons, 1)
    return flat[np.arange(len(flat)), neurons]
