"""A method on a loaded model, and images in batches for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rap_keras
from rap_keras.errors import InputError
from rap_keras.support.memory import check_memory


@dataclass(frozen=True)
class Explained:
    """One image's relevance, and the neuron it is of (`None`: all of them together)."""

    relevance: NDArray[Any]
    neuron: int | None
    label: str | None
    logit: float

    def summary(self) -> dict[str, Any]:
        """What explain.json tells of it."""
        return {
            "neuron": "all" if self.neuron is None else self.neuron,
            "class": self.label,
            "logit": self.logit,
            "relevance_sum": float(self.relevance.sum(dtype=np.float64)),
        }


class Explainer:
    """A method on a loaded model."""

    def __init__(
        self, loaded: Any, method: str, neuron: str = "max", batch_size: int = 8, **options: Any
    ) -> None:
        self.labels = loaded.labels
        mode, self.neuron = _selection(neuron, loaded)
        self.analyzer = rap_keras.create_analyzer(
            method, loaded.network, neuron_selection_mode=mode, batch_size=batch_size, **options
        )

    def explain(self, x: NDArray[np.float32]) -> list[Explained]:
        """The relevance of each image of a batch, as `loaded.preprocess` gives it."""
        found = self.analyzer.explain(x, self.neuron)
        if found.neurons is None:
            return [
                Explained(relevance, None, None, float(row.sum()))
                for relevance, row in zip(found.relevance, found.logits, strict=True)
            ]
        return [
            Explained(relevance, int(k), self.labels[k] if self.labels else None, float(row[k]))
            for relevance, row, k in zip(found.relevance, found.logits, found.neurons, strict=True)
        ]

    def layers(self, x: NDArray[np.float32]) -> dict[str, Any]:
        """The relevance at every layer."""
        return self.analyzer.analyze_layers(x, self.neuron)


def read_batches(
    paths: Sequence[Path], loaded: Any, batch_size: int
) -> Iterator[tuple[Sequence[Path], NDArray[np.uint8], NDArray[np.float32]]]:
    """Files, their pixels as the model sees them, and its input; each file is read once.

    Args:
        paths: The image files.
        loaded: The model.
        batch_size: The most images in a batch; those of one are of one size.
    """
    from rap_keras.inputs.batches import image_batches

    if loaded.input_size is not None:
        check_memory(loaded.input_size, min(batch_size, len(paths)))
    batches, _ = image_batches(paths, lambda pixels: pixels, batch_size, loaded.input_size)
    start = 0
    for images in batches:
        yield paths[start : start + len(images)], images, loaded.preprocess(images)
        start += len(images)


def _selection(text: str, loaded: Any) -> tuple[str, int | None]:
    """The mode of the analyzer, and the neuron it is told."""
    if text in ("max", "all"):
        return ("max_activation" if text == "max" else "all"), None
    count = loaded.network.outputs[0].shape[-1]
    try:
        index = int(text)
    except ValueError:
        raise InputError(f"neuron is max, all or an index, not {text!r}.", "neuron") from None
    if not 0 <= index < count:
        raise InputError(f"{loaded.name} has the neurons 0 to {count - 1}, but no neuron {index}.")
    return "index", index
