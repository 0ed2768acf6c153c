"""Data sets by specification: a kind, a colon, and a path."""

import functools
import os.path
from collections.abc import Callable

from rap_keras.datasets.cluttered_digits import DrawnDigits
from rap_keras.datasets.folder import MaskFolder, open_folder
from rap_keras.datasets.imagenet_boxes import ImageNetBoxes
from rap_keras.datasets.imagenet_segmentation import ImageNetSegmentation
from rap_keras.datasets.sample import Dataset
from rap_keras.datasets.voc import Voc
from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean


def open_dataset(specification: str) -> Dataset:
    """Opens a data set with known objects.

    Args:
        specification: One of `imagenet-boxes:DIR`, `imagenet-segmentation:FILE.mat`, `voc:DIR` or
            `voc:DIR:SPLIT`, `folder:DIR`, `cluttered-digits` or `cluttered-digits:N`, and
            `cluttered-digit-pairs` in the same way.

    Returns:
        The data set. Its files are listed, but not read yet.

    Raises:
        InputError: There is no such kind, or no data set of this kind at the path.

    Example:
        >>> len(rap_keras.datasets.open_dataset("cluttered-digits:5").names)
        5
    """
    kind, _, place = specification.partition(":")
    if kind in _KINDS:
        form, open_it = _KINDS[kind]
        if not place and not form.endswith("[:N]"):
            raise InputError(
                f"Expected {form}, got {specification!r}: add the path of the data set."
            )
        try:
            return open_it(os.path.expanduser(place))
        except OSError as error:
            raise InputError(
                f"The data set {specification!r} cannot be read ({error.strerror or error}): check its "
                "permissions."
            ) from error
    forms = ", ".join(form for form, _ in _KINDS.values())
    if os.path.exists(specification) or os.path.sep in kind:
        raise InputError(
            f"Expected the kind of the data set before its path ({forms}), got the path "
            f"{specification!r}: {_advice(specification)}."
        )
    advice = did_you_mean(kind, _KINDS) or "use one of these kinds."
    raise InputError(f"Expected one of {forms}, got {specification!r}: {advice}")


def _voc(place: str) -> Dataset:
    folder, colon, split = place.rpartition(":")
    return Voc(folder, split) if colon and not os.path.isdir(place) else Voc(place)


def _drawn(kind: str, digits: int, count: str) -> Dataset:
    try:
        n = int(count or 100)
    except ValueError:
        raise InputError(
            f"Expected a number of scenes after '{kind}:', got {count!r}: write for example "
            f"{kind}:100."
        ) from None
    return DrawnDigits(n, digits)


_KINDS: dict[str, tuple[str, Callable[[str], Dataset]]] = {
    ImageNetBoxes.kind: ("imagenet-boxes:DIR", ImageNetBoxes),
    ImageNetSegmentation.kind: ("imagenet-segmentation:FILE.mat", ImageNetSegmentation),
    Voc.kind: ("voc:DIR", _voc),
    MaskFolder.kind: ("folder:DIR", open_folder),
    **{
        kind: (f"{kind}[:N]", functools.partial(_drawn, kind, digits))
        for kind, digits in (("cluttered-digits", 1), ("cluttered-digit-pairs", 2))
    },
}


def _advice(path: str) -> str:
    for kind, (_, open_it) in _KINDS.items():
        try:
            open_it(path)
        except (InputError, OSError):
            continue
        return f"it looks like {kind}:{path}"
    return "write the kind and a colon before it"
