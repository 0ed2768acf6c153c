"""What the explained class is set against."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.inputs.classes import as_numbers
from rap_keras.support.options import choose
from rap_keras.support.text import shown

Contrast = str | tuple[int, ...] | None
# How the others are weighted, which a neuron is set against.
CONTRASTS = ("softmax", "uniform")


def read_contrast(
    contrast: Any,
    classes: int | None,
    labels: Sequence[str] | None = None,
    argument: str = "contrast",
) -> Contrast:
    """What the user passed: None, a kind, or classes as a tuple.

    Args:
        contrast: None, "softmax", "uniform", or a class, or a list of them, by number or name.
        classes: The length of the output's last axis, 1 where it has none; None is unknown.
        labels: The names of the classes, where they are known.
        argument: What the user gave it by, for errors.

    Raises:
        InputError: It is none of these, there is one output neuron, or there is no such class.
    """
    if contrast is None:
        return None
    if classes == 1:
        raise InputError(
            f"Expected several output neurons to contrast, got {argument}={shown(contrast)} and a model "
            f"with one: leave {argument} out. With a sigmoid, the logit already compares class 1 with "
            "class 0, which target=0 explains.",
            argument,
        )
    if isinstance(contrast, str) and (contrast in CONTRASTS or not labels):
        choose(argument, contrast, CONTRASTS)
        return contrast
    contrast = as_numbers(contrast, labels, argument)
    try:
        numbers = np.asarray(contrast)
    except (TypeError, ValueError):
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "iu" or numbers.ndim > 1 or not numbers.size:
        raise InputError(
            f"Expected {argument} to be None, 'softmax', 'uniform', or the number of a class or a list "
            f"of them, got {shown(contrast)}.",
            argument,
        )
    if numbers.min() < 0 or (classes is not None and numbers.max() >= classes):
        last = "" if classes is None else f" to {classes - 1}"
        raise InputError(
            f"Expected the classes of {argument} from 0{last}, got {shown(contrast)}.", argument
        )
    return tuple(dict.fromkeys(int(k) for k in numbers.reshape(-1)))


def refuse_itself(
    contrast: Contrast, neurons: np.ndarray | None, argument: str = "contrast"
) -> None:
    """Refuses classes that are the explained one, of which nothing is left to tell.

    Args:
        contrast: As `read_contrast` gives it.
        neurons: The explained neuron of each sample, or its region, as a boolean array whose last axis
            is that of classes; None where all are explained.
        argument: As in `read_contrast`.

    Raises:
        InputError: Nothing is left that a sample's class is set against.
    """
    if contrast is None or (neurons is not None and not len(neurons)):
        return
    given = contrast[0] if isinstance(contrast, tuple) and len(contrast) == 1 else contrast
    told = f"{argument}={shown(list(given) if isinstance(given, tuple) else given)}"
    if neurons is None:
        raise InputError(
            f"Expected a class that is explained against others, got {told} and "
            "all neurons: pass the class as the target.",
            (argument, "target"),
        )
    bad = np.zeros(0, int)
    if neurons.dtype == bool:
        among = neurons if isinstance(contrast, str) else neurons[..., list(contrast)]
        bad = np.flatnonzero(among.all(-1).reshape(len(neurons), -1).any(1))
    elif isinstance(contrast, tuple) and len(contrast) == 1:
        bad = np.flatnonzero((neurons == contrast[0]).reshape(len(neurons), -1).any(1))
    if len(bad):
        raise InputError(
            f"Expected the explained class to be another than what it is set against, got "
            f"{told}, which is explained itself in sample {bad[0]}: choose other "
            "classes, or another target.",
            (argument, "target"),
        )
