"""How good an attribution is: where it lands, whether it tells classes apart, what its pixels do.

Plain functions of NumPy arrays. A heatmap is an array `(height, width)`: relevance summed over the
channels, see `heatmap`. A mask is a bool array of the same shape, true on the object.
"""

from rap_keras.evaluation.classes import (
    cell_mask,
    grid_pointing_game,
    map_similarity,
    rank_correlation,
    relevance_share,
)
from rap_keras.evaluation.localization import (
    SegmentationCounts,
    average_precision,
    foreground,
    intersection_over_union,
    mean_iou,
    outside_inside_ratio,
    pixel_accuracy,
    pointing_game,
    segmentation_counts,
)
from rap_keras.evaluation.maps import conservation_error, heatmap, sparsity
from rap_keras.evaluation.perturbation import (
    PerturbationCurve,
    area_over_perturbation_curve,
    area_under_curve,
    perturb,
    perturbation_curve,
    perturbation_masks,
)

__all__ = [
    "PerturbationCurve",
    "SegmentationCounts",
    "area_over_perturbation_curve",
    "area_under_curve",
    "average_precision",
    "cell_mask",
    "conservation_error",
    "foreground",
    "grid_pointing_game",
    "heatmap",
    "intersection_over_union",
    "map_similarity",
    "mean_iou",
    "outside_inside_ratio",
    "perturb",
    "perturbation_curve",
    "perturbation_masks",
    "pixel_accuracy",
    "pointing_game",
    "rank_correlation",
    "relevance_share",
    "segmentation_counts",
    "sparsity",
]
