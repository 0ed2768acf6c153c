"""The relevance of the channels, neurons or heads of a layer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rap_keras.analyzers.explanation import Explanation
from rap_keras.support.options import read_integer

MOST_SHOWN = 5


@dataclass(frozen=True)
class Concept:
    """A channel, neuron or head of a layer and its part in a decision.

    Attributes:
        unit: Its number.
        relevance: Its relevance, summed over all positions.
        share: Its relevance divided by the explained logit; NaN if the logit is 0.
        position: Where its relevance is the largest, such as (row, column); () without positions.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> found = rap_keras.create_analyzer("rap", model).concepts(x, "block3_conv2")
        >>> [len(one.position) for one in found.strongest(2)[0]]
        [2, 2]
    """

    unit: int
    relevance: float
    share: float
    position: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Concepts:
    """The relevance of all channels of a layer's output, or of its neurons or attention heads.

    Printing it shows the strongest of each sample. `concepts[k]` is that of one sample, and a loop
    visits the samples one by one. Each part keeps its batch axis.

    Attributes:
        layer: The name of the layer.
        kind: "channel", "neuron" (the output has no positions) or "head".
        relevance: The relevance of each unit, summed over all positions, `(batch, units)`.
        largest: Its largest relevance at one position, `(batch, units)`.
        positions: Where that is, int32 `(batch, units, axes)`.
        explanation: The logits and classes that are explained; its relevance is that of the units.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(2).images)
        >>> found = rap_keras.create_analyzer("rap", model).concepts(x, "block3_conv2")
        >>> found.kind, found.relevance.shape, len(found.strongest(3)[0])
        ('channel', (2, 48), 3)
    """

    layer: str
    kind: str
    relevance: np.ndarray
    largest: np.ndarray
    positions: np.ndarray
    explanation: Explanation

    def __len__(self) -> int:
        return len(self.relevance)

    def __iter__(self) -> "Iterator[Concepts]":
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int | slice) -> "Concepts":
        explanation = self.explanation[k]  # raises an error for a sample that does not exist
        part = k if isinstance(k, slice) else slice(k % len(self), k % len(self) + 1)
        arrays = (self.relevance[part], self.largest[part], self.positions[part])
        return Concepts(self.layer, self.kind, *arrays, explanation)

    @property
    def shares(self) -> np.ndarray:
        """The relevance of each unit divided by the explained logit, float64 `(batch, units)`.

        For methods that conserve relevance, and a layer that all relevance passes, a sample's shares
        sum to 1, or to 0 if there is a contrast. NaN if the logit is 0.
        """
        logits = self.explanation.explained_logits.reshape(-1, 1)
        empty = np.full(self.relevance.shape, np.nan)
        return np.divide(self.relevance, logits, out=empty, where=logits != 0, dtype=np.float64)

    @property
    def order(self) -> np.ndarray:
        """The numbers of the units of each sample, the most relevant first, int64 `(batch, units)`.

        `order[:, :k]` can be passed to `analyze(concepts=...)`.
        """
        return np.argsort(-self.relevance, 1, kind="stable")

    def strongest(self, count: int | None = None) -> list[list[Concept]]:
        """The units of each sample with the largest relevance, the largest first.

        Args:
            count: At most this many per sample. None: all.

        Returns:
            A list of `Concept` for each sample.

        Raises:
            InputError: count is not a positive integer.
        """
        if count is not None:
            count = read_integer("count", count, 1)
        shares = self.shares
        return [
            [
                Concept(
                    int(unit),
                    float(self.relevance[k, unit]),
                    float(shares[k, unit]),
                    tuple(self.positions[k, unit].tolist()),
                )
                for unit in units[:count]
            ]
            for k, units in enumerate(self.order)
        ]

    def __repr__(self) -> str:
        lines = [f"<{self.kind}s of {self.layer}, {self.explanation.method}>"]
        for k, (words, units) in enumerate(
            zip(self.explanation.decisions, self.strongest(MOST_SHOWN), strict=True)
        ):
            if k == MOST_SHOWN:
                lines.append(f"and {len(self) - k} more samples")
                break
            each = ", ".join(f"{one.unit} ({one.share:.1%})" for one in units)
            lines.append(f"{words}: {each}")
        return "\n".join(lines)
