"""Rejects images that cannot fit into memory before trying."""

import os

from rap_keras.errors import InputError

# A lower bound for one pixel: its colours, the model's input and its relevance in single precision, and
# the outputs and the relevance of the first layers.
BYTES_A_PIXEL = 16 * 3 * 4


def check_memory(size: tuple[int, int], images: int = 1) -> None:
    """Raises an error if a batch of images needs more than the memory of the machine.

    A batch that fits by this estimate may still be too large for a large model.
    """
    height, width = size
    needed, available = images * height * width * BYTES_A_PIXEL, physical_memory()
    if available is not None and needed > available:
        raise InputError(
            f"Expected images that fit into memory, got {height} x {width} pixels: a batch of {images} "
            f"needs at least {_gigabytes(needed)}, and this machine has {_gigabytes(available)}: lower "
            "size or batch_size.",
            ("size", "batch_size"),
        )


def physical_memory() -> int | None:
    """Returns the memory of this machine in bytes, free or not; None if it is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.0f} GB"
