"""Perturbation curves and their scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import read_array
from rap_keras.support.options import choose


@dataclass(frozen=True, eq=False)
class PerturbationCurve:
    """The logit of one image while its pixels are replaced step by step. Step 0 is the original image.

    Attributes:
        fractions: The share of the regions that is replaced, `(steps + 1,)`, starting at 0.
        logits: The explained logit, `(steps + 1,)`, float64. For class 0 of one sigmoid, the negated
            logit.
        correct: Whether the model still predicts the explained class, bool `(steps + 1,)`. This is so
            if no other class has a larger logit; with sigmoids, which can predict several classes, if
            the logit is not negative. None for a regression.
        probabilities: The softmax or sigmoid of the explained class, by the model's head, `(steps +
            1,)`, float64. None for a regression.

    Example:
        >>> predict = lambda images: images.sum((1, 2))  # logits of two classes
        >>> x = np.ones((4, 4, 2))
        >>> rap_keras.evaluation.perturbation_curve(predict, x, x[..., 0], 1, steps=2).fractions
        array([0. , 0.5, 1. ])
    """

    fractions: NDArray[np.float64]
    logits: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    probabilities: NDArray[np.float64] | None


def symmetric_relevance_gain(
    lerf: PerturbationCurve, morf: PerturbationCurve, of: str = "logits"
) -> float:
    """The area between the curves of the least and of the most relevant pixels first.

    The area under the first curve minus the area under the second. Source: Blücher, Vielhaben and
    Strodthoff, "Decoupling pixel flipping and occlusion strategy for consistent XAI benchmarks", TMLR
    2024, arXiv 2401.06654. An effect that the replacement has on all images cancels out, so rankings of
    methods depend less on it.

    Args:
        lerf: The curve with order "lerf".
        morf: The curve with order "morf" and the same steps.
        of: "logits", "probabilities" or "correct".

    Returns:
        The gain, in units of `of`. Larger is better; 0 for a map without information.

    Example:
        >>> predict = lambda images: images.sum((1, 2))
        >>> x = np.ones((4, 4, 2))
        >>> x[:2] = 0
        >>> lerf, morf = (
        ...     rap_keras.evaluation.perturbation_curve(predict, x, x[..., 0], 1, steps=4, order=order)
        ...     for order in ("lerf", "morf")
        ... )
        >>> rap_keras.evaluation.symmetric_relevance_gain(lerf, morf)
        4.0
    """
    choose("of", of, ("logits", "probabilities", "correct"))
    if getattr(lerf, of) is None or getattr(morf, of) is None:
        raise InputError(
            f"Expected curves with {of}, got curves of a regression: use of='logits'.", "of"
        )
    if not np.array_equal(lerf.fractions, morf.fractions):
        raise InputError(
            "Expected two curves with the same steps: compute them with the same options."
        )
    above, below = (np.asarray(getattr(curve, of), np.float64) for curve in (lerf, morf))
    return area_under_curve(lerf.fractions, above - below)


def area_over_perturbation_curve(values: ArrayLike) -> float:
    """The mean drop of the values below the first one: AOPC.

    The mean of values[0] - values[k] over k = 0 ... steps of one image, including k = 0, as in eq. 12
    of Samek et al. (2017). Larger is better for MoRF, smaller for LeRF.

    Args:
        values: The logits (or other scores) of a curve, `(steps + 1,)`.

    Returns:
        The AOPC, in units of the values.

    Example:
        >>> rap_keras.evaluation.area_over_perturbation_curve([3.0, 2.0, 1.0])
        1.0
    """
    numbers = read_array("the values of a curve", values, 1)
    return float((numbers[0] - numbers).mean())


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """The area under a curve, by the trapezoidal rule.

    Args:
        fractions: The positions of the values, `(n,)`, ascending.
        values: The values, `(n,)`.

    Returns:
        The area, in units of the values. Over fractions from 0 to 1 it is their mean.

    Raises:
        InputError: The arrays are invalid, or have a single point.

    Example:
        >>> rap_keras.evaluation.area_under_curve([0.0, 0.5, 1.0], [3.0, 2.0, 1.0])
        2.0
    """
    numbers = read_array("the values of a curve", values, 1)
    places = read_array("the fractions of a curve", fractions, 1)
    if len(places) < 2 or len(places) != len(numbers) or (np.diff(places) < 0).any():
        raise InputError(
            "Expected at least two ascending fractions and the same number of values, got "
            f"{len(places)} and {len(numbers)}: pass those of one PerturbationCurve."
        )
    return float((np.diff(places) * (numbers[1:] + numbers[:-1])).sum() / 2)
