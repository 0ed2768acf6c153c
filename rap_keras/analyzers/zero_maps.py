"""Maps that are zero everywhere, which look like an answer and are none."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rap_keras.analyzers.base import Analyzer
    from rap_keras.analyzers.explanation import Explanation

NEGATIVE = "the method shows only what speaks for a positive output"
_OTHER = (
    'explain class {other} to see it, neuron_selection_mode="index" and neuron_selection={other}'
)


def warn_of_zero_maps(
    analyzer: "Analyzer", maps: Sequence[np.ndarray], explained: "Explanation"
) -> None:
    """Warns, in one sentence, of samples whose maps are zero at every input.

    Args:
        analyzer: Which has made them.
        maps: One per input, `(batch, ...)`, or of k neurons of each sample `(batch, k, ...)`.
        explained: What they are of.
    """
    values = np.asarray(explained.explained_logits)
    zero = are_zero(maps, values.shape)
    count = int(zero.any(-1).sum() if zero.ndim == 2 else zero.sum())
    if not count:
        return
    negative = bool((values[zero] < 0).all())
    why = analyzer._beyond_zero(negative)
    if negative and explained.is_binary and explained.neurons is not None:
        (other, *more) = np.unique(1 - explained.neurons[zero]) if _classes(explained) else [None]
        if other is not None and not more:
            why = ": ".join(filter(None, [NEGATIVE, _OTHER.format(other=other)]))
    what = "whose explained output is negative" if negative else "where it finds nothing"
    warnings.warn(
        f"The map of {analyzer.name!r} is zero everywhere for {count} of {len(values)} samples, "
        f"{what}" + (f": {why}." if why else "."),
        stacklevel=3,
    )


def are_zero(maps: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Whether maps are zero at every input, a boolean array of a shape of their first axes."""
    found = np.ones(shape, bool)
    for part in maps:
        found &= ~part.reshape(*shape, -1).any(-1) if part.size else False
    return found


def _classes(explained: "Explanation") -> bool:
    return explained.neurons is not None and explained.neurons.dtype != bool
