"""Find the equation that makes the contrast of RAP fail: replace one at a time, on two digits.

Example: python benchmarks/contrast_ablation.py --model residual --scenes 100

Prints the share of the positive relevance on both digits that is on the explained digit: mean ±
standard error over the scenes of `cluttered_digit_pairs()`, where both digits are explained. These
variants are for this test only: without eq. 9 nothing is conserved.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from rap_keras import bundled, create_analyzer
from rap_keras.datasets.cluttered_digits import cluttered_digit_pairs, preprocess
from rap_keras.evaluation import heatmap, relevance_share
from rap_keras.rules import rap
from rap_keras.rules.arithmetic import Contributions


def _no_shift(shared: tf.Tensor, *_: Any) -> tf.Tensor:
    return shared


def _positive(stage: Any, relevance: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """Positive contributions alone, z+ / A."""
    found = Contributions(stage, nonnegative)
    half = tf.math.divide_no_nan(relevance, found.doubled)
    return found.back(half, tf.zeros_like(half))


CASES: dict[str, dict[str, Callable[..., Any]]] = {
    "as published": {},
    "no shift (eq. 9)": {"shift": _no_shift},
    "no share of negative contributions (eqs. 7, 8)": {"_shared": _positive},
    "positive contributions at the head (eqs. 5, 6)": {"_absolute": _positive},
    "the last two together": {"_shared": _positive, "_absolute": _positive},
}


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="residual", help="vgg, residual, convnext or vit")
    parser.add_argument("--scenes", type=int, default=100, help="how many scenes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    pairs = cluttered_digit_pairs(arguments.scenes)
    model = bundled.load(arguments.model)
    ours = {name: getattr(rap, name) for case in CASES.values() for name in case}
    for title, replaced in CASES.items():
        for name in ours:
            setattr(rap, name, replaced.get(name, ours[name]))
        print(f"{title}: {_score('rap', model, pairs)}", flush=True)
    print(f"lrp.alpha_1_beta_0: {_score('lrp.alpha_1_beta_0', model, pairs)}")


def _score(method: str, model: Any, pairs: Any) -> str:
    found = []
    for contrast in (None, "softmax"):
        analyzer = create_analyzer(method, model, contrast=contrast)
        shares = np.full(pairs.labels.shape, np.nan)
        for digit in range(pairs.labels.shape[1]):
            maps = analyzer.analyze(preprocess(pairs.images), target=pairs.labels[:, digit])
            for k, relevance in enumerate(maps):
                either = pairs.masks[k].any(0)
                shares[k, digit] = relevance_share(
                    heatmap(relevance), pairs.masks[k, digit], void=~either
                )
        each = shares[np.isfinite(shares).all(1)].mean(1)
        error = each.std(ddof=1) / len(each) ** 0.5
        found.append(f"{each.mean():.3f} ± {error:.3f} ({len(each)})")
    return "alone {}, contrast {}".format(*found)


if __name__ == "__main__":
    main()
