"""Whether maps are right on networks whose relevance is known: mechanism tests."""

from collections.abc import Sequence

import numpy as np

from rap_keras.benchmark.metrics.metric import Metric, compared, each
from rap_keras.benchmark.metrics.tables import UNITS as TABLE
from rap_keras.benchmark.metrics.view import View
from rap_keras.benchmark.statistics import Json, Numbers, Ratio, mean
from rap_keras.benchmark.units import UNITS, Unit

PASSED = 0.99
"""The score from which a map counts as right: an angle of 8 degrees."""
DIGITS = 4
"""The digits of a score: further ones are rounding errors, which tests of differences would find."""

_WORDS = (
    "Each column is a network whose relevance is known. The score is the cosine similarity between "
    "the map, summed over each cell of the image, and the known relevance: 1 is right up to a "
    "positive factor, 0 is unrelated, -1 is the opposite. A map of zeros has a score of 0. Passed: "
    f"the number of networks with a score of at least {PASSED}; one that is undefined is not passed."
)


def score(view: View) -> float:
    """The cosine similarity of the relevance of the cells and the known relevance, -1 to 1."""
    truth = np.asarray(view.scene.truth, np.float64)
    rows, columns = truth.shape
    pixels = np.asarray(view.heatmap, np.float64)
    found = pixels.reshape(rows, len(pixels) // rows, columns, -1).sum((1, 3))
    size = float(np.linalg.norm(found) * np.linalg.norm(truth))
    return round(float((found * truth).sum() / size), DIGITS) if size else 0.0


def metric_of(name: str) -> str:
    """The name of the metric of a network."""
    return f"unit_{name}"


def _passed(protocol: Json, numbers: Sequence[Numbers]) -> dict[str, Ratio]:
    scores = [[of_image.get(metric_of(name)) for name in UNITS] for of_image in numbers]
    passed = [sum(one is not None and one >= PASSED for one in row) for row in scores]
    return {"unit_passed": mean(np.array(passed, np.float64))}


def _metric(unit: Unit) -> Metric:
    name = metric_of(unit.name)
    column = compared(unit.name, name, "higher", terminal=unit.name)
    words = f"{unit.name}: {unit.tests}"
    return Metric(name, each(score), (column,), TABLE, words)


METRICS = (
    Metric(
        "unit_passed",
        lambda views: [{} for _ in views],  # the scores of the others
        (compared("passed", "unit_passed", "higher", terminal="passed"),),
        TABLE,
        _WORDS,
        summarize=_passed,
    ),
    *map(_metric, UNITS.values()),
)
