"""The patterns of a model: arrays by layer, and their file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from rap_keras.errors import InputError
from rap_keras.network import kernels, linear
from rap_keras.network.graph import Graph, Node
from rap_keras.patterns.cases import PATTERN_TYPES
from rap_keras.rules.pattern import stage_names
from rap_keras.support.files import write_arrays
from rap_keras.support.options import choose
from rap_keras.support.reading import read_headed


class Patterns(Mapping[str, np.ndarray]):
    """The pattern of each layer, by layer name: an array of the shape of the layer's kernel.

    A separable convolution has two: "layer[0]" (depthwise) and "layer[1]" (pointwise).

    Args:
        arrays: The patterns by layer name, as `analyzer.rules()` names the layers.
        pattern_type: How they were estimated, one of `PATTERN_TYPES`; for information.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(4).images)
        >>> patterns = rap_keras.patterns.fit(model, x, progress=False)
        >>> patterns["logits"].shape == model.get_layer("logits").kernel.shape
        True
    """

    def __init__(self, arrays: Mapping[str, Any], pattern_type: str = "relu") -> None:
        choose("pattern_type", pattern_type, PATTERN_TYPES)
        self._arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.pattern_type = pattern_type

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Patterns({len(self)} layers, {self.pattern_type!r})"

    def check(self, graph: Graph) -> None:
        """Raises an error for patterns that do not belong to a model's kernel layers.

        Raises:
            InputError: Names or shapes differ, or a value is not finite.
        """
        check_shapes("patterns", {k: a.shape for k, a in self.items()}, kernel_shapes(graph))
        broken = [name for name, array in self.items() if not np.isfinite(array).all()]
        if broken:
            raise InputError(
                f"Expected finite patterns, got NaN or infinity for layer {broken[0]!r}: fit them again."
            )

    def save(self, path: str | Path) -> None:
        """Saves the patterns to a `.npz` file, without pickle.

        Args:
            path: The file. Its folder is created if it is missing.

        Raises:
            InputError: It cannot be written.
        """
        arrays = {f"pattern/{name}": array for name, array in self.items()}
        write_arrays(Path(path), {"kind": "patterns", "pattern_type": self.pattern_type}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Loads patterns that `save` wrote.

        Args:
            path: The file.

        Returns:
            The patterns.

        Raises:
            InputError: The file was not written by `save`.
        """
        header, arrays = read_headed(Path(path), "patterns", {"pattern_type": str})
        return cls({key.partition("/")[2]: a for key, a in arrays.items()}, header["pattern_type"])


def as_patterns(patterns: Any) -> Patterns:
    """Patterns as an analyzer accepts them: a `Patterns` object, or the path of its file.

    Args:
        patterns: The object or the path.

    Returns:
        The patterns.

    Raises:
        InputError: It is neither.

    Example:
        >>> patterns = rap_keras.patterns.Patterns({"dense": np.ones((3, 2))})
        >>> rap_keras.patterns.as_patterns(patterns) is patterns
        True
    """
    if isinstance(patterns, str | Path):
        return Patterns.load(patterns)
    if not isinstance(patterns, Patterns):
        raise InputError(
            "Expected patterns to be rap_keras.patterns.Patterns or the path of their file, got "
            f"{'none' if patterns is None else type(patterns).__name__}: fit them with "
            "rap_keras.patterns.fit(model, data)."
        )
    return patterns


def check_shapes(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises an error for patterns or statistics of another model."""
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            got, wanted = (
                f"one of shape {shapes[name]}" if name in shapes else "none"
                for shapes in (found, expected)
            )
            raise InputError(
                f"Expected {what} of this model, but layer {name!r} has {got} instead of {wanted}: "
                "fit them again with this model."
            )


def kernel_nodes(graph: Graph) -> list[Node]:
    """The nodes of the kernel layers."""
    return [node for node in graph.nodes if linear.is_linear(node.layer)]


def kernel_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The name and shape of the pattern of each kernel layer of a graph; there must be some."""
    shapes = {}
    for node in kernel_nodes(graph):
        if not kernels.type_of(node.layer).neurons:
            raise InputError(
                f"Expected Dense and convolutional layers to have patterns, but {node.name!r} is an "
                f"{type(node.layer).__name__}: write it as a Dense layer."
            )
        arrays = linear.kernels(node.layer)
        for name, kernel in zip(stage_names(node.name, len(arrays)), arrays, strict=True):
            shapes[name] = tuple(kernel.shape)
    if not shapes:
        raise InputError(
            "Expected a model with Dense or convolutional layers, which have patterns, got none: use "
            'another method, such as "gradient".'
        )
    return shapes


def dtype_of(graph: Graph) -> str:
    """The dtype of patterns: single precision, except for double-precision models."""
    layers = (node.layer for node in kernel_nodes(graph))
    return "float64" if any(la.compute_dtype == "float64" for la in layers) else "float32"
