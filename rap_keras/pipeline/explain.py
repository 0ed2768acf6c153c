"""Explain images in one call."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.analyzers.explanation import Explanation
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes
from rap_keras.models.loading import LoadedModel, load_model
from rap_keras.models.preprocessing import undone
from rap_keras.pipeline.explainer import Explainer, reloaded
from rap_keras.pipeline.images import Images, as_array, listed, of_one_size, pixels_of
from rap_keras.pipeline.methods import MethodSpec, with_contrast
from rap_keras.pipeline.target import read_region
from rap_keras.support.fitting import check_fit, restored
from rap_keras.support.python_files import names_function
from rap_keras.support.text import shown


def explain(
    model: Any,
    images: Any,
    method: str = "rap",
    target: Any = None,
    *,
    region: Any = None,
    against: Any = None,
    weights: str | Path = "imagenet",
    preprocess: str = "auto",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    output: str | int | None = None,
    fit: str = "warp",
    original_size: bool = False,
    classes: str | Path | Sequence[str] | None = None,
    **options: Any,
) -> Explanation:
    """Explains images: reads, preprocesses and analyzes them.

    A notebook shows the result as a figure. Use `.plot()`, `.save("map.png")` or `.relevance` in
    scripts. `create_analyzer` is faster for many calls, and accepts models of any input.

    Args:
        model: A Keras model, a model returned by `rap_keras.models.load_model`, or a name that it
            accepts: "resnet50", "bundled:vgg", "model.keras", ...
        images: An image file, a folder, a pattern, a Pillow image, a uint8 array `(height, width, 3)`,
            `(height, width)` or a batch `(n, height, width, 3)`; or a list of these. They are resized
            to the model's input. Or a batch of floats that is the model's input: its preprocessing is
            undone for the figure, if it is known.
        method: The method; `analyzer_names()` lists the names.
        target: The class to explain. None is the class with the largest logit of each image. Otherwise
            the number or the name of a class (0 or 1 for a single sigmoid output); numbers of shape
            `(n,)` or `(n, k)`, one or k per image; a text with several classes, "3,7"; "all" for all
            classes together; or a region of the output, as in `analyze`. If the model predicts classes
            at each position, the class is explained at all positions, or in `region`.
        region: Where to explain, if the model predicts classes at each position: a pixel "y,x"
            or (y, x), a box "y0:y1,x0:x1", a mask (an image file or a boolean array of any size, resized
            like the images, see `fit`), or "class": where the target has the largest logit. Without a
            target, the class with the largest sum of logits in the region is explained.
        against: The classes that the target is compared with: the number of a class, a list of numbers,
            or "softmax" or "uniform" for all others. See the option contrast of the methods.
        weights: As in `load_model`.
        preprocess: How pixels become the model's input, as in `load_model`. "auto" works for
            applications, presets and bundled models.
        mean: The value to subtract from the pixels after that, one number or one per channel.
        std: The value to divide by after that.
        size: Height and width of the images, if the model accepts any size.
        output: The name or number of the output to explain, if the model has several.
        fit: How images are resized to the model's input: "warp" (stretch), "crop" (the middle, with its
            proportions) or "pad" (with black bars, with their proportions).
        original_size: Whether to resize maps to the size of the images, which then must all have the
            same size. A map keeps its sum, except for relevance on the bars of "pad". Pixels that "crop"
            removes have relevance 0.
        classes: The names of the model's classes, or a file with one name per line.
        **options: Options of the method, as in `create_analyzer`.

    Returns:
        The explanation, with the images, and the names of the classes if they are known.

    Raises:
        InputError: An argument is wrong or an image cannot be read.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> scenes = rap_keras.datasets.cluttered_digits(2)
        >>> rap_keras.explain("bundled:vgg", scenes.images, target=7).neurons
        array([7, 7], dtype=int32)
    """
    check_fit(fit)
    where = read_region(region, fit)
    if against is not None and options.get("contrast") is not None:
        raise InputError(
            "Expected against or contrast, which mean the same, got both: leave contrast out.",
            ("against", "contrast"),
        )
    spec = MethodSpec(method, method, options)
    with_contrast(spec, against, "against")  # raises an error if the method has no contrast
    images = as_array(images)
    floats = isinstance(images, np.ndarray) and images.dtype.kind == "f"
    if floats and original_size:
        raise InputError(
            "Expected images for original_size=True, got floats, which are used as the model's input: "
            "pass images.",
            ("original_size", "images"),
        )
    given = None if floats else Images(listed(images), fit)
    scaling = {"preprocess": preprocess, "mean": mean, "std": std}
    loaded = _loaded(model, floats, scaling, weights=weights, size=size, output=output)
    if classes is not None:
        loaded = loaded.with_labels(
            read_classes(str(classes)) if isinstance(classes, str | Path) else classes
        )
    explainer = Explainer(loaded, spec)
    if given is None:
        pixels = undone(loaded.preprocess, images) if _is_known(model, preprocess) else None
        found = explainer.explain(images, target, where, against=against)
        return dataclasses.replace(found, images=pixels)
    if original_size:
        originals = of_one_size(
            list(map(pixels_of, given.sources)),
            "leave original_size out, or explain them one by one",
        )
    pixels, x = given.together(loaded, "the model accepts any size, so pass size=N")
    found = explainer.explain(x, target, where, given.sources, against=against)
    found = dataclasses.replace(found, images=pixels)
    return at_size_of(originals, found, fit) if original_size else found


def at_size_of(images: NDArray[np.uint8], found: Explanation, fit: str) -> Explanation:
    """Resizes the maps of an explanation to the original images, `(n, height, width, 3)`."""
    maps, shape = found.relevance, images.shape[1:3]
    each = [restored(one, shape, fit) for one in maps.reshape(-1, *maps.shape[-3:])]
    relevance = np.stack(each).reshape(*maps.shape[:-3], *shape, maps.shape[-1])
    return dataclasses.replace(found, relevance=relevance, images=images, fit=fit)


def _is_known(model: Any, preprocess: str) -> bool:
    """Whether the preprocessing of floats is known: that of a loaded model, or of a model's name."""
    named = isinstance(model, str) and not model.endswith((".keras", ".h5"))
    return isinstance(model, LoadedModel) or (
        named and preprocess == "auto" and not names_function(model)
    )


def _loaded(
    model: Any, floats: bool, scaling: dict[str, Any], output: Any, **given: Any
) -> LoadedModel:
    if isinstance(model, LoadedModel):
        return reloaded(model, output, scaling | given)
    if floats:
        plain = scaling["preprocess"] in ("auto", "none")
        scaled = [name for name in scaling if scaling[name] is not None][plain:]
        if scaled:
            name = scaled[0]
            raise InputError(
                f"Expected pixels as uint8 in 0..255 for {name}={shown(scaling[name])}, got floats, "
                f"which are used as the model's input: leave {name} out, or pass pixels.",
                (name, "images"),
            )
        scaling = {"preprocess": "auto" if _is_known(model, scaling["preprocess"]) else "none"}
    return load_model(model, output=output, **scaling, **given)
