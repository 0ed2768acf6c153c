"""Metrics of attribution maps: localization, class dependence, faithfulness, robustness and others.

All are plain functions of NumPy arrays. A heatmap is an array `(height, width)`: the relevance summed
over the channels, see `heatmap`. A mask is a bool array of the same shape, True on the object. `void`
is True on pixels that are ignored (default: none). Invalid arguments or logits raise
`rap_keras.InputError`.

An input x is an image `(height, width, channels)`, a series `(steps, channels)` or a vector
`(features,)`. The heatmap of a series is `(steps,)`, that of a vector `(features,)`. Where the text
says pixels, these are the steps or the features, and squares are segments of consecutive ones. `blurred`
needs an image or a series, `noisy_linear_imputation` an image.
"""

from rap_keras.evaluation.classes import (
    cell_mask,
    grid_pointing_game,
    map_similarity,
    rank_correlation,
    relevance_share,
)
from rap_keras.evaluation.curves import (
    PerturbationCurve,
    area_over_perturbation_curve,
    area_under_curve,
    symmetric_relevance_gain,
)
from rap_keras.evaluation.deletion import (
    deletion_correlation,
    patch_relevance,
    single_deletion_drops,
    single_deletion_score,
)
from rap_keras.evaluation.faithfulness import faithfulness_correlation, infidelity
from rap_keras.evaluation.localization import (
    average_precision,
    outside_inside_ratio,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    top_k_intersection,
)
from rap_keras.evaluation.maps import (
    completeness_error,
    complexity,
    conservation_error,
    effective_pixels,
    heatmap,
    sparsity,
)
from rap_keras.evaluation.perturbation import (
    deletion_curve,
    insertion_curve,
    perturbation_curve,
    perturbation_curves,
    perturbation_masks,
)
from rap_keras.evaluation.randomisation import (
    entropy_rise,
    map_entropy,
    randomisation_similarity,
    smoothed_map,
)
from rap_keras.evaluation.replacement import blurred, noisy_linear_imputation, perturb
from rap_keras.evaluation.robustness import local_lipschitz, max_sensitivity, neighbours
from rap_keras.evaluation.segmentation import (
    SegmentationCounts,
    foreground,
    intersection_over_union,
    mean_iou,
    pixel_accuracy,
    segmentation_counts,
)

__all__ = [
    "PerturbationCurve",
    "SegmentationCounts",
    "area_over_perturbation_curve",
    "area_under_curve",
    "average_precision",
    "blurred",
    "cell_mask",
    "completeness_error",
    "complexity",
    "conservation_error",
    "deletion_correlation",
    "deletion_curve",
    "effective_pixels",
    "entropy_rise",
    "faithfulness_correlation",
    "foreground",
    "grid_pointing_game",
    "heatmap",
    "infidelity",
    "insertion_curve",
    "intersection_over_union",
    "local_lipschitz",
    "map_entropy",
    "map_similarity",
    "max_sensitivity",
    "mean_iou",
    "neighbours",
    "noisy_linear_imputation",
    "outside_inside_ratio",
    "patch_relevance",
    "perturb",
    "perturbation_curve",
    "perturbation_curves",
    "perturbation_masks",
    "pixel_accuracy",
    "pointing_game",
    "randomisation_similarity",
    "rank_correlation",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "relevance_share",
    "segmentation_counts",
    "single_deletion_drops",
    "single_deletion_score",
    "smoothed_map",
    "sparsity",
    "symmetric_relevance_gain",
    "top_k_intersection",
]
