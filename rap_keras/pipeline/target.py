"""What is explained: a class, a region of the output, and what the class is compared with."""

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
    """Positions of an output that is a map of classes.

    Attributes:
        text: What was given, for messages.
        index: Positions and ranges, one per axis of the output before its classes.
        mask: A mask of any size.
    """

    text: str
    index: tuple[int | slice, ...] | None = None
    mask: Mask | None = None

    @property
    def is_class(self) -> bool:
        """Whether it is where the explained class is the largest of the output."""
        return self.index is None and self.mask is None

    def positions(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """True where the region is, at the positions of an output.

        Args:
            shape: The output's positions, `(height, width)` of a map.

        Raises:
            InputError: The region does not fit them, or none of them is in it.
        """
        told = f"region={self.text} does not fit the positions of the output, {_spell(shape)}"
        found = np.zeros(shape, bool)
        if self.mask is not None:
            if len(shape) != 2:
                raise InputError(f"{told}: a mask needs rows and columns.", "region")
            found = warp_mask(self.mask, (shape[0], shape[1]))
        elif self.index is not None:
            if len(self.index) != len(shape):
                raise InputError(
                    f"{told}: pass as many numbers or ranges as it has axes.", "region"
                )
            try:
                found[self.index] = True
            except IndexError:
                raise InputError(f"{told}: the first is 0.", "region") from None
        if not found.any():
            raise InputError(f"{told}: no position is in it.", "region")
        return found


def read_region(region: Any) -> Region | None:
    """Reads a region.

    Args:
        region: None; `"class"`; a pixel `"y,x"`; a box `"y0:y1,x0:x1"`; an image file that is not black
            where the region is; or a mask, a boolean array `(height, width)` of any size.

    Raises:
        InputError: It is none of these.
    """
    if region is None:
        return None
    if isinstance(region, np.ndarray) and region.dtype.kind == "b" and region.ndim == 2:
        return Region(shown(region), mask=region)
    text = os.fspath(region) if isinstance(region, str | os.PathLike) else None
    if text == "class":
        return Region(text)
    if text is not None:
        parts = text.replace(" ", "").split(",")
        if all(re.fullmatch(_PART, part) for part in parts):
            return Region(text, index=tuple(map(_read_part, parts)))
        if os.path.isfile(text):
            return Region(text, mask=read_image(text).max(-1) > 0)
    raise InputError(
        "region is a pixel y,x, a box y0:y1,x0:x1, class, or the image file of a mask, not "
        f"{shown(region)}.",
        "region",
    )


def parse_target(text: str) -> Any:
    """A target as it is typed, as `selected` takes it.

    Args:
        text: max, all, top:K, or a class as a number or a name, or several of them, separated by commas.
            Names are looked up when the model is known.

    Raises:
        InputError: A number is negative, or K is 0.

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
            "Expected target to be max, all, top:K with K from 1 on, a class or an index from 0 on, got "
            f"{text!r}.",
            "target",
        )
    return int(text) if text.isdecimal() else text


def parse_contrast(contrast: str | None, against: str | None) -> str | list[int | str] | None:
    """Reads what a class is compared with, as the option `contrast` of the methods takes it.

    Args:
        contrast: How all other classes are weighted.
        against: Some classes, by number or name, separated by commas.

    Raises:
        InputError: Both are given, or one cannot be read.
    """
    if against is None:
        if contrast not in (None, *CONTRASTS):
            raise InputError(
                f"contrast is {' or '.join(CONTRASTS)}, not {contrast!r}; classes are named by "
                "against=CLASS.",
                ("contrast", "against"),
            )
        return contrast
    if contrast is not None:
        raise InputError(
            "contrast weights all other classes, against names some: pass one of them.",
            ("contrast", "against"),
        )
    parts = [part.strip() for part in against.split(",")]
    if not all(parts) or any(re.fullmatch(r"-\d+", part) for part in parts):
        raise InputError(
            f"against is a class or several, CLASS,CLASS,..., by name or by index from 0 on, not "
            f"{against!r}.",
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
    """The target of a batch as analyzers take it.

    Args:
        loaded: The model.
        x: The batch, as `loaded.preprocess` gives it.
        target: What analyzers take; or several classes of every image as one row `[[3, 7]]` or as a
            text, "3,cat", in which numbers are indices. Where the output is a map of classes: a class
            wherever it is, or, in a region, None for the class with the largest sum of logits there.
        region: Where, if the output is a map of classes; None: everywhere.
        sources: Where the images are from, for messages about what a map holds.

    Raises:
        InputError: The target or the region does not fit the model.
    """
    graph = loaded.network.graph
    shape = graph.shapes[graph.output][1:]
    target = _numbers(target, loaded)
    if len(shape) < 2:
        if region is not None:
            raise InputError(
                f"{loaded.name} gives one vector of {shape[-1] if shape else 1}, which has no "
                "positions: leave out region.",
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
            f'Expected one class, "all" or nothing as target with region, got {shown(target)}.',
            ("target", "region"),
        )
    if region is not None and region.is_class and not is_class:
        raise InputError(
            "region=class is where one class is the largest: say which, target=CLASS.",
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
    """The explained neurons of an output that is a map; one mask where all images have the same."""
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
    for k in range(count):
        where: Any = ...
        if by_class:
            source = sources[k] if len(sources) else None
            called = str(source) if isinstance(source, os.PathLike) else f"image {k}"
            where = _won(logits[k], target, called)
        elif region is not None:
            where = region.positions(tuple(shape[:-1]))
        wanted = target
        if target is None:
            wanted = logits[k][where].sum(0, dtype=np.float64).argmax()
        masks[k][where] = True if wanted == "all" else np.arange(shape[-1]) == wanted
    return masks


def _won(logits: NDArray[np.floating], target: int, image: str) -> NDArray[np.bool_]:
    """Where a class is the largest of an output; where it is positive, if it is the only one."""
    won = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(-1) == target
    if not won.any():
        raise InputError(
            f"region=class needs a position where the class {target} is the largest, but in "
            f"{image!r} there is none: pass another target=CLASS, or another region.",
            ("region", "target"),
        )
    return won


def _numbers(target: Any, loaded: LoadedModel) -> Any:
    """Names of classes as numbers; several in a text as one row."""
    labels = loaded.labels
    if not isinstance(target, str):
        return as_numbers(target, labels)
    if target == "all":
        return target
    if "," not in target or target in (labels or ()):
        return _number(target, loaded, labels or ())
    return [[_number(part.strip(), loaded) for part in target.split(",")]]


def _number(part: str, loaded: LoadedModel, names: Sequence[str] = ()) -> int:
    """A class by index, if it is none of some names, or by name."""
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
    """A target that is no class, of an output that is a map of classes."""
    if isinstance(target, str) or (target is not None and is_region(target)):
        return target
    if target is None:
        raise InputError(
            f"{name} gives an output of shape {tuple(shape)}, classes at positions: pass region=WHERE, "
            "or target=CLASS, or both.",
            ("region", "target"),
        )
    raise InputError(
        f'Expected one class, "all" or a region of the output as target, because {name} gives classes '
        f"at positions, got {shown(target)}: explain one class at a time.",
        "target",
    )


def _read_part(text: str) -> int | slice:
    if ":" not in text:
        return int(text)
    ends = [int(end) if end else None for end in text.split(":")]
    return slice(*ends)


def _spell(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one"
