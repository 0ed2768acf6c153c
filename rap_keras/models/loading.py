"""Models of images by name: applications of Keras, presets of KerasHub, embedded ones, one's own."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.inputs.outputs import read_output
from rap_keras.models.applications import applications, imagenet_classes
from rap_keras.models.hub import PREFIX, load_preset
from rap_keras.models.legacy import raw_operations, with_axes
from rap_keras.models.names import EMBEDDED
from rap_keras.models.preprocessing import (
    SCALINGS,
    Preprocess,
    application_preprocess,
    chosen_preprocess,
)
from rap_keras.models.randomisation import randomised
from rap_keras.models.request import check_saved, check_size, existing, no_model, own_weights
from rap_keras.support.memory import check_memory
from rap_keras.support.python_files import load_function
from rap_keras.support.text import did_you_mean, first_line

if TYPE_CHECKING:  # it loads TensorFlow
    from rap_keras.backends.network import Network


MOST_NAMES = 8
"""Classes that an error lists."""


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
        """Refuses a model that has something else than one output vector of classes.

        Raises:
            InputError: It is no such classifier.
        """
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
                self.model, input_tensors=keras.Input((*size, _channels(self.model)))
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

    def neuron_called(self, label: str) -> int:
        """The neuron of a class.

        Raises:
            InputError: No class is called so, or several are.
        """
        labels = self.labels or ()
        found = [k for k, known in enumerate(labels) if known == label]
        if len(found) == 1:
            return found[0]
        hint = did_you_mean(label, labels, 1)
        known = (
            f"one of its {len(labels)} classes"
            if labels
            else "a number, because its classes have no names"
        )
        if not hint and 0 < len(labels) <= MOST_NAMES:
            known += f" ({', '.join(labels)})"
        raise InputError(
            f"Expected neuron to be {known}, got {label!r}"
            + (f", which {len(found)} of them are called" if found else "")
            + (f"; {hint}" if hint and not found else "."),
            "neuron",
        )

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


def load_model(
    spec: Any,
    weights: str = "imagenet",
    preprocess: str = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    output: str | int | None = None,
) -> LoadedModel:
    """Loads a model of RGB or grey images by its specification.

    Args:
        spec: The name of an application (`vgg16`, `resnet50`, ...), `embedded:vgg` or another of
            `rap_keras.embedded`, `hub:PRESET` (an image classifier of KerasHub, downloaded, or the
            folder of a saved one), a file `FILE.keras` or `FILE.h5`, or `FILE.py:function`, a function
            without arguments that returns the model; or a Keras model itself.
        weights: `imagenet` (the published ones), `none` (random ones) or a file of weights. The
            first two choose between the weights of an application or a preset; other models have their
            own.
        preprocess: How pixels in 0..255 become the model's input: `auto` (as the application, the
            preset or the embedded model wants it), `none`, `unit` (x / 255), `tf` (x / 127.5 - 1),
            `caffe` (BGR minus ImageNet's mean), `torch` (x / 255, minus mean, over standard
            deviation), or the name of an application. A model of one's own needs one of these, or
            `mean` or `std`. A model of grey images takes the luma of the pixels (ITU-R BT.601).
        mean: What to subtract from each channel, or from all, after `preprocess`; with `auto`, from
            the pixels in 0..255.
        std: What to divide each channel by, or all, after that.
        size: The height and width of the images, where the model takes any.
        output: Which output of a model with several is meant: the name of its layer, its key where the
            model returns a dict, or its number.

    Returns:
        The model with its input size and its preprocessing.

    Raises:
        InputError: If there is no such model, weights or preprocessing, or they do not fit.
    """
    # What can be checked at once comes before a download.
    chosen = chosen_preprocess(preprocess, mean, std)
    if not isinstance(spec, str):
        loaded = _Model(spec, str(getattr(spec, "name", type(spec).__name__)))
    elif spec.lower() in applications():
        loaded = _application(spec.lower(), weights)
    elif spec.startswith(EMBEDDED):
        loaded = _embedded(spec)
    elif spec.startswith(PREFIX):
        loaded = _preset(spec, weights)
    else:
        loaded = _own(spec)
    if weights not in ("imagenet", "none"):
        _load_weights(loaded.model, weights)
    elif loaded.name not in applications():
        if weights == "imagenet":
            weights = "own"
        elif not loaded.name.startswith(PREFIX):
            raise own_weights(loaded.name)
    chosen = chosen or loaded.preprocess
    if chosen is None:
        raise InputError(
            f"Expected preprocess ({', '.join(SCALINGS)} or the name of an application), or mean and "
            f"std, to tell how {loaded.name} wants its pixels, got none of them.",
            ("preprocess", "mean", "std"),
        )
    size = _input_size(loaded, size)
    if _channels(loaded.model) == 1:
        chosen = _of_grey(chosen, loaded.name)
    if output is not None:
        from rap_keras.backends.choice import names_of_outputs

        read_output(output, names_of_outputs(loaded.model))
    return LoadedModel(
        loaded.model, loaded.name, size, chosen, loaded.labels, weights, loaded.synsets, output
    )


@dataclass(frozen=True)
class _Model:
    """A model as it comes, before the choices of the user."""

    model: Any
    name: str
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] | None = None
    default_size: tuple[int, int] | None = None
    synsets: tuple[str, ...] | None = None


def _application(name: str, weights: str) -> _Model:
    application = applications()[name]
    published = weights == "imagenet"
    if not published and weights != "none":
        existing(weights, "weights file")
    try:
        # Relevance starts at logits, so the model need not go on to probabilities.
        model = application.build(
            weights="imagenet" if published else None, classifier_activation=None
        )
    except Exception as error:
        if not published:
            raise
        raise InputError(
            f"The ImageNet weights of {name} cannot be downloaded ({first_line(error)}): pass "
            'weights=FILE, or weights="none" for random ones.',
            "weights",
        ) from error
    synsets, labels = imagenet_classes() if published else (None, None)
    return _Model(
        model,
        name,
        application_preprocess(name),
        labels,
        (application.default_size, application.default_size),
        synsets,
    )


def _embedded(spec: str) -> _Model:
    from rap_keras.datasets import preprocess
    from rap_keras.models import embedded

    name = cast(embedded.Name, spec.removeprefix(EMBEDDED))
    return _Model(embedded.load(name), spec, preprocess, embedded.labels(name))


def _preset(spec: str, weights: str) -> _Model:
    if weights not in ("imagenet", "none"):
        existing(weights, "weights file")
    preset = load_preset(spec, published=weights == "imagenet")
    return _Model(preset.model, spec, preset.preprocess, preset.labels, preset.size, preset.synsets)


def _own(spec: str) -> _Model:
    path, separator, function = spec.rpartition(":")
    if separator and path.endswith(".py"):
        model = _call(existing(path, "model file"), function)
    elif spec.endswith((".keras", ".h5")):
        model = _read(existing(spec, "model file"))
    else:
        raise no_model(spec)
    return _Model(model, spec)


# What Keras says of a class that it does not find.
_MISSING_CODE = ("Could not locate", "Unknown layer", "cannot be imported")


def _read(path: Path) -> Any:
    import keras

    from rap_keras.network import own_layers  # noqa: F401 (makes Keras know them)

    check_saved(path)
    try:
        if path.suffix == ".keras":
            return keras.saving.load_model(path, compile=False)
        custom = raw_operations(path)
        with with_axes(path) as file:
            return keras.saving.load_model(file, custom_objects=custom, compile=False)
    except Exception as error:
        hint = ""
        if any(words in str(error) for words in _MISSING_CODE):
            hint = ": Keras needs the code of your own classes: name FILE.py:function that loads it"
        if "unsafe deserialization" in str(error) or "safe_mode=False" in str(error):
            raise InputError(
                f"The model file {str(path)!r} has a Lambda layer of Python code, which Keras loads "
                "only if you trust it: name FILE.py:function that returns "
                "keras.saving.load_model(file, safe_mode=False)."
            ) from error
        raise InputError(
            f"The model file {str(path)!r} cannot be loaded ({first_line(error)}){hint}."
        ) from error


def _call(path: Path, function: str) -> Any:
    """The model a function of a Python file returns."""
    try:
        return load_function(path, function)()
    except Exception as error:
        raise InputError(
            f"{function or 'A function'} of {str(path)!r} gave no model ({first_line(error)})."
        ) from error


def _load_weights(model: Any, weights: str) -> None:
    path = existing(weights, "weights file")
    try:
        model.load_weights(path)
    except Exception as error:
        raise InputError(
            f"The weights file {weights!r} does not fit {model.name} ({first_line(error)})."
        ) from error


def _input_size(loaded: _Model, size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The size of the model's images, which also makes sure that it takes images."""
    from rap_keras.backends.choice import ends_of

    name = loaded.name
    try:
        inputs, _ = ends_of(loaded.model)
    except InputError as error:
        raise InputError(
            f"{name} is no Keras model with a defined input and output. {error}"
        ) from error
    shape = tuple(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[-1] not in (1, 3):
        raise InputError(
            f"{name} does not take images (height, width, 3) or (height, width, 1), but {shape[1:]}."
        )
    wanted = (size, size) if isinstance(size, int) else size
    if wanted is not None:
        check_size(wanted)
    height, width = shape[1:3]
    if height is not None and width is not None:
        if wanted not in (None, (height, width)):
            raise InputError(f"{name} takes images of {height} x {width} only: leave out the size.")
        return height, width
    if wanted is None and loaded.default_size is not None:
        return loaded.default_size
    if wanted is not None:
        check_memory(wanted)
    return wanted


def _channels(model: Any) -> int:
    """Of a model that takes images: 3, or 1 for grey ones."""
    from rap_keras.backends.choice import ends_of

    return int(ends_of(model)[0][0].shape[-1])


def _of_grey(scale: Preprocess, name: str) -> Preprocess:
    """RGB pixels as luma, then scaled."""

    def preprocess(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        luma = images @ np.array([299, 587, 114], np.uint32)  # ITU-R BT.601, in thousandths
        return scale(((luma + 500) // 1000).astype(np.uint8)[..., np.newaxis])

    try:
        fits = preprocess(np.zeros((1, 1, 1, 3), np.uint8)).shape == (1, 1, 1, 1)
    except Exception:  # whatever a preprocessing of three channels says of one
        fits = False
    if not fits:
        raise InputError(
            f"{name} takes grey images, whose pixels are scaled alike: pass preprocess none, unit or "
            "tf, or mean and std of one number.",
            ("preprocess", "mean", "std"),
        )
    return preprocess
