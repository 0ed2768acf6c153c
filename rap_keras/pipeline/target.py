"""The target: a class, a region of the output, and the classes to compare with."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.datasets.masks import Mask, warp_mask
from rap_keras.errors import InputError
from rap_keras.inputs.classes import as_numbers, class_called
from rap_keras.inputs.contrast import CONTRASTS
from rap_keras.inputs.regions import is_region
from rap_keras.inputs.target import TopK
from rap_keras.models.loading import LoadedModel
from rap_keras.support.images import read_image
from rap_keras.support.text import shown

_PART = r"-?\d+|-?\d*:-?\d*"


@dataclass(frozen=True, eq=False)
class Region:
    """Positions of an output that has classes at each position."""

    text: str  # that the user passed, for messages
    index: tuple[int | slice, ...] | None = None  # one per axis of the output except the last
    mask: Mask | None = None  # of any size
    fit: str = "warp"  # how images are resized to the model's input, and the mask with them

    @property
    def is_class(self) -> bool:
        """Whether the region is where the explained class has the largest logit."""
        return self.index is None and self.mask is None

    def positions(self, shape: tuple[int, ...], size: tuple[int, ...]) -> NDArray[np.bool_]:
        """Returns a boolean array of a shape that is True at the positions of the region.

        `size` is that of the model's input, `(height, width)`.
        """
        fault = f"region={self.text} does not fit the positions of the output, {_spell(shape)}"
        found = np.zeros(shape, bool)
        if self.mask is not None:
            if len(shape) != 2:
                raise InputError(f"{fault}: a mask needs rows and columns.", "region")
            mask = self.mask
            if self.fit != "warp":
                mask = warp_mask(mask, (size[0], size[1]), self.fit)
            found = warp_mask(mask, (shape[0], shape[1]))
        elif self.index is not None:
            if len(self.index) != len(shape):
                raise InputError(
                    f"{fault}: pass one number or range for each of its axes.", "region"
                )
            try:
                found[self.index] = True
            except IndexError:
                raise InputError(f"{fault}: positions start at 0.", "region") from None
        if not found.any():
            raise InputError(f"{fault}: it selects no position.", "region")
        return found


def read_region(region: Any, fit: str = "warp") -> Region | None:
    """Reads a region: a pixel, a box, "class" or a mask, as `rap_keras.explain` takes it."""
    if region is None:
        return None
    if isinstance(region, np.ndarray) and region.dtype.kind == "b" and region.ndim == 2:
        return Region(shown(region), mask=region, fit=fit)
    if isinstance(region, tuple) and all(isinstance(part, int | np.integer) for part in region):
        region = ",".join(map(str, region))
    text = os.fspath(region) if isinstance(region, str | os.PathLike) else None
    if text == "class":
        return Region(text)
    if text is not None:
        parts = text.replace(" ", "").split(",")
        if all(re.fullmatch(_PART, part) for part in parts):
            return Region(text, index=tuple(map(_read_part, parts)))
        if os.path.isfile(text):
            return Region(text, mask=read_image(text).max(-1) > 0, fit=fit)
    raise InputError(
        "Expected region to be a pixel y,x, a box y0:y1,x0:x1, class, or the image file of a mask, got "
        f"{shown(region)}.",
        "region",
    )


def parse_target(text: str) -> Any:
    """Reads a target that the user typed, for `selected`: max, all, top:K, or classes by commas.

    Names of classes are looked up later, when the model is known.

    Example:
        >>> parse_target("top:3")
        TopK(k=3)
    """
    text = text.strip()
    if text in ("max", "all"):
        return None if text == "max" else text
    top = re.fullmatch(r"top:(\d+)", text)
    if top and int(top[1]):
        return TopK(int(top[1]))
    if top or any(re.fullmatch(r"-\d+|", part.strip()) for part in text.split(",")):
        raise InputError(
            "Expected target to be max, all, top:K (K at least 1), the name of a class or its index (at "
            f"least 0), got {text!r}.",
            "target",
        )
    return int(text) if text.isdecimal() else text


def parse_contrast(contrast: str | None, against: str | None) -> str | list[int | str] | None:
    """Reads the classes to compare with, as values of the option `contrast` of the methods.

    `contrast` says how all other classes are weighted, `against` is CLASS,CLASS,... by number or name.
    """
    if against is None:
        if contrast not in (None, *CONTRASTS):
            raise InputError(
                f"Expected contrast to be {' or '.join(CONTRASTS)}, got {contrast!r}: name classes by "
                "against=CLASS.",
                ("contrast", "against"),
            )
        return contrast
    if contrast is not None:
        raise InputError(
            "Expected contrast (all other classes) or against (some classes), got both: leave one out.",
            ("contrast", "against"),
        )
    parts = [part.strip() for part in against.split(",")]
    if not all(parts) or any(re.fullmatch(r"-\d+", part) for part in parts):
        raise InputError(
            "Expected against to be one or several classes, CLASS,CLASS,..., by name or index (at least "
            f"0), got {against!r}.",
            "against",
        )
    return [int(part) if part.isdecimal() else part for part in parts]


def selected(
    loaded: LoadedModel,
    x: NDArray[np.float32],
    target: Any = None,
    region: Region | None = None,
    sources: Sequence[Any] = (),
) -> Any:
    """Returns the target of a batch of the model's input in the form that analyzers accept.

    The target is one of analyzers; or several classes of every image as one row `[[3, 7]]` or as a
    text, "3,cat", in which numbers are indices. If the model predicts classes at each position: a class
    at all positions, or in the region; or with a region also None, the class with the largest sum of
    logits there. `sources` are those of the images, for messages.
    """
    graph = loaded.network.graph
    shape = graph.shapes[graph.output][1:]
    target = _numbers(target, loaded)
    if len(shape) < 2:
        if region is not None:
            raise InputError(
                f"Expected no region, because the output of {loaded.name} is one vector of "
                f"{shape[-1] if shape else 1}, which has no positions: leave it out.",
                "region",
            )
        is_row = isinstance(target, list) and len(target) == 1 and isinstance(target[0], list)
        if is_row and hasattr(x, "shape"):
            return target * len(x) if len(x) else np.zeros((0, len(target[0])), int)
        return target
    is_class = isinstance(target, int | np.integer) and not isinstance(target, bool)
    if region is None and not is_class:
        return _of_map(target, loaded.name, shape)
    if not is_class and target is not None and not isinstance(target, str):
        raise InputError(
            f'Expected target with region to be one class, "all" or None, got {shown(target)}.',
            ("target", "region"),
        )
    if region is not None and region.is_class and not is_class:
        raise InputError(
            "Expected one class for region=class, which is where its logit is the largest, got none: "
            "pass target=CLASS.",
            ("region", "target"),
        )
    return _masks(loaded, x, target, region, shape, sources)


def _masks(
    loaded: LoadedModel,
    x: NDArray[np.float32],
    target: Any,
    region: Region | None,
    shape: Sequence[Any],
    sources: Sequence[Any],
) -> NDArray[np.bool_]:
    """Returns the explained neurons as masks; one mask if it is the same for all images."""
    logits: Any = None
    by_class = region is not None and region.is_class
    if None in shape or target is None or by_class:
        logits = loaded.logits(x)
        shape = logits.shape[1:]
    count = 1 if logits is None else len(x)
    if isinstance(target, int | np.integer) and not 0 <= target < shape[-1]:
        raise InputError(
            f"Expected target from 0 to {shape[-1] - 1}, got {target}: {loaded.name} has {shape[-1]} "
            "classes.",
            "target",
        )
    masks = np.zeros((count, *shape), bool)
    where: Any = ...
    if region is not None and not by_class:
        where = region.positions(tuple(shape[:-1]), np.shape(x)[1:3])
    for k in range(count):
        if by_class:
            source = sources[k] if len(sources) else None
            name = str(source) if isinstance(source, os.PathLike) else f"image {k}"
            where = _largest_at(logits[k], target, name)
        chosen = target
        if target is None:
            chosen = logits[k][where].sum(0, dtype=np.float64).argmax()
        masks[k][where] = True if chosen == "all" else np.arange(shape[-1]) == chosen
    return masks


def _largest_at(logits: NDArray[np.floating], target: int, image: str) -> NDArray[np.bool_]:
    """Returns where a class has the largest logit, or where the logit of a single class is positive."""
    found = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(-1) == target
    if not found.any():
        raise InputError(
            f"Expected a position where class {target} has the largest logit for region=class, got none "
            f"in {image!r}: pass another target=CLASS or another region.",
            ("region", "target"),
        )
    return found


def _numbers(target: Any, loaded: LoadedModel) -> Any:
    """Replaces names of classes by numbers; several classes in a text become one row."""
    labels = loaded.labels
    if not isinstance(target, str):
        return as_numbers(target, labels)
    if target == "all":
        return target
    if "," not in target or target in (labels or ()):
        return _number(target, loaded, labels or ())
    return [[_number(part.strip(), loaded) for part in target.split(",")]]


def _number(part: str, loaded: LoadedModel, names: Sequence[str] = ()) -> int:
    """Returns the number of a class that is given by name, or by index if no name is the same."""
    if part.isdecimal() and part not in names:
        return int(part)
    if not loaded.labels:
        raise InputError(
            f"Expected target to be a number, because {loaded.name} has no names for its classes, got "
            f"{part!r}: pass an index, or classes=NAMES.",
            ("target", "classes"),
        )
    return class_called(part, loaded.labels)


def _of_map(target: Any, name: str, shape: Sequence[int | None]) -> Any:
    """Checks a target that is not one class. The model predicts classes at each position."""
    if isinstance(target, str) or (target is not None and is_region(target)):
        return target
    if target is None:
        raise InputError(
            f"Expected region or target, because {name} predicts classes at each position, shape "
            f"{tuple(shape)}, got neither: pass region=REGION, target=CLASS or both.",
            ("region", "target"),
        )
    raise InputError(
        f'Expected target to be one class, "all" or a region of the output, because {name} predicts '
        f"classes at each position, got {shown(target)}: explain one class at a time.",
        "target",
    )


def _read_part(text: str) -> int | slice:
    if ":" not in text:
        return int(text)
    ends = [int(end) if end else None for end in text.split(":")]
    return slice(*ends)


def _spell(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one"
