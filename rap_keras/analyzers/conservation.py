"""Reports how well relevance keeps its sum, layer by layer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """Sums of one layer, or of the whole model, each of shape (batch,).

    Attributes:
        name: The layer's name.
        outputs: The sum of the relevance at its outputs.
        inputs: The sum of the relevance at its inputs.
        size: The sum of the absolute relevance at its inputs.
    """

    name: str
    outputs: np.ndarray
    inputs: np.ndarray
    size: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """The relative error |inputs - outputs| / scale, shape (batch,); 0 where both are 0.

        The scale is the larger of the absolute relevance at the inputs and the sum at the outputs. So
        if a layer loses all relevance, the error is 1. It is NaN if relevance is not finite.
        """
        scale = np.maximum(self.size, np.abs(self.outputs))
        lost = np.abs(self.inputs - self.outputs)
        return np.divide(lost, scale, out=np.zeros_like(lost), where=scale != 0)


class ConservationReport:
    """The sums of every layer, from the logits to the inputs. Printing it shows a table.

    Attributes:
        layers: A row for each layer.
        model: The row of the whole model, between the logits and the inputs.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> report = rap_keras.create_analyzer("rap", model).conservation(x)
        >>> report.max_error < 1e-3
        True
    """

    def __init__(self, layers: list[Row], model: Row) -> None:
        self.layers = layers
        self.model = model

    @property
    def max_error(self) -> float:
        """The largest relative error of any layer or of the whole model, over all samples."""
        return float(np.max([row.error.max() for row in [*self.layers, self.model]]))  # or NaN

    def __repr__(self) -> str:
        rows = [*self.layers, self.model]
        width = max(len("layer"), *(len(row.name) for row in rows))
        lines = [f"{'layer':{width}}  {'at outputs':>13}  {'at inputs':>13}  {'error':>8}"]
        lines += [
            f"{row.name:{width}}  {row.outputs.mean():13.6g}  {row.inputs.mean():13.6g}  "
            f"{row.error.max():8.1e}"
            for row in rows
        ]
        lines.append("Sums are means over the samples; error is the largest, relative to sum |R|.")
        return "\n".join(lines)
