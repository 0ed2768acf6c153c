"""What a model makes of its logits: which class it tells, and with what probability."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from rap_keras.errors import InputError

Head = Literal["softmax", "sigmoid"] | None


def read_head(head: Head) -> None:
    """Refuses what is no head.

    Raises:
        InputError: It is none of "softmax", "sigmoid" and None.
    """
    if head not in ("softmax", "sigmoid", None):
        raise InputError(
            f"Expected head to be 'softmax', 'sigmoid' or None, got {head!r}: pass that of the model.",
            "head",
        )


def both_classes(logits: NDArray[Any], head: Head) -> NDArray[Any]:
    """Logits `(n, classes)`; of one sigmoid those of both classes, 0 and 1: `(n, 2)`.

    Raises:
        InputError: There is one logit, and a softmax is to be taken.
    """
    if logits.shape[1] != 1:
        return logits
    if head == "softmax":
        raise InputError(
            'Expected several logits of each image for head="softmax", got one: pass head="sigmoid" for '
            "a model of two classes, or head=None for a regression, which has no probabilities.",
            "head",
        )
    return np.concatenate([-logits, logits], 1) if head == "sigmoid" else logits


def probabilities_of(
    logits: NDArray[np.float64], neuron: int, head: Head
) -> NDArray[np.float64] | None:
    """The probability of a class by logits `(n, classes)`, `(n,)`; None for a regression."""
    if head == "sigmoid":
        return expit(logits[:, neuron])
    return None if logits.shape[1] == 1 else softmax(logits, axis=1)[:, neuron]


def are_decided(logits: NDArray[np.float64], neuron: int, head: Head) -> NDArray[np.bool_] | None:
    """Whether the model tells a class by logits `(n, classes)`, bool `(n,)`; None for a regression."""
    own = logits[:, neuron]
    if head == "sigmoid":
        return own >= 0
    return None if logits.shape[1] == 1 else own == logits.max(axis=1)
