"""Warnings about maps that are zero everywhere, which look like a result but are none."""

from collections.abc import Sequence

import numpy as np

from rap_keras.analyzers.explanation import Explanation
from rap_keras.support.warn import warn


def warn_of_zero_maps(maps: Sequence[np.ndarray], explained: Explanation, instead: str) -> None:
    """Warns about samples whose maps are zero at every input.

    `instead` is what to use instead of a method that shows only evidence for a positive output; empty
    for other methods.
    """
    values = np.asarray(explained.explained_logits)
    zero = are_zero(maps, values.shape)
    count = int(zero.any(-1).sum() if zero.ndim == 2 else zero.sum())
    if not count:
        return
    reason = "because the method finds nothing there"
    if instead:
        advice = [f"{instead} to see what speaks against it"]
        negative = bool((values[zero] < 0).all())
        other = _other_class(explained, zero) if negative else None
        if other is not None:
            advice.insert(0, f"explain class {other} (target={other})")
        reason = "because the method shows only what speaks for a positive output"
        reason += (
            f", and theirs is negative: {', or '.join(advice)}" if negative else f": {advice[0]}"
        )
    samples = f"{count} of {len(values)} samples"
    warn(f"The map of {explained.method!r} is zero everywhere for {samples}, {reason}.")


def warn_of_inputs(method: str, left: Sequence[str], why: str) -> None:
    """Warns about inputs that a method leaves out."""
    if left:
        warn(
            f"{method!r} gives zeros to {', '.join(map(repr, left))}, {why}: methods that propagate "
            'relevance, such as "rap", explain all inputs.'
        )


def are_zero(maps: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Whether maps are zero at every input, as booleans of `shape`, their first axes."""
    found = np.ones(shape, bool)
    for part in maps:
        found &= ~part.reshape(*shape, -1).any(-1) if part.size else False
    return found


def _other_class(explained: Explanation, zero: np.ndarray) -> int | None:
    """The class of a model with one sigmoid to explain instead, if it is the same for all zero maps."""
    neurons = explained.neurons
    if not explained.is_binary or neurons is None or neurons.dtype == bool:
        return None
    others = np.unique(1 - neurons[zero]).tolist()
    return others[0] if len(others) == 1 else None
