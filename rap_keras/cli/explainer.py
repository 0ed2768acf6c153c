"""A method on a loaded model, for images as they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rap_keras
from rap_keras.errors import InputError
from rap_keras.support.images import read_image


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
    """A method on a loaded model, for images as they are read."""

    def __init__(
        self, loaded: Any, method: str, neuron: str = "max", batch_size: int = 8, **options: Any
    ) -> None:
        self.loaded = loaded
        self.batch_size = batch_size
        self.neuron = _neuron(neuron, loaded)
        # The neuron is chosen here, so that the one reported is the one explained.
        mode = "all" if self.neuron == "all" else "index"
        self.analyzer = rap_keras.create_analyzer(
            method, loaded.model, neuron_selection_mode=mode, batch_size=batch_size, **options
        )

    def explain_files(
        self, paths: Sequence[Path]
    ) -> Iterator[tuple[Path, NDArray[np.uint8], Explained]]:
        """Each file with its pixels as the model sees them; one batch in memory at a time."""
        for batch in self._batches(paths):
            images = np.stack([image for _, image in batch])
            for (path, image), explained in zip(batch, self.explain(images), strict=True):
                yield path, image, explained

    def explain(self, images: NDArray[np.uint8]) -> list[Explained]:
        """The relevance of each of the images, which are of one size."""
        x = self.loaded.preprocess(images)
        logits, neurons = self._selected(x)
        maps = self.analyzer.analyze(x, neurons)
        if neurons is None:
            return [
                Explained(relevance, None, None, float(row.sum()))
                for relevance, row in zip(maps, logits, strict=True)
            ]
        labels = self.loaded.labels
        return [
            Explained(relevance, int(k), labels[k] if labels else None, float(row[k]))
            for relevance, row, k in zip(maps, logits, neurons, strict=True)
        ]

    def layers(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """The relevance of one image at every layer."""
        x = self.loaded.preprocess(image[np.newaxis])
        return self.analyzer.analyze_layers(x, self._selected(x)[1])

    def _selected(self, x: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The logits, and the neuron of each image (`None`: all)."""
        logits = self.loaded.logits(x)
        if self.neuron == "all":
            return logits, None
        if self.neuron == "max":
            return logits, logits.argmax(axis=1)
        return logits, np.full(len(logits), self.neuron)

    def _batches(self, paths: Sequence[Path]) -> Iterator[list[tuple[Path, NDArray[np.uint8]]]]:
        """Images to compute together: of one size, and no more than the batch size."""
        batch: list[tuple[Path, NDArray[np.uint8]]] = []
        for path in paths:
            image = read_image(path, self.loaded.input_size)
            if batch and (len(batch) == self.batch_size or image.shape != batch[0][1].shape):
                yield batch
                batch = []
            batch.append((path, image))
        yield batch


def _neuron(text: str, loaded: Any) -> str | int:
    if text in ("max", "all"):
        return text
    count = loaded.model.outputs[0].shape[-1]
    try:
        index = int(text)
    except ValueError:
        raise InputError(f"--neuron is max, all or an index, not {text!r}.") from None
    if not 0 <= index < count:
        raise InputError(f"{loaded.name} has the neurons 0 to {count - 1}, but no neuron {index}.")
    return index
