"""What the explained class is set against."""

from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.inputs.neurons import CONTRASTS
from rap_keras.support.options import choose
from rap_keras.support.text import shown

Contrast = str | tuple[int, ...] | None


def read_contrast(contrast: Any, classes: int | None) -> Contrast:
    """What the user passed: None, a kind, or classes as a tuple.

    Args:
        contrast: None, "softmax", "uniform", or the number of a class, or a list of them.
        classes: The length of the output's last axis, 1 where it has none; None is unknown.

    Raises:
        InputError: It is none of these, there is one output neuron, or there is no such class.
    """
    if contrast is None:
        return None
    if classes == 1:
        raise InputError(
            f"Expected several output neurons to contrast, got contrast={shown(contrast)} and a model "
            "with one: leave contrast out. With a sigmoid, the logit already compares class 1 with "
            "class 0, which neuron_selection=0 explains."
        )
    if isinstance(contrast, str):
        choose("contrast", contrast, CONTRASTS)
        return contrast
    try:
        numbers = np.asarray(contrast)
    except (TypeError, ValueError):
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "iu" or numbers.ndim > 1 or not numbers.size:
        raise InputError(
            "Expected contrast to be None, 'softmax', 'uniform', or the number of a class or a list of "
            f"them, got {shown(contrast)}."
        )
    if numbers.min() < 0 or (classes is not None and numbers.max() >= classes):
        last = "" if classes is None else f" to {classes - 1}"
        raise InputError(f"Expected the classes of contrast from 0{last}, got {shown(contrast)}.")
    return tuple(dict.fromkeys(int(k) for k in numbers.reshape(-1)))


def contrasted(
    start: tf.Tensor, logits: tf.Tensor, selected: tf.Tensor, contrast: Contrast
) -> tf.Tensor:
    """The explained neurons against the others of the same position: |s_c| e_c - sum_k |s_c| w_k e_k.

    Args:
        start: Relevance of the selected logits, s, which is 0 elsewhere; the last axis is that of
            classes.
        logits: The logits.
        selected: 1 at the selected neurons, 0 elsewhere.
        contrast: How the others are weighted. "softmax": by their probabilities among themselves;
            "uniform": alike; classes: these alike, and no other.

    Returns:
        The relevance to start from, whose sum is 0. Evidence for the selected is positive, whatever the
        sign of their logit. It is 0 where all of the classes are selected themselves.
    """
    others = 1 - selected
    if isinstance(contrast, tuple):
        wanted = tf.reduce_max(tf.one_hot(contrast, tf.shape(logits)[-1], dtype=logits.dtype), 0)
        others *= wanted
    weights = others
    if contrast == "softmax":
        weights *= tf.nn.softmax(tf.where(others > 0, logits, logits.dtype.min))
    total = tf.reduce_sum(weights, -1, keepdims=True)
    size = tf.abs(start) * tf.cast(total > 0, start.dtype)
    return size - tf.math.divide_no_nan(weights, total) * tf.reduce_sum(size, -1, keepdims=True)


def refuse_itself(contrast: Contrast, neurons: np.ndarray | None) -> None:
    """Refuses classes that are the explained one, of which nothing is left to tell.

    Args:
        contrast: As `read_contrast` gives it.
        neurons: The explained neuron of each sample, or its region, as a boolean array whose last axis
            is that of classes; None where all are explained.

    Raises:
        InputError: Nothing is left that a sample's class is set against.
    """
    if contrast is None:
        return
    if neurons is None:
        raise InputError(
            f"Expected neurons that are explained against others, got contrast={shown(contrast)} and "
            'all neurons: explain one, neuron_selection_mode="max_activation" or "index".',
            ("contrast", "neuron_selection_mode"),
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
            f"contrast={shown(contrast)}, which is explained itself in sample {bad[0]}: choose other "
            "classes, or another neuron.",
            ("contrast", "neuron_selection"),
        )
