"""What the tiny networks of the mechanism tests have in common.

An input is an image of 3 x 3 cells. A cell is one feature:
it is black, or it has one colour, or it shows a pattern. Absent means black. All networks begin
with a convolution whose feature maps show where the features are, so that class activation maps can
explain them too. Their first logit is explained; the second is always 0.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CELLS = 3
RED, GREEN, BLUE = range(3)

Layers = Sequence[tuple[Any, ...]]
"""Keras layers, each with its weights."""


@dataclass(frozen=True)
class Drawn:
    """An input of a network.

    Attributes:
        x: The image, float32 `(size, size, 3)`.
        truth: The relevance of each cell for the first logit, `(CELLS, CELLS)`.
    """

    x: NDArray[np.float32]
    truth: NDArray[np.float64]


class Unit(abc.ABC):
    """A network whose relevance is known. The docstring of each has the function and the derivation.

    Attributes:
        tests: What it tests, in one sentence.
        cell: Height and width of a cell in pixels.

    Example:
        >>> from rap_keras.benchmark.units import UNITS
        >>> drawn = UNITS["and"].draw(seed=0)
        >>> drawn.x.shape, int((drawn.truth > 0).sum())
        ((3, 3, 3), 2)
        >>> UNITS["and"].build().output_shape
        (None, 2)
    """

    tests: str
    cell: int = 1

    @property
    def name(self) -> str:
        """The name of the class in lower case; that of the metric is unit_NAME."""
        return type(self).__name__.lower()

    @property
    def size(self) -> int:
        """Height and width of the image."""
        return CELLS * self.cell

    def build(self) -> Any:
        """The Keras model. Its name is that of the unit."""
        import keras

        inputs = x = keras.Input((self.size, self.size, 3))
        for layer, *weights in self._layers(keras.layers):
            x = layer(x)
            layer.set_weights([np.asarray(array, np.float32) for array in weights])
        return keras.Model(inputs, x, name=self.name)

    def draw(self, seed: int | Sequence[int]) -> Drawn:
        """An input and the relevance of its cells, the same for the same seed."""
        return self._drawn(np.random.default_rng(seed))

    @abc.abstractmethod
    def _layers(self, keras: Any) -> Layers:
        """The layers after the input, with their weights, from `keras.layers`."""

    @abc.abstractmethod
    def _drawn(self, rng: np.random.Generator) -> Drawn:
        """Draws an input with the relevance of its cells."""


def colours(layers: Any, scale: float = 1) -> tuple[Any, ...]:
    """A convolution with a map of the cells for each colour."""
    convolution = layers.Conv2D(3, 1, activation="relu", use_bias=False, name="cells")
    return convolution, scale * np.eye(3).reshape(1, 1, 3, 3)


def sums(layers: Any) -> Layers:
    """The sum of each colour over all cells, `(batch, 3)`: red, green, blue."""
    # The mean over the cells is 1 / CELLS^2 of the sum.
    return [colours(layers, CELLS**2), (layers.GlobalAveragePooling2D(name="sum"),)]


def hidden(layers: Any, kernel: ArrayLike, bias: ArrayLike = 0) -> tuple[Any, ...]:
    """A dense layer with ReLU. The rows of the kernel are the inputs."""
    kernel = np.asarray(kernel)
    bias = np.broadcast_to(bias, kernel.shape[1])
    return layers.Dense(kernel.shape[1], activation="relu", name="hidden"), kernel, bias


def logits(layers: Any, *weights: float) -> tuple[Any, ...]:
    """The last layer: a weighted sum, and 0 as the logit of the other class."""
    kernel = np.stack([weights, np.zeros(len(weights))], 1)
    return layers.Dense(2, use_bias=False, name="logits"), kernel


def placed(rng: np.random.Generator, *cells: tuple[int, float, float]) -> Drawn:
    """An image with coloured cells at random places: colour, brightness and relevance of each."""
    places = rng.choice(CELLS**2, len(cells), replace=False)
    return at(*((int(place), *cell) for place, cell in zip(places, cells, strict=True)))


def at(*cells: tuple[int, int, float, float]) -> Drawn:
    """An image with coloured cells: place, colour, brightness and relevance of each."""
    image, truth = np.zeros((CELLS**2, 3)), np.zeros(CELLS**2)
    for place, colour, brightness, relevance in cells:
        image[place, colour], truth[place] = brightness, relevance
    shape = CELLS, CELLS
    return Drawn(image.reshape(*shape, 3).astype(np.float32), truth.reshape(shape))
