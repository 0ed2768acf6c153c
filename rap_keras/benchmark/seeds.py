"""What random numbers are drawn by, so that they depend on the run and the image alone."""

import enum


class Purpose(enum.IntEnum):
    """What random numbers of an image are for; a number that was given is never given again."""

    REPLACEMENT = 1
    OTHER_NEURON = 2
    GRID = 3
    SETS_OF_PIXELS = 4
    SQUARES = 5
    NEIGHBOURS = 6
    NOISE = 7


def seed_of(run: int, position: int, purpose: Purpose) -> list[int]:
    """The seed of a purpose, from that of the run and the image's place in the data set."""
    return [run, position, int(purpose)]
