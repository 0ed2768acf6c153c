"""What cannot fit into memory, refused before it is tried."""

import os

from rap_keras.errors import InputError

# Of an image's pixel at the least: its colours, the model's input and its relevance in single precision,
# and the outputs and the relevance of the first layers.
BYTES_A_PIXEL = 16 * 3 * 4


def check_memory(size: tuple[int, int], images: int = 1) -> None:
    """Refuses images that need more than all the memory of the machine, computed so many at a time.

    What fits by this estimate may still be too much for a large model.
    """
    height, width = size
    needed, there = images * height * width * BYTES_A_PIXEL, physical_memory()
    if there is not None and needed > there:
        raise InputError(
            f"Expected a size of images that fit into memory, got {height} x {width}: {images} at a "
            f"time take at least {_gigabytes(needed)} (batch_size), and this machine has "
            f"{_gigabytes(there)}.",
            ("size", "batch_size"),
        )


def physical_memory() -> int | None:
    """The bytes of memory of this machine, free or not; None where that is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.0f} GB"
