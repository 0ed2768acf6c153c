"""What an analyzer says of samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Explanation:
    """The relevance of samples, and what it is the relevance of; all from one forward pass.

    Attributes:
        relevance: What `analyze` returns: an array of the shape of x; a list or dict of them for
            several inputs.
        logits: The model's logits, `(batch, classes)` for a classifier, in at least single precision.
        neurons: The output neuron that is explained of each sample, int32 of shape `(batch,)`; None in
            mode "all".
        method: The name of the method, as `create_analyzer` takes it.
    """

    relevance: Any
    logits: np.ndarray
    neurons: np.ndarray | None
    method: str
