"""The cluttered digits as a data set: nothing to download, exact masks."""

from collections.abc import Sequence

from rap_keras.datasets.cluttered_digits import draw_scene
from rap_keras.datasets.masks import Size, masked_sample
from rap_keras.datasets.sample import Sample
from rap_keras.errors import InputError

_MOST = 100_000


class ClutteredDigits:
    """The first scenes of `cluttered_digits()`, each drawn when it is read.

    Args:
        n: How many scenes, 1 to 100,000.

    Raises:
        InputError: If `n` is not one of these.
    """

    kind = "cluttered-digits"
    source = ""
    objects = "pixels of the digit"

    def __init__(self, n: int = 100) -> None:
        if not 1 <= n <= _MOST:
            raise InputError(f"Expected 1 to {_MOST} scenes, got {n}; ask for a number in between.")
        self.names: Sequence[str] = tuple(f"scene-{i:05}" for i in range(n))

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Draws one scene; see `Dataset.read`."""
        index = range(len(self.names))[index]
        image, label, mask = draw_scene(index)
        return masked_sample(self.names[index], image, {str(label): mask}, size)
