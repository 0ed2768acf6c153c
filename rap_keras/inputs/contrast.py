"""The classes that the explained class is compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.inputs.classes import as_numbers
from rap_keras.inputs.tensors import readable
from rap_keras.support.options import choose
from rap_keras.support.text import shown

Contrast = str | tuple[int, ...] | None
# Weights of all other classes.
CONTRASTS = ("softmax", "uniform")


def read_contrast(
    contrast: Any,
    classes: int | None,
    labels: Sequence[str] | None = None,
    argument: str = "contrast",
) -> Contrast:
    """Reads a contrast: None, "softmax", "uniform", or classes by number or name, as a tuple.

    `classes` is the length of the output's last axis; 1 if it has no axes, None if it is unknown.
    """
    if contrast is None:
        return None
    if classes == 1:
        raise InputError(
            f"Expected a model with several output neurons for {argument}={shown(contrast)}, got one "
            f"neuron: leave {argument} out. With a sigmoid, the logit already compares class 1 with "
            "class 0, which target=0 explains.",
            argument,
        )
    if isinstance(contrast, str) and (contrast in CONTRASTS or not labels):
        choose(argument, contrast, CONTRASTS)
        return contrast
    contrast = as_numbers(readable(contrast), labels, argument)
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
    """Raises an error if a class is only compared with itself.

    `neurons` are the explained ones of each sample, or its region, a boolean array whose last axis has
    the classes; None if all are explained.
    """
    if contrast is None or (neurons is not None and not len(neurons)):
        return
    given = contrast[0] if isinstance(contrast, tuple) and len(contrast) == 1 else contrast
    spelled = f"{argument}={shown(list(given) if isinstance(given, tuple) else given)}"
    if neurons is None:
        raise InputError(
            f"Expected one class as target with {spelled}, got all neurons: pass target=CLASS.",
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
            f"Expected other classes than the explained class to compare with, got {spelled}, "
            f"which is also explained in sample {bad[0]}: choose other classes, or another target.",
            (argument, "target"),
        )
