"""From images to their explanation in one call."""

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
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.images import Images, listed, of_one_size, pixels_of
from rap_keras.pipeline.methods import MethodSpec, with_contrast
from rap_keras.pipeline.target import read_region
from rap_keras.support.fitting import check_fit, restored
from rap_keras.support.text import shown


def explain(
    model: Any,
    images: Any,
    method: str = "rap",
    target: Any = None,
    *,
    region: Any = None,
    against: Any = None,
    weights: str = "imagenet",
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
    """Explains images: reads them, prepares them as the model wants them, and analyzes them.

    A notebook shows the result as a picture; `.plot()`, `.save("map.png")` and `.relevance` have it.
    `create_analyzer` is faster for many calls, and takes models of other things than images.

    Args:
        model: A Keras model, what `rap_keras.models.load_model` returns, or what it takes: "resnet50",
            "bundled:vgg", "model.keras", ...
        images: An image file, a folder of them, a pattern, an image of Pillow, an array uint8
            `(height, width, 3)`, `(height, width)` or a batch `(n, height, width, 3)`; or a list of
            these. Brought to the size of the model's input by `fit`. Or a batch of floats: what the
            model takes already.
        method: The method; `analyzer_names()` lists them.
        target: What is explained: None, the class with the largest logit of each image; the number or
            the name of a class (of one output with a sigmoid, class 0 or 1); numbers `(n,)`, one per
            image, or `(n, k)`; several of every image as a text, "3,7"; "all" for all classes together;
            or a region of the output, as `analyze` takes it. Where the output is a map of classes, a
            class is explained wherever it is, or in `region`.
        region: Where, if the output is a map of classes: a pixel "y,x", a box "y0:y1,x0:x1", the image
            file of a mask or a boolean array of any size, or "class", where the target is the largest.
            Without a target, the class with the largest sum of logits there is explained.
        against: What the target is compared with: the number of a class, a list of them, or "softmax" or
            "uniform" for all others; see the option contrast of the methods.
        weights: As in `load_model`.
        preprocess: From pixels to the model's input, as in `load_model`. "auto" knows it of
            applications, presets and bundled models; for your own model you need to say it.
        mean: What to subtract from the pixels after that, a number or one for each channel.
        std: What to divide them by after that.
        size: Height and width of the images, where the model takes any.
        output: Which output of a model with several is explained, by name or number.
        fit: How images are brought to the size of the input: "warp" them whole, "crop" their middle or
            "pad" them with black bars, both in their own proportions.
        original_size: Bring maps and images back to the size of the images, which are then of one size:
            a map keeps its sum, except for what lies on the bars of "pad"; what "crop" cuts off is 0.
        classes: The names of the model's classes, or a file with one name a line.
        **options: Those of the method, as `create_analyzer` takes them.

    Returns:
        The explanation, with the images and the names of the classes where they are known.

    Raises:
        InputError: Something does not fit or cannot be read.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> scenes = rap_keras.datasets.cluttered_digits(2)
        >>> rap_keras.explain("bundled:vgg", scenes.images, target=7).neurons
        array([7, 7], dtype=int32)
    """
    check_fit(fit)
    where = read_region(region)
    if against is not None and options.get("contrast") is not None:
        raise InputError(
            "Expected against or contrast, which mean the same, got both: leave contrast out.",
            ("against", "contrast"),
        )
    spec = with_contrast(MethodSpec(method, method, options), against, "against")
    floats = isinstance(images, np.ndarray) and images.dtype.kind == "f"
    if floats and original_size:
        raise InputError(
            "Expected images for original_size=True, got floats, which are the model's input already.",
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
        return explainer.explain(images, target, where)
    if original_size:
        originals = of_one_size(list(map(pixels_of, given.sources)), "original_size=True keeps it")
    pixels, x = given.together(loaded, "the model takes any, so pass size=N")
    found = dataclasses.replace(explainer.explain(x, target, where, given.sources), images=pixels)
    return at_size_of(originals, found, fit) if original_size else found


def at_size_of(images: NDArray[np.uint8], found: Explanation, fit: str) -> Explanation:
    """An explanation brought back to the size of its images.

    Args:
        images: The images at their own size, `(n, height, width, 3)`.
        found: The explanation.
        fit: How they were brought to the size of the model's input.
    """
    maps, shape = found.relevance, images.shape[1:3]
    each = [restored(one, shape, fit) for one in maps.reshape(-1, *maps.shape[-3:])]
    relevance = np.stack(each).reshape(*maps.shape[:-3], *shape, maps.shape[-1])
    return dataclasses.replace(found, relevance=relevance, images=images, fit=fit)


def _loaded(
    model: Any, floats: bool, scaling: dict[str, Any], output: Any, **given: Any
) -> LoadedModel:
    if isinstance(model, LoadedModel):
        return model.of_output(output)
    if floats:
        plain = scaling["preprocess"] in ("auto", "none")
        scaled = [name for name in scaling if scaling[name] is not None][plain:]
        if scaled:
            name = scaled[0]
            raise InputError(
                f"Expected pixels as uint8 in 0..255 for {name}={shown(scaling[name])}, got floats, "
                f"which are taken as the model's input: leave {name} out, or pass pixels.",
                (name, "images"),
            )
        scaling = {"preprocess": "none"}
    return load_model(model, output=output, **scaling, **given)
