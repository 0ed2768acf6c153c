"""The nine networks of the mechanism tests, in the style of XAI-Units.

XAI-Units: Lee et al. 2025, arXiv 2506.01059. The networks here are ours.

r, g and b are the brightness of the red, the green and the blue cell. The relevance of a cell is
its Shapley value (Shapley 1953), where an absent cell is black: the mean, over all orders in which
the cells appear, of the change of the logit when this cell appears. Where the docstring says "no
convention", weaker conditions determine it: the relevance sums to the change of the logit from a
black image, equal roles get equal relevance, a cell without effect gets 0, and the relevance of a
sum of networks is the sum of theirs.

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

__all__ = ["CELLS", "UNITS", "Drawn", "Unit"]

CELLS = 3
RED, GREEN, BLUE = range(3)

Layers = Sequence[tuple[Any, ...]]
"""Keras layers, each with its weights."""


@dataclass(frozen=True)
class Drawn:
    """An input of a network."""

    x: NDArray[np.float32]  # the image, `(size, size, 3)`
    truth: NDArray[np.float64]  # the relevance of each cell for the first logit, `(CELLS, CELLS)`


class Unit(abc.ABC):
    """A network whose relevance is known. The docstring of each has the function and the derivation.

    Example:
        >>> from rap_keras.benchmark.units import UNITS
        >>> drawn = UNITS["and"].draw(seed=0)
        >>> drawn.x.shape, int((drawn.truth > 0).sum())
        ((3, 3, 3), 2)
        >>> UNITS["and"].build().output_shape
        (None, 2)
    """

    tests: str  # what it tests, in one sentence
    cell: int = 1  # height and width of a cell in pixels

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


class Cancellation(Unit):
    """f = r - g + b, with r = g.

    No convention: f is a sum of functions of one cell each, so the relevance of a cell is its term:
    r, -g and b. The first two cancel in f, and the map must show both.
    """

    tests = "Two cells cancel each other in the logit: both have relevance."

    def _layers(self, keras: Any) -> Layers:
        return [*sums(keras), logits(keras, 1, -1, 1)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        r, b = rng.uniform(0.5, 1), rng.uniform(0.2, 0.5)
        return placed(rng, (RED, r, r), (GREEN, r, -r), (BLUE, b, b))


class Saturation(Unit):
    """f = min(1, r) + min(1, g), with r > 1 and g < 1.

    No convention: f is a sum of functions of one cell each, so the relevance is 1 and g. The slope
    for the red cell is 0.
    """

    tests = "A cell whose effect is saturated, so that its slope is 0, still has relevance."

    def _layers(self, keras: Any) -> Layers:
        return [
            *sums(keras),
            (keras.ReLU(max_value=1.0, name="saturated"),),
            logits(keras, 1, 1, 0),
        ]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        r, g, b = rng.uniform(1.5, 3), rng.uniform(0.4, 0.9), rng.uniform(0.5, 1)
        return placed(rng, (RED, r, 1), (GREEN, g, g), (BLUE, b, 0))


class And(Unit):
    """f = min(r, g) = (r + g - |r - g|) / 2.

    A convention: f is 0 without one of the cells, so both are needed, and the Shapley value gives
    each f / 2. Methods that follow slopes give f to the darker cell: a cosine of 0.71.
    """

    tests = (
        "Two cells are needed together, as the smaller of two values: both have the same relevance."
    )

    def _layers(self, keras: Any) -> Layers:
        terms = [[1, 0, 1, -1], [0, 1, -1, 1], [0, 0, 0, 0]]
        return [*sums(keras), hidden(keras, terms), logits(keras, 0.5, 0.5, -0.5, -0.5)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        r, g, b = rng.uniform(0.4, 0.6), rng.uniform(0.8, 1), rng.uniform(0.5, 1)
        return placed(rng, (RED, r, r / 2), (GREEN, g, r / 2), (BLUE, b, 0))


class Or(Unit):
    """f = min(1, r + g), with r >= 1 and g >= 1.

    A convention: each of the two cells suffices alone, f = 1 with one or with both, so the cells
    have the same role and get 1/2 each. Methods that follow the path from black to the image divide
    1 in the ratio of r to g.
    """

    tests = "Either of two cells suffices, and both are there: both have the same relevance."

    def _layers(self, keras: Any) -> Layers:
        either = (keras.Dense(1, name="either"), [[1], [1], [0]], [0])
        return [*sums(keras), either, (keras.ReLU(max_value=1.0, name="or"),), logits(keras, 1)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        r, g, b = rng.uniform(1, 1.2), rng.uniform(1.9, 2.5), rng.uniform(0.5, 1)
        return placed(rng, (RED, r, 0.5), (GREEN, g, 0.5), (BLUE, b, 0))


class Max(Unit):
    """f = max(p, q) over two red cells, p > q.

    A convention: the brighter cell adds p, or p - q if the other is there; the other adds q, or 0.
    So the Shapley values are p - q / 2 and q / 2. Methods that give everything to the winner reach
    a cosine of 0.78 to 0.97, depending on the image.
    """

    tests = "The brighter of two cells wins a max pooling, and the other would replace it."

    def _layers(self, keras: Any) -> Layers:
        return [colours(keras), (keras.GlobalMaxPooling2D(name="max"),), logits(keras, 1, 0, 0)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        p, q, b = rng.uniform(0.9, 1), rng.uniform(0.4, 0.8), rng.uniform(0.5, 1)
        return placed(rng, (RED, p, p - q / 2), (RED, q, q / 2), (BLUE, b, 0))


class Gate(Unit):
    """f = max(0, r + g + 2 b - 2), with b = 1 and r + g < 2.

    A convention: without the blue cell f is 0, with it f = r + g. So f is the sum of two games in
    which blue and another cell are needed together. The Shapley values are r / 2, g / 2 and
    (r + g) / 2. Input times gradient gives r, g and 2.
    """

    tests = "A cell switches two others on: it has as much relevance as what it lets through."

    def _layers(self, keras: Any) -> Layers:
        return [*sums(keras), hidden(keras, [[1], [1], [2]], -2), logits(keras, 1)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        r, g = rng.uniform(0.1, 0.2), rng.uniform(0.35, 0.5)
        return placed(rng, (RED, r, r / 2), (GREEN, g, g / 2), (BLUE, 1, (r + g) / 2))


class Translation(Unit):
    """f = the largest value of max(0, k * x - 1/2); k * x is the brightness where an X begins.

    No convention: other cells show stripes. Wherever they are, k * x stays below 1/2 (at most 0.47)
    except at the X. So f is 0 without the cell of the X, and has the same value with it, whatever
    the other cells show: all the relevance is there.
    """

    tests = "A convolution looks for a pattern, which moves: the map must move with it."
    cell = 4

    PATTERN = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]])
    ROWS = np.array([[1], [0], [1], [0]]) | np.zeros((1, 4), int)

    def _layers(self, keras: Any) -> Layers:
        # An eighth of each pixel of the pattern, in three colours, minus some of those around it.
        kernel = np.where(self.PATTERN, 1, -0.75)[..., None, None] / 24
        finder = keras.Conv2D(1, self.cell, activation="relu", name="pattern")
        return [
            (finder, np.broadcast_to(kernel, (self.cell, self.cell, 3, 1)), [-0.5]),
            (keras.GlobalMaxPooling2D(name="anywhere"),),
            logits(keras, 1),
        ]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        place, *others = rng.choice(CELLS**2, 4, replace=False)
        brightness = rng.uniform(0.8, 1)
        shown, truth = np.zeros((CELLS**2, self.cell, self.cell)), np.zeros(CELLS**2)
        shown[place], truth[place] = self.PATTERN, brightness - 0.5
        shown[others] = self.ROWS, self.ROWS.T, self.ROWS
        image = brightness * np.block([[*row] for row in shown.reshape(CELLS, CELLS, 4, 4)])
        x = image[..., None].repeat(3, -1).astype(np.float32)
        return Drawn(x, truth.reshape(CELLS, CELLS))


class Negated(Unit):
    """f = r + max(0, 1 - g), with g < 1.

    No convention: f is a sum of functions of one cell each. The red cell changes it by r, and the
    green cell by -g, because it takes from what its absence says for the class. f of a black image
    is 1.
    """

    tests = "A cell speaks against the class, by lowering a hidden neuron that speaks for it."

    def _layers(self, keras: Any) -> Layers:
        terms = [[1, 0], [0, -1], [0, 0]]
        return [*sums(keras), hidden(keras, terms, [0, 1]), logits(keras, 1, 1)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        r, g, b = rng.uniform(0.3, 0.5), rng.uniform(0.8, 0.95), rng.uniform(0.5, 1)
        return placed(rng, (RED, r, r), (GREEN, g, -g), (BLUE, b, 0))


class Shortcut(Unit):
    """f = b, the brightness of a mark in a corner. The red object has four cells and a weight of 0.

    No convention: only the mark has an effect, so all the relevance is there. The hidden layer
    detects the object, but the logit does not depend on it.
    """

    tests = "The network uses a mark in a corner and not the object: so must the map."

    def _layers(self, keras: Any) -> Layers:
        return [*sums(keras), hidden(keras, [[1, 0], [0, 0], [0, 1]]), logits(keras, 0, 1)]

    def _drawn(self, rng: np.random.Generator) -> Drawn:
        # The four cells of the object leave the three cells at the other two sides free.
        row, column = rng.integers(0, 2, 2)
        cells = [(row + i) * CELLS + column + j for i in (0, 1) for j in (0, 1)]
        corner = (CELLS - 1) * ((1 - row) * CELLS + (1 - column))
        mark, brightness = rng.uniform(0.3, 0.6), rng.uniform(0.7, 1)
        return at(
            *((int(cell), RED, brightness, 0) for cell in cells), (int(corner), BLUE, mark, mark)
        )


_UNITS = (Cancellation, Saturation, And, Or, Max, Gate, Translation, Negated, Shortcut)
UNITS: dict[str, Unit] = {unit.name: unit for unit in (one() for one in _UNITS)}
"""The networks by name, in the order of the report."""
