"""Figures that are built but not rendered.

To render a figure takes a third of a second, most of the time of a command that explains a small image.
Tests in some folders save a picture made of the hash of what the figure contains: equal figures still
give equal files, and other figures others. The rest, and tests with the mark `drawn`, render: pictures
are their subject, or texts that matplotlib could refuse. Each command and each figure has such a test.
`make test-all` sets RAP_KERAS_TESTS_PROGRAMS=1, with which every test renders.
"""

import functools
import hashlib
import sys
from typing import Any

import numpy as np
import pytest

from helpers.thinned import AS_IT_IS, folder_of

FOLDERS = {"backends", "benchmark", "cli", "concepts", "models"}
MODULE = "rap_keras.plot.drawing"


def renders(item: pytest.Item) -> bool:
    """Whether the figures of a test are rendered."""
    drawn = item.get_closest_marker("drawn") is not None
    return AS_IT_IS or drawn or folder_of(item) not in FOLDERS


def render(yes: bool) -> None:
    """Lets figures be rendered, or not."""
    if yes and MODULE not in sys.modules:  # nothing has been changed
        return
    from rap_keras.plot.drawing import NotebookFigure

    own = rendered()  # before it is replaced
    NotebookFigure.savefig = own if yes else save_digest


@functools.cache
def rendered() -> Any:
    from rap_keras.plot.drawing import NotebookFigure

    return NotebookFigure.savefig


def save_digest(self: Any, file: Any, **options: Any) -> None:
    """Takes the place of `savefig`."""
    from PIL import Image

    Image.frombytes("L", (8, 4), digest(self)).convert("RGB").save(file, "png")


def digest(figure: Any) -> bytes:
    """A hash of the texts, images, lines and areas of a figure, and of their colours."""
    from matplotlib.collections import Collection
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    found = hashlib.sha256(repr((*figure.get_size_inches(), figure.dpi)).encode())
    for one in figure.findobj(lambda one: isinstance(one, (Text, AxesImage, Line2D, Collection))):
        found.update(f"{type(one).__name__} {one.get_alpha()}".encode())
        if isinstance(one, Text):
            found.update(one.get_text().encode("utf-8", "surrogateescape"))
        elif isinstance(one, AxesImage):
            found.update(repr((one.get_clim(), one.get_cmap().name)).encode())
            found.update(np.ma.filled(one.get_array(), 0).tobytes())
        elif isinstance(one, Line2D):
            found.update(repr((one.get_color(), one.get_linestyle())).encode())
            found.update(np.asarray(one.get_xydata(), float).tobytes())
        else:
            for path in one.get_paths():
                found.update(path.vertices.tobytes())
    return found.digest()
