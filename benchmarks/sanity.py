"""Print how maps change with shuffled parameters, as Markdown tables.

Example: python benchmarks/sanity.py --seed 0 --images 20

The test of Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018), on the bundled models: the
weights are shuffled from the logits layer upwards, and the maps of the same images and classes are
compared with those of the trained model. "size" is the rank correlation of the absolute values, "rank"
that of the signed values, and "linear" is Pearson's correlation.
"""

import argparse
import os
import warnings
from collections.abc import Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from scipy.stats import spearmanr

import rap_keras
from rap_keras import bundled, patterns
from rap_keras.analyzers.registry import read_method
from rap_keras.datasets.cluttered_digits import cluttered_digits, preprocess
from rap_keras.models.randomisation import STAGES as CASES
from rap_keras.models.randomisation import randomised

# lrp needs a table, some methods need attention, expected gradients need a background.
NO_METHODS = (
    *("input", "lrp", "expected_gradients"),
    *("attention.rollout", "generic_attention", "transformer_attribution", "legrad"),
)
OPTIONS = {
    "lrp.alpha_beta": {"alpha": 1.5},
    "deep_taylor.bounded": {"low": -1.0, "high": 1.0},
    "smoothgrad": {"seed": 0},
    "rise": {"seed": 0, "masks": 500},
}


def methods() -> list[str]:
    """The names of the methods that are tested."""
    return [name for name in rap_keras.analyzer_names() if name not in NO_METHODS]


def explain(
    method: str, model: keras.Model, x: np.ndarray, neurons: np.ndarray, data: np.ndarray | None
) -> np.ndarray:
    """The maps of given neurons, one value per pixel; patterns are fitted on `data`."""
    options = dict(OPTIONS.get(method, {}))
    if read_method(method).needs_patterns:
        options["patterns"] = patterns.fit(model, data, progress=False)
    analyzer = rap_keras.create_analyzer(method, model, **options)
    return analyzer.analyze(x, neurons).sum(-1, dtype="float64")


def similarities(maps: np.ndarray, others: np.ndarray) -> dict[str, list[float]]:
    """Rank correlations of sizes and of signed values, and Pearson's, of each pair of maps."""
    result: dict[str, list[float]] = {"|rank|": [], "rank": [], "linear": []}
    for a, b in zip(maps, others, strict=True):
        a, b = a.ravel(), b.ravel()
        constant = np.ptp(a) == 0 or np.ptp(b) == 0  # deep Taylor, if the logit is negative
        result["|rank|"].append(0.0 if constant else spearmanr(abs(a), abs(b)).statistic)
        result["rank"].append(0.0 if constant else spearmanr(a, b).statistic)
        result["linear"].append(0.0 if constant else np.corrcoef(a, b)[0, 1])
    return result


def compare(
    method: str,
    model: keras.Model,
    x: np.ndarray,
    cases: Sequence[str] = CASES,
    seed: int = 0,
    data: np.ndarray | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Case => similarities of the maps of the randomised model to those of the trained one."""
    neurons = model.predict(x, verbose=0).argmax(1)
    maps = explain(method, model, x, neurons, data)
    found = {}
    for case in cases:
        copy = randomised(model, case, seed)
        found[case] = similarities(maps, explain(method, copy, x, neurons, data))
    return found


def cell(values: list[float]) -> str:
    """Mean and standard error."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"


def rows(name: bundled.Name, count: int, seed: int) -> Iterator[str]:
    """The tables of one classifier, one for each kind of correlation."""
    x = preprocess(cluttered_digits(count, seed=seed, split="test").images)
    data = preprocess(cluttered_digits(256, seed=seed, split="train").images)
    model = bundled.load(name)
    kinds = ("|rank|", "rank", "linear")
    found = {method: compare(method, model, x, seed=seed, data=data) for method in methods()}
    for kind in kinds:
        yield f"| {name}, {kind.replace('|rank|', 'size')} | {' | '.join(CASES)} |"
        yield "|---" * (1 + len(CASES)) + "|"
        for method, cases in found.items():
            cells = [cell(cases[case][kind]) for case in CASES]
            yield f"| `{method}` | {' | '.join(cells)} |"
        yield ""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["vgg", "residual"])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    for name in args.models:
        for row in rows(name, args.images, args.seed):
            print(row, flush=True)


if __name__ == "__main__":
    main()
