"""A method on a loaded model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rap_keras
from rap_keras.benchmark.methods import Method
from rap_keras.cli.region import Region
from rap_keras.errors import InputError
from rap_keras.models.loading import LoadedModel


@dataclass(frozen=True)
class Explained:
    """One image's relevance, and what it is of.

    Attributes:
        relevance: The map.
        neuron: The neuron, or the class of the neurons at positions; None: all of them together.
        label: What it is called.
        logit: The logit, or the sum of the logits, that is explained.
        region: The positions of the output that are explained, if there are any and not all are.
    """

    relevance: NDArray[Any]
    neuron: int | None
    label: str | None
    logit: float
    region: NDArray[np.bool_] | None = None

    def decision(self) -> dict[str, Any]:
        """What is explained, for a file."""
        where = {} if self.region is None else {"positions": int(self.region.sum())}
        return {
            "neuron": "all" if self.neuron is None else self.neuron,
            "class": self.label,
            **where,
            "logit": self.logit,
        }

    def summary(self) -> dict[str, Any]:
        """The same, with what the map sums to."""
        return self.decision() | {"relevance_sum": float(self.relevance.sum(dtype=np.float64))}

    @property
    def outlined(self) -> NDArray[np.bool_] | None:
        """The region, where it can be drawn over an image."""
        return self.region if self.region is not None and self.region.ndim == 2 else None


class Explainer:
    """A method on a loaded model.

    Args:
        loaded: The model.
        method: The method with its options.
        neuron: The neuron, or the class where the output is a map: "max", "all", a number, or the name
            of a class.
        region: Where, if the output is a map of classes, the last axis; None: everywhere.
        batch_size: Images computed at a time.

    Raises:
        InputError: The model cannot be explained so.
    """

    def __init__(
        self,
        loaded: Any,
        method: Method,
        neuron: str = "max",
        region: Region | None = None,
        batch_size: int = 8,
    ) -> None:
        self._loaded = loaded
        shape = loaded.network.graph.shapes[loaded.network.graph.output][1:]
        self._is_map = len(shape) > 1
        count = 2 if loaded.is_binary else (shape[-1] if shape else 1)
        self._neuron = _read_neuron(neuron, loaded, count)
        self._largest = neuron == "max"
        self._region = region
        self._check(shape)
        if self._is_map or self._neuron is not None:
            mode = "index"
        else:
            mode = "max_activation" if self._largest else "all"
        self.analyzer = rap_keras.create_analyzer(
            method.name,
            loaded.network,
            neuron_selection_mode=mode,
            batch_size=batch_size,
            **method.options,
        )

    def _check(self, shape: Sequence[int | None]) -> None:
        """Refuses what does not fit the form of the output."""
        if not self._is_map and self._region is not None:
            raise InputError(
                f"{self._loaded.name} gives one vector of {shape[-1] if shape else 1}, which has no "
                "positions: leave out region.",
                "region",
            )
        if self._is_map and self._largest and self._region is None:
            raise InputError(
                f"{self._loaded.name} gives an output of shape {tuple(shape)}, classes at positions: "
                "pass region=WHERE, or neuron=CLASS, or both.",
                ("region", "neuron"),
            )
        if self._region is not None and self._region.is_class and self._neuron is None:
            raise InputError(
                "region=class is where one class is the largest: tell which, neuron=CLASS.",
                ("region", "neuron"),
            )

    def explain(self, x: NDArray[np.float32], files: Sequence[Path] = ()) -> list[Explained]:
        """The relevance of each image of a batch.

        Args:
            x: As `loaded.preprocess` gives it.
            files: Where the images are from, for messages about what a map holds.
        """
        if self._is_map:
            classes, regions, masks = self._selected(x, files)
            found = self.analyzer.explain(x, masks)
        else:
            found = self.analyzer.explain(x, self._neuron)
            regions = [None] * len(x)
            classes = regions if found.neurons is None else [int(k) for k in found.neurons]
        rows = zip(found.relevance, classes, found.explained_logits, regions, strict=True)
        return [
            Explained(relevance, k, self._label(k), float(logit), region)
            for relevance, k, logit, region in rows
        ]

    def layers(
        self, x: NDArray[np.float32], files: Sequence[Path] = ()
    ) -> tuple[dict[str, Any], Any]:
        """The relevance at every layer of one image, and the region to be drawn, if any."""
        if not self._is_map:
            return self.analyzer.analyze_layers(x, self._neuron), None
        _, (region,), masks = self._selected(x, files)
        drawn = region if region is not None and region.ndim == 2 else None
        return self.analyzer.analyze_layers(x, masks), drawn

    def _label(self, neuron: int | None) -> str | None:
        labels = self._loaded.labels
        return labels[neuron] if labels and neuron is not None else None

    def _selected(
        self, x: NDArray[np.float32], files: Sequence[Path]
    ) -> tuple[list[int | None], list[Any], NDArray[np.bool_]]:
        """The class and the region of each image of a batch, and both as masks of the output."""
        graph = self._loaded.network.graph
        shape = graph.shapes[graph.output][1:]
        logits = None
        if None in shape or self._largest or (self._region is not None and self._region.is_class):
            logits = self._loaded.logits(x)
            shape = logits.shape[1:]
        told = 1 if logits is None else len(x)  # one selection of all images
        masks = np.zeros((told, *shape), bool)
        classes, regions = [], []
        for k in range(told):
            region = None
            if self._region is not None and self._region.is_class:
                assert logits is not None
                region = _won(logits[k], self._neuron, files[k])
            elif self._region is not None:
                region = self._region.positions(shape[:-1])
            where = ... if region is None else region
            neuron = self._neuron
            if self._largest:
                assert logits is not None
                sums = logits[k][where].sum(0, dtype=np.float64)
                neuron = int(sums.argmax())
            masks[k][where] = True if neuron is None else np.arange(shape[-1]) == neuron
            classes.append(neuron)
            regions.append(region)
        return classes * (len(x) // told), regions * (len(x) // told), masks


def _won(logits: NDArray[np.floating], neuron: int | None, file: Path) -> NDArray[np.bool_]:
    """Where a class is the largest of an output; where it is positive, if it is the only one."""
    won = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(-1) == neuron
    if not won.any():
        raise InputError(
            f"region=class needs a position where the class {neuron} is the largest, but in "
            f"{str(file)!r} there is none: pass another neuron=CLASS, or another region.",
            ("region", "neuron"),
        )
    return won


def _read_neuron(text: str, loaded: LoadedModel, count: int | None) -> int | None:
    """The number of a neuron; None for "max" and "all"."""
    if text in ("max", "all"):
        return None
    try:
        index = int(text)
    except ValueError:
        if loaded.labels:
            return loaded.neuron_called(text)
        raise InputError(
            f"neuron is max, all or an index, not {text!r}; names need classes=NAMES.",
            ("neuron", "classes"),
        ) from None
    if index < 0 or (count is not None and index >= count):
        raise InputError(
            f"{loaded.name} has neurons 0 to {(count or 0) - 1}, but no neuron {index}."
        )
    return index
