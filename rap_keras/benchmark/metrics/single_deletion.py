"""The effect of single patches on the decision."""

from collections.abc import Sequence

import numpy as np

from rap_keras.benchmark.grids import shape_of
from rap_keras.benchmark.metrics.metric import Metric, compared
from rap_keras.benchmark.metrics.tables import FAITHFULNESS
from rap_keras.benchmark.metrics.view import Scene, View, together
from rap_keras.benchmark.statistics import Array, Json
from rap_keras.evaluation import deletion
from rap_keras.evaluation.classes import rank_correlation


def _score(views: Sequence[View], deletion_grid: str, batch_size: int) -> list[float]:
    grid = shape_of(deletion_grid)

    def drops(scenes: Sequence[Scene]) -> Array:
        return deletion.single_deletion_drops(
            scenes[0].predict,
            [scene.x for scene in scenes],
            [scene.target for scene in scenes],
            grid,
            batch_size=batch_size,
            logits=np.stack([scene.logits for scene in scenes]),
        )

    # The drops do not depend on the map: all rows of the benchmark share those of a chunk.
    found = together([view.scene for view in views], f"drops {deletion_grid}", drops)
    return [
        rank_correlation(deletion.patch_relevance(view.heatmap, grid), one)
        for view, one in zip(views, found, strict=True)
    ]


def _words(protocol: Json) -> str:
    return (
        "Single deletion: the rank correlation, on each image, between the relevance of each patch of "
        f"a grid of {protocol['deletion_grid']} and the drop of the target's logit when this patch "
        "alone becomes 0."
    )


METRICS = (
    Metric(
        "single_deletion",
        _score,
        (compared("single deletion", "single_deletion", "higher", "single deletion"),),
        FAITHFULNESS,
        _words,
        "Hesse et al. 2024",
        settings=("deletion_grid", "batch_size"),
    ),
)
