"""A loaded model of images: what it takes, what its classes are called, and how it runs."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.inputs.outputs import read_output
from rap_keras.models.preprocessing import Preprocess
from rap_keras.models.randomisation import randomised
from rap_keras.support.text import first_line

if TYPE_CHECKING:  # it loads TensorFlow
    from rap_keras.backends.network import Network


@dataclass(frozen=True)
class RawModel:
    """A model as it comes, before the choices of the user; None is what it does not say."""

    model: Any
    name: str
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    default_size: tuple[int, int] | None = None
    synsets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model of images, most often a classifier, and what it takes to show it one.

    Attributes:
        model: The Keras model: one input `(height, width, 3)`.
        name: What it was asked for by.
        input_size: The `(height, width)` of its images; `None` if it takes any.
        preprocess: Turns RGB images, uint8 `(n, height, width, 3)`, into the model's input.
        labels: The names of its classes, if they are known.
        weights: Where its weights are from: "imagenet", "none" (random), a file, or "own".
        synsets: WordNet's ids of its classes, if they are ImageNet's.
        output: Which output of a model with several is meant, by name or number.
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
        """Refuses a model that has something else than one output vector of classes."""
        from rap_keras.backends.choice import ends_of

        _, outputs = ends_of(self.model)
        if len(outputs) != 1:
            raise InputError(
                f"{self.name} is no classifier with one output, but has {len(outputs)}."
            )
        if len(outputs[0].shape) != 2:
            raise InputError(
                f"{self.name} is no classifier: its output is not one vector of classes, but has the "
                f"shape {tuple(outputs[0].shape)}."
            )
        if outputs[0].shape[-1] == 1 and not self.is_binary:
            raise InputError(
                f"{self.name} is not a classifier: its output is one number without a sigmoid. If that "
                "is the logit of two classes, end the model with a sigmoid."
            )

    @property
    def head(self) -> str | None:
        """The activation that makes probabilities of the logits, "softmax" or "sigmoid", or None."""
        return self.network.head

    @property
    def is_binary(self) -> bool:
        """Whether its output is one number with a sigmoid, for class 1 against class 0."""
        # The graph of a Keras 2 model has its head as a layer.
        shape = self.network.graph.shapes[self.network.graph.output]
        return self.head == "sigmoid" and shape[1:] in ((), (1,))

    def logits(self, x: NDArray[Any]) -> NDArray[Any]:
        """What the model computes of preprocessed images, before any softmax.

        Args:
            x: A batch, as `preprocess` gives it.

        Returns:
            The logits, `(n, classes)` of a classifier.

        Raises:
            InputError: If the model's graph cannot be followed, or x does not fit it.
        """
        arrays, _ = self.network.read(x, check_finite=False)
        return self.network.logits(arrays)

    def enlarged(self, size: tuple[int, int]) -> "LoadedModel":
        """The same model for images of another size than its own.

        Args:
            size: Height and width.

        Returns:
            A copy with the same weights.

        Raises:
            InputError: Its weights depend on the size, or it cannot be copied.
        """
        import keras

        try:
            clone = keras.models.clone_model(
                self.model, input_tensors=keras.Input((*size, channels_of(self.model)))
            )
            clone.set_weights(self.model.get_weights())
        except Exception as error:  # whatever a layer says of a size that it was not made for
            raise InputError(
                f"Expected a model that takes images of {size[0]} x {size[1]} pixels as well, but "
                f"{self.name} is made for {self.input_size} alone ({first_line(error)})."
            ) from error
        return dataclasses.replace(self, model=clone, input_size=size)

    def with_labels(self, labels: Sequence[str]) -> "LoadedModel":
        """The same model with names for its classes.

        Args:
            labels: A name for each neuron; for one output with a sigmoid, the names of classes 0 and 1,
                or one NAME for class 1, which makes class 0 "not NAME".

        Raises:
            InputError: There are more or fewer names than neurons.
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
                f"Expected a name for each of the {count} {what}, got {len(labels)}.",
                "classes",
            )
        return dataclasses.replace(self, labels=tuple(labels))

    def of_output(self, output: str | int | None) -> "LoadedModel":
        """The same model for one of its outputs; names are kept where it is the one that had them.

        Args:
            output: Its name or number; None: as it is.

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
        """A copy with random parameters in its last layers, see `rap_keras.models.randomised`."""
        return dataclasses.replace(self, model=randomised(self.model, stage, seed))

    @functools.cached_property
    def network(self) -> "Network":
        """The model at work, traced and checked once for all that compute with it.

        `create_analyzer` and `patterns.Statistics` take it in place of the model.
        """
        from rap_keras.backends.choice import open_network

        network = open_network(self.model, self.output)
        network.labels = self.labels
        return network


def channels_of(model: Any) -> int:
    """Of a model that takes images: 3, or 1 for grey ones."""
    from rap_keras.backends.choice import ends_of

    return int(ends_of(model)[0][0].shape[-1])
