"""A perturbation curve, and what it comes to in one number."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import read_array
from rap_keras.support.options import choose


@dataclass(frozen=True, eq=False)
class PerturbationCurve:
    """What became of one image, step by step, from the image as it is.

    Attributes:
        fractions: The share of the regions that is replaced, `(steps + 1,)`, from 0 on.
        logits: The logit of the explained neuron, `(steps + 1,)`, float64; for class 0 of one sigmoid
            the negated logit.
        correct: Whether the model still predicts the explained class, bool `(steps + 1,)`: no other
            neuron has a larger logit; with sigmoids, which may predict several classes, the logit is not
            negative. None for a regression.
        probabilities: Its softmax or sigmoid, by the model's head, `(steps + 1,)`, float64; None for a
            regression.
    """

    fractions: NDArray[np.float64]
    logits: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    probabilities: NDArray[np.float64] | None


def symmetric_relevance_gain(
    lerf: PerturbationCurve, morf: PerturbationCurve, of: str = "logits"
) -> float:
    """How much longer the logit stays with the least relevant pixels replaced first than with the most.

    The area under the curve of the least relevant first less that of the most relevant first, of
    Blücher, Vielhaben and Strodthoff, "Decoupling pixel flipping and occlusion strategy for consistent
    XAI benchmarks", TMLR 2024, arXiv 2401.06654. What the replacement does to all images equally drops
    out, so that orders of methods depend less on it.

    Args:
        lerf: The curve of order "lerf".
        morf: The curve of order "morf", with the same steps.
        of: "logits", "probabilities" or "correct".

    Returns:
        The gain, in units of these, the greater the better; 0 for a map without information.
    """
    choose("of", of, ("logits", "probabilities", "correct"))
    if getattr(lerf, of) is None or getattr(morf, of) is None:
        raise InputError(
            f"Expected curves with {of}, got curves of a regression: use of='logits'.", "of"
        )
    if not np.array_equal(lerf.fractions, morf.fractions):
        raise InputError(
            "Expected two curves of the same steps: compute them with the same options."
        )
    above, below = (np.asarray(getattr(curve, of), np.float64) for curve in (lerf, morf))
    return area_under_curve(lerf.fractions, above - below)


def area_over_perturbation_curve(values: ArrayLike) -> float:
    """How far the values lie below the first, on average: AOPC.

    The mean of values[0] - values[k] over k = 0 ... steps, the first included, of one image in eq. 12
    of Samek et al. (2017). MoRF: the greater the better; LeRF: the smaller the better.

    Args:
        values: The logits (or other scores) of a curve, `(steps + 1,)`.

    Returns:
        The AOPC, in units of the values.
    """
    numbers = read_array("the values of a curve", values, 1)
    return float((numbers[0] - numbers).mean())


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """The area under a curve by the trapezoidal rule.

    Args:
        fractions: Where the values belong, `(n,)`, ascending.
        values: The values, `(n,)`.

    Returns:
        The area, in units of the values; over fractions from 0 to 1 it is their mean.

    Raises:
        InputError: The arrays are not as described, or hold a single point.
    """
    numbers = read_array("the values of a curve", values, 1)
    places = read_array("the fractions of a curve", fractions, 1)
    if len(places) < 2 or len(places) != len(numbers) or (np.diff(places) < 0).any():
        raise InputError(
            "Expected at least two ascending fractions and as many values, got "
            f"{len(places)} and {len(numbers)}: pass those of one PerturbationCurve."
        )
    return float((np.diff(places) * (numbers[1:] + numbers[:-1])).sum() / 2)
