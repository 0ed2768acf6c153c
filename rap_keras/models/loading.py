"""Image models by name: Keras applications, KerasHub presets, bundled models and your own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.inputs.classes import read_output
from rap_keras.models.applications import applications, imagenet_classes
from rap_keras.models.h5_files import raw_operations, with_axes
from rap_keras.models.hub import PREFIX, load_preset
from rap_keras.models.loaded import LoadedModel, RawModel, channels_of
from rap_keras.models.names import BUNDLED, bundled_name
from rap_keras.models.preprocessing import (
    SCALINGS,
    Preprocess,
    application_preprocess,
    chosen_preprocess,
)
from rap_keras.models.request import check_request, no_model, own_weights, read_size
from rap_keras.support.python_files import load_function, names_function
from rap_keras.support.text import first_line


def load_model(
    spec: Any,
    weights: str | Path = "imagenet",
    preprocess: str = "auto",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    output: str | int | None = None,
) -> LoadedModel:
    """Loads a model of RGB or grey images by its specification.

    Args:
        spec: A Keras model, or one of these: the name of an application (`vgg16`, `resnet50`, ...);
            `bundled:vgg` or another model of `rap_keras.bundled`; `hub:PRESET`, an image classifier of
            KerasHub (its name or the folder of a saved preset); a file `FILE.keras` or `FILE.h5`;
            `FILE.py:function`, a function without arguments that returns the model.
        weights: `imagenet` (the published weights), `none` (random weights) or a weights file. The first
            two are for applications and presets; other models come with their weights. A file is for
            all but models in memory, which are never changed.
        preprocess: How pixels in 0..255 become the model's input: `auto` (as the application, the
            preset or the bundled model expects), `none`, `unit` (x / 255), `tf` (x / 127.5 - 1),
            `caffe` (BGR minus ImageNet's mean), `torch` (x / 255, minus mean, divided by standard
            deviation), or the name of an application. Your own model needs one of these, or
            `mean` or `std`. For a model of grey images, pixels become their luma (ITU-R BT.601).
        mean: The value to subtract after `preprocess`, one number or one per channel. With `auto`, it is
            subtracted from the pixels in 0..255.
        std: The value to divide by after that, one number or one per channel.
        size: The height and width of the images, if the model accepts any size.
        output: The output to explain, if the model has several: the name of its layer, its key if the
            model returns a dict, or its number.

    Raises:
        InputError: There is no such model, weights or preprocessing, or they do not fit together.

    Example:
        >>> loaded = rap_keras.models.load_model("bundled:vgg")
        >>> loaded.input_size, loaded.labels[:3]
        ((64, 64), ('0', '1', '2'))
    """
    spec = str(spec) if isinstance(spec, Path) else spec
    weights = str(weights) if isinstance(weights, Path) else weights
    # Check the arguments before a download.
    check_request(spec, weights, preprocess, mean, std, size)
    chosen = chosen_preprocess(preprocess, mean, std)
    if not isinstance(spec, str):
        loaded = RawModel(spec, str(getattr(spec, "name", type(spec).__name__)))
    elif spec.lower() in applications():
        loaded = _application(spec.lower(), weights)
    elif (name := bundled_name(spec)) is not None:
        loaded = _bundled(name)
    elif spec.startswith(PREFIX):
        loaded = load_preset(spec, published=weights == "imagenet")
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
            f"std, for {loaded.name}, got none of them: pass the preprocessing of its training data, "
            "such as unit for pixels in 0..1.",
            ("preprocess", "mean", "std"),
        )
    input_size = _input_size(loaded, read_size(size))
    if channels_of(loaded.model) == 1:
        chosen = _of_grey(chosen, loaded.name)
    if output is not None:
        from rap_keras.backends.choice import names_of_outputs

        read_output(output, names_of_outputs(loaded.model))
    return LoadedModel(
        loaded.model,
        loaded.name,
        input_size,
        chosen,
        loaded.labels,
        weights,
        loaded.synsets,
        output,
    )


def _application(name: str, weights: str) -> RawModel:
    application = applications()[name]
    published = weights == "imagenet"
    try:
        # Relevance starts at the logits, so the model does not need a softmax.
        model = application.build(
            weights="imagenet" if published else None, classifier_activation=None
        )
    except Exception as error:
        if not published:
            raise
        raise InputError(
            f"The ImageNet weights of {name} cannot be downloaded ({first_line(error)}): "
            "check the connection, pass weights=FILE, or use bundled:vgg, which needs no download.",
            "weights",
        ) from error
    synsets, labels = imagenet_classes() if published else (None, None)
    return RawModel(
        model,
        name,
        application_preprocess(name),
        labels,
        (application.default_size, application.default_size),
        synsets,
    )


def _bundled(spec: str) -> RawModel:
    from rap_keras.datasets import preprocess
    from rap_keras.models import bundled

    name = cast(bundled.Name, spec)
    return RawModel(bundled.load(name), f"{BUNDLED}{name}", preprocess, bundled.labels(name))


def _own(spec: str) -> RawModel:
    if names_function(spec):
        path, _, function = spec.rpartition(":")
        return RawModel(_call(Path(path), function), spec)
    if spec.endswith((".keras", ".h5")):
        return RawModel(_read(Path(spec)), spec)
    raise no_model(spec)


# Parts of Keras's messages about classes that it cannot find.
_MISSING_CODE = ("Could not locate", "Unknown layer", "cannot be imported")


def _read(path: Path) -> Any:
    import keras

    from rap_keras.network import bundled_layers  # noqa: F401 (makes Keras know them)

    try:
        if path.suffix == ".keras":
            return keras.saving.load_model(path, compile=False)
        custom = raw_operations(path)
        with with_axes(path) as file:
            return keras.saving.load_model(file, custom_objects=custom, compile=False)
    except Exception as error:
        hint = ""
        if any(words in str(error) for words in _MISSING_CODE):
            hint = ": Keras needs the code of your classes, so name FILE.py:function that loads it"
        if "unsafe deserialization" in str(error) or "safe_mode=False" in str(error):
            raise InputError(
                f"The model file {str(path)!r} has a Lambda layer with Python code, which Keras loads "
                "only if you trust it: name FILE.py:function that returns "
                "keras.saving.load_model(file, safe_mode=False)."
            ) from error
        raise InputError(
            f"The model file {str(path)!r} cannot be loaded ({first_line(error)}){hint}."
        ) from error


def _load_weights(model: Any, weights: str) -> None:
    try:
        model.load_weights(Path(weights))
    except Exception as error:
        raise InputError(
            f"The weights file {weights!r} does not fit {model.name} ({first_line(error)}): pass the "
            "weights of this model."
        ) from error


def _call(path: Path, function: str) -> Any:
    """Returns the model that a function in a Python file creates."""
    try:
        return load_function(path, function)()
    except Exception as error:
        raise InputError(
            f"Expected {function or 'a function'} in {str(path)!r} to return a model, got an error "
            f"({first_line(error)})."
        ) from error


def _input_size(loaded: RawModel, given: tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns the size of the model's images. Raises an error if the model does not take images."""
    from rap_keras.backends.choice import ends_of

    name = loaded.name
    try:
        inputs, _ = ends_of(loaded.model)
    except InputError as error:
        raise InputError(f"The model {name} cannot be explained: {error}") from error
    shape = tuple(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[-1] not in (1, 3):
        raise InputError(
            f"Expected a model of images (height, width, 3) or (height, width, 1), got {name}, whose "
            f"input is {shape[1:]}: explain other inputs in Python, by rap_keras.create_analyzer."
        )
    height, width = shape[1:3]
    if height is not None and width is not None:
        if given not in (None, (height, width)):
            raise InputError(
                f"Expected no size, because {name} accepts only images of {height} x {width}: leave out "
                "size.",
                "size",
            )
        return height, width
    return given or loaded.default_size


def _of_grey(scale: Preprocess, name: str) -> Preprocess:
    """Returns a preprocessing that turns RGB pixels into luma and then scales them."""

    def preprocess(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        luma = images @ np.array([299, 587, 114], np.uint32)  # ITU-R BT.601, in thousandths
        return scale(((luma + 500) // 1000).astype(np.uint8)[..., np.newaxis])

    try:
        fits = preprocess(np.zeros((1, 1, 1, 3), np.uint8)).shape == (1, 1, 1, 1)
    except Exception:  # a preprocessing for three channels can raise any error about one
        fits = False
    if not fits:
        raise InputError(
            f"Expected a preprocessing of one channel, because {name} takes grey images: pass "
            "preprocess none, unit or tf, or one number for mean and std.",
            ("preprocess", "mean", "std"),
        )
    return preprocess
