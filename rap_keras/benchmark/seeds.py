"""Seeds of random numbers, which depend only on the run and the image."""

import contextlib
import enum
import random
from collections.abc import Iterator

import numpy as np


class Purpose(enum.IntEnum):
    """The purposes of random numbers of an image. The number of a purpose never changes."""

    REPLACEMENT = 1
    OTHER_NEURON = 2
    GRID = 3
    SETS_OF_PIXELS = 4
    SQUARES = 5
    NEIGHBOURS = 6
    NOISE = 7
    DEGRADED = 8
    DEGRADED_AGAIN = 9
    UNITS = 10


def seed_of(run: int, position: int, purpose: Purpose) -> list[int]:
    """The seed of a purpose, from the seed of the run and the image's place in the data set."""
    return [run, position, int(purpose)]


@contextlib.contextmanager
def states_kept() -> Iterator[None]:
    """Gives all generators their states back, which a run seeds to load a model.

    The backend gets its order of sums back as well, which a run fixes on a GPU.
    """
    from rap_keras import tensors as ops

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with ops.settings_kept():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
