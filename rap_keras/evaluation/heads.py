"""From logits to the predicted class and its probability, by the model's head."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from rap_keras.errors import InputError

Head = Literal["softmax", "sigmoid"] | None


def read_head(head: Head) -> None:
    """Raises an error for a head other than "softmax", "sigmoid" and None."""
    if head not in ("softmax", "sigmoid", None):
        raise InputError(
            f"Expected head to be 'softmax', 'sigmoid' or None, got {head!r}: pass that of the model.",
            "head",
        )


def both_classes(logits: NDArray[Any], head: Head) -> NDArray[Any]:
    """Logits `(n, classes)`; for one sigmoid, the logits of classes 0 and 1, `(n, 2)`."""
    if logits.shape[1] != 1:
        return logits
    if head == "softmax":
        raise InputError(
            'Expected several logits of each image for head="softmax", got one: pass head="sigmoid" for '
            "a model of two classes, or head=None for a regression, which has no probabilities.",
            "head",
        )
    return np.concatenate([-logits, logits], 1) if head == "sigmoid" else logits


def probabilities(logits: NDArray[np.float64], head: Head) -> NDArray[np.float64] | None:
    """The probabilities of all classes, from logits `(n, classes)`; None for a regression."""
    if head == "sigmoid":
        return expit(logits)
    return None if logits.shape[1] == 1 else softmax(logits, axis=1)


def are_decided(logits: NDArray[np.float64], neuron: int, head: Head) -> NDArray[np.bool_] | None:
    """Whether a class is predicted, bool `(n,)`, by logits `(n, classes)`; None for a regression."""
    explained = logits[:, neuron]
    if head == "sigmoid":
        return explained >= 0
    return None if logits.shape[1] == 1 else explained == logits.max(axis=1)
