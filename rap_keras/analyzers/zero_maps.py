"""Maps that are zero everywhere, which look like an answer and are none."""

import inspect
import warnings
from collections.abc import Sequence

import numpy as np

from rap_keras.analyzers.explanation import Explanation


def warn_of_zero_maps(maps: Sequence[np.ndarray], explained: Explanation, instead: str) -> None:
    """Warns, in one sentence, of samples whose maps are zero at every input.

    Args:
        maps: One per input, `(batch, ...)`, or of k neurons of each sample `(batch, k, ...)`.
        explained: What they are of.
        instead: Of a method that shows only what speaks for a positive output, what to use in its place;
            empty of others.
    """
    values = np.asarray(explained.explained_logits)
    zero = are_zero(maps, values.shape)
    count = int(zero.any(-1).sum() if zero.ndim == 2 else zero.sum())
    if not count:
        return
    told = "for the method finds nothing there"
    if instead:
        advice = [f"{instead} to see what speaks against it"]
        negative = bool((values[zero] < 0).all())
        other = _other_class(explained, zero) if negative else None
        if other is not None:
            advice.insert(
                0,
                f'explain class {other} (neuron_selection_mode="index", neuron_selection={other})',
            )
        told = "for the method shows only what speaks for a positive output"
        told += (
            f", and theirs is negative: {', or '.join(advice)}" if negative else f": {advice[0]}"
        )
    samples = f"{count} of {len(values)} samples"
    warnings.warn(
        f"The map of {explained.method!r} is zero everywhere for {samples}, {told}.",
        stacklevel=_outside(),
    )


def _outside() -> int:
    """How many calls lie between a warning of the function that asks and the caller's own code."""
    level, frame = 1, inspect.currentframe()
    package = __name__.partition(".")[0]
    while (frame := frame and frame.f_back) and frame.f_globals["__name__"].startswith(package):
        level += 1
    return level


def are_zero(maps: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Whether maps are zero at every input, a boolean array of a shape of their first axes."""
    found = np.ones(shape, bool)
    for part in maps:
        found &= ~part.reshape(*shape, -1).any(-1) if part.size else False
    return found


def _other_class(explained: Explanation, zero: np.ndarray) -> int | None:
    """The class of one sigmoid that speaks where maps are zero, if it is the same of all."""
    neurons = explained.neurons
    if not explained.is_binary or neurons is None or neurons.dtype == bool:
        return None
    others = np.unique(1 - neurons[zero]).tolist()
    return others[0] if len(others) == 1 else None
