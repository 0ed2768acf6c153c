"""A loaded image model, with its preprocessing and class names."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.inputs.classes import read_output
from rap_keras.models.preprocessing import Preprocess, undone
from rap_keras.models.randomisation import randomised
from rap_keras.support.text import first_line, shown

if TYPE_CHECKING:  # it loads Keras
    from rap_keras.backends.network import Network


@dataclass(frozen=True)
class RawModel:
    """A model before the user's choices. None stands for what is unknown."""

    model: Any
    name: str
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    default_size: tuple[int, int] | None = None
    synsets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LoadedModel:
    """An image model, usually a classifier, with its preprocessing and class names.

    Attributes:
        model: The Keras model. It has one input, `(height, width, 3)` or `(height, width, 1)`.
        name: The name under which it was loaded.
        input_size: The `(height, width)` of its images; None if it accepts any size.
        preprocess: Turns RGB images, uint8 `(n, height, width, 3)`, into the model's input.
        labels: The names of its classes, if known.
        weights: The source of its weights: "imagenet", "none" (random), a file, or "own" (the model's).
        synsets: The WordNet ids of its classes, if they are ImageNet's.
        output: The name or number of the output to explain, if the model has several.

    Example:
        >>> loaded = rap_keras.models.load_model("bundled:vgg")
        >>> loaded.logits(loaded.preprocess(np.zeros((2, 64, 64, 3), np.uint8))).shape
        (2, 10)
    """

    model: Any
    name: str
    input_size: tuple[int, int] | None
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    weights: str = "own"
    synsets: tuple[str, ...] | None = None
    output: str | int | None = None

    def check_classifier(self) -> None:
        """Raises an error if the explained output of the model is not one vector of classes."""
        from rap_keras.backends.choice import ends_of, names_of_outputs

        _, outputs = ends_of(self.model)
        if self.output is not None:
            outputs = [outputs[read_output(self.output, names_of_outputs(self.model))]]
        if len(outputs) != 1:
            raise InputError(
                f"Expected a classifier with one output, got {self.name}, which has {len(outputs)}."
            )
        if len(outputs[0].shape) != 2:
            raise InputError(
                f"Expected a classifier, whose output is one vector of classes, got {self.name} with an "
                f"output of shape {tuple(outputs[0].shape)}."
            )
        if outputs[0].shape[-1] == 1 and not self.is_binary:
            raise InputError(
                f"Expected a classifier, got {self.name}, whose output is one number without a sigmoid: "
                "if it is the logit of two classes, end the model with a sigmoid."
            )

    @property
    def head(self) -> str | None:
        """The activation that turns the logits into probabilities ("softmax", "sigmoid"), or None."""
        return self.network.head

    @property
    def is_binary(self) -> bool:
        """Whether the output is one number with a sigmoid, for class 1 against class 0."""
        # In the graph of a Keras 2 model the head is a layer.
        shape = self.network.graph.shapes[self.network.graph.output]
        return self.head == "sigmoid" and shape[1:] in ((), (1,))

    def logits(self, x: NDArray[Any]) -> NDArray[Any]:
        """Computes the model's output before any softmax or sigmoid.

        Args:
            x: A batch, as returned by `preprocess`.

        Returns:
            The logits; for a classifier `(n, classes)`.

        Raises:
            InputError: The model's graph cannot be traced, or x does not fit the model.
        """
        arrays, _ = self.network.read(x, check_finite=False)
        return self.network.logits(arrays)

    def pixels(self, x: NDArray[Any]) -> NDArray[np.uint8]:
        """Undoes the preprocessing of a batch, so that its picture has natural colours.

        Args:
            x: A batch, as returned by `preprocess`.

        Returns:
            RGB pixels, uint8 `(n, height, width, 3)`.

        Raises:
            InputError: x was not made by `preprocess`, or that is not an affine map of colours.

        Example:
            >>> loaded = rap_keras.models.load_model("bundled:vgg")
            >>> image = rap_keras.datasets.cluttered_digits(1).images
            >>> bool((loaded.pixels(loaded.preprocess(image)) == image).all())
            True
        """
        values = np.asarray(x)
        found = undone(self.preprocess, values)
        if found is None:
            numbers = values.size and values.dtype.kind in "iuf"
            got = f"values from {values.min():.4g} to {values.max():.4g}" if numbers else shown(x)
            raise InputError(
                f"Expected images that the preprocessing of {self.name} made, got {got}: pass the "
                "pixels instead."
            )
        return found

    def enlarged(self, size: tuple[int, int]) -> "LoadedModel":
        """Returns a copy of the model for images of another size.

        Args:
            size: Height and width.

        Returns:
            A copy with the same weights.

        Raises:
            InputError: The weights depend on the size, or the model cannot be copied.
        """
        import keras

        try:
            clone = keras.models.clone_model(
                self.model, input_tensors=keras.Input((*size, channels_of(self.model)))
            )
            clone.set_weights(self.model.get_weights())
        except Exception as error:  # layers raise any error about a wrong size
            raise InputError(
                f"Expected a model that also accepts images of {size[0]} x {size[1]} pixels, got "
                f"{self.name}, which accepts only {self.input_size} ({first_line(error)})."
            ) from error
        return dataclasses.replace(self, model=clone, input_size=size)

    def with_labels(self, labels: Sequence[str]) -> "LoadedModel":
        """Returns the same model with names for its classes.

        Args:
            labels: A name for each class. For a single sigmoid output, the names of classes 0 and 1, or
                only a NAME for class 1; class 0 is then "not NAME".

        Raises:
            InputError: There are more or fewer names than classes.
        """
        graph = self.network.graph
        shape = graph.shapes[graph.output]
        count = shape[-1] if len(shape) > 1 else 1
        what = f"neurons of {self.name}"
        if self.is_binary:
            count, what = 2, f"classes, 0 and 1, of the sigmoid of {self.name}"
            if len(labels) == 1:
                labels = (f"not {labels[0]}", *labels)
        if len(labels) != count:
            raise InputError(
                f"Expected a name for each of the {count} {what}, got {len(labels)}: pass {count} "
                "names.",
                "classes",
            )
        return dataclasses.replace(self, labels=tuple(labels))

    def of_output(self, output: str | int | None) -> "LoadedModel":
        """Returns the same model for one of its outputs.

        Class names are kept only for the output that has them.

        Args:
            output: The name or number of the output; None returns the model unchanged.

        Raises:
            InputError: There is no such output.
        """
        if output is None:
            return self
        if self.labels is not None:
            network: Any = self.network
            if read_output(output, network.output_names) == network.position:
                return dataclasses.replace(self, output=output)
        return dataclasses.replace(self, output=output, labels=None, synsets=None)

    def randomised(self, stage: str, seed: int) -> "LoadedModel":
        """Returns a copy with random parameters, see `rap_keras.models.randomised`."""
        return dataclasses.replace(self, model=randomised(self.model, stage, seed))

    @functools.cached_property
    def network(self) -> "Network":
        """The model as a graph, which is traced and checked only once.

        `create_analyzer` and `patterns.Statistics` accept it in place of the model.
        """
        from rap_keras.backends.choice import open_network

        network = open_network(self.model, self.output)
        network.labels = self.labels
        return network


def channels_of(model: Any) -> int:
    """Returns the number of channels of a model's images: 3, or 1 for grey images."""
    from rap_keras.backends.choice import ends_of

    return int(ends_of(model)[0][0].shape[-1])
