"""From images to their explanation in one call."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.analyzers import create_analyzer
from rap_keras.analyzers.explanation import Explanation
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes
from rap_keras.models.loading import LoadedModel, load_model
from rap_keras.support.fitting import check_fit, restored
from rap_keras.support.images import as_rgb, collect_images, read_image, warp_image


def explain(
    model: Any,
    images: Any,
    method: str = "rap",
    neuron: Any = None,
    preprocess: str = "auto",
    size: int | tuple[int, int] | None = None,
    fit: str = "warp",
    original_size: bool = False,
    classes: str | Path | Sequence[str] | None = None,
    **options: Any,
) -> Explanation:
    """Explains images: reads them, prepares them as the model wants them, and analyzes them.

    A notebook shows the result as a picture; `.plot()`, `.save("map.png")` and `.relevance` have it.
    `create_analyzer` is faster for many calls, and takes models of other things than images.

    Args:
        model: A Keras model, what `rap_keras.models.load_model` returns, or what it takes: "resnet50",
            "embedded:vgg", "own.keras", ...
        images: An image file, a folder of them, a pattern, an image of Pillow, an array uint8
            `(height, width, 3)`, `(height, width)` or a batch `(n, height, width, 3)`; or a list of
            these. Brought to the size of the model's input by `fit`. Or a batch of floats: what the
            model takes already.
        method: The method; `analyzer_names()` lists them.
        neuron: What is explained: None, the neuron with the largest logit of each image; a number or
            the name of a class (of one output with a sigmoid, class 0 or 1); numbers `(n,)` or
            `(n, k)`; "all" for all neurons together; or a region, as `analyze` takes it.
        preprocess: From pixels to the model's input, as in `load_model`. "auto" knows it of
            applications, presets and embedded models; a model of one's own needs to be told.
        size: Height and width of the images, where the model takes any.
        fit: How images are brought to the size of the input: "warp" them whole, "crop" their middle or
            "pad" them with black bars, both in their own proportions.
        original_size: Bring maps and images back to the size of the images, which are then of one size:
            a map keeps its sum, but for what lies on the bars of "pad"; what "crop" cuts off is 0.
        classes: What the model calls its classes: their names, or a file with one name a line.
        **options: Those of the method, as `create_analyzer` takes them.

    Returns:
        The explanation, with the images and the names of the classes where they are known.

    Raises:
        InputError: Something does not fit or cannot be read.
        UnknownLayerError: A layer has no rule.
    """
    check_fit(fit)
    floats = isinstance(images, np.ndarray) and images.dtype.kind == "f"
    if floats and original_size:
        raise InputError(
            "Expected images for original_size=True, got floats, which are the model's input already.",
            ("original_size", "images"),
        )
    loaded = _loaded(model, "none" if floats and preprocess == "auto" else preprocess, size, floats)
    if classes is not None:
        loaded = loaded.with_labels(
            read_classes(str(classes)) if isinstance(classes, str | Path) else classes
        )
    pixels = originals = None
    if original_size:
        originals = _pixels(images, None, fit, "original_size=True keeps it")
        pixels = np.stack([warp_image(one, loaded.input_size, fit) for one in originals])
    elif not floats:
        pixels = _pixels(images, loaded.input_size, fit, "the model takes any, so pass size=N")
    x = images if pixels is None else loaded.preprocess(pixels)
    mode, selection = _selection(neuron, loaded)
    options = {"neuron_selection_mode": mode} | options
    found = create_analyzer(method, loaded.network, **options).explain(x, selection)
    found = dataclasses.replace(found, images=pixels, labels=loaded.labels, model=loaded.name)
    return found if originals is None else _restored(found, originals, fit)


def _loaded(model: Any, preprocess: str, size: Any, floats: bool) -> LoadedModel:
    if isinstance(model, LoadedModel):
        return model
    if floats and preprocess != "none":
        raise InputError(
            f"Expected pixels as uint8 in 0..255 for preprocess={preprocess!r}, got floats, which are "
            "taken as the model's input: leave preprocess out, or pass pixels.",
            ("preprocess", "images"),
        )
    return load_model(model, preprocess=preprocess, size=size)


def _selection(neuron: Any, loaded: LoadedModel) -> tuple[str, Any]:
    """The mode and what `analyze` is told."""
    if neuron is None:
        return "max_activation", None
    if not isinstance(neuron, str):
        return "index", neuron
    if neuron == "all":
        return "all", None
    return "index", loaded.neuron_called(neuron)


def _pixels(images: Any, size: tuple[int, int] | None, fit: str, remedy: str) -> NDArray[np.uint8]:
    """RGB images of one size, `(n, height, width, 3)`."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    several = isinstance(images, Sequence) and not isinstance(images, str)
    read = [one for image in (images if several else [images]) for one in _read(image, size, fit)]
    if not read:
        raise InputError("Expected at least one image, got none.", "images")
    shapes = {one.shape for one in read}
    if len(shapes) > 1:
        raise InputError(
            f"Expected images of one size, got {sorted(shapes)}: {remedy}.", ("size", "images")
        )
    return np.stack(read)


def _read(image: Any, size: tuple[int, int] | None, fit: str) -> list[NDArray[np.uint8]]:
    if isinstance(image, str | Path):
        return [read_image(path, size, fit) for path in collect_images([image])]
    return [warp_image(as_rgb(image), size, fit)]


def _restored(found: Explanation, originals: NDArray[np.uint8], fit: str) -> Explanation:
    """The explanation at the size of the images."""
    maps, shape = found.relevance, originals.shape[1:3]
    each = [restored(one, shape, fit) for one in maps.reshape(-1, *maps.shape[-3:])]
    relevance = np.stack(each).reshape(*maps.shape[:-3], *shape, maps.shape[-1])
    return dataclasses.replace(found, relevance=relevance, images=originals)
