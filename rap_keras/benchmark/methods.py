"""What a benchmark compares: methods with their options, and control maps that explain nothing."""

from dataclasses import dataclass

from rap_keras.analyzers.registry import find_method
from rap_keras.benchmark.controls import CONTROLS, EDGES
from rap_keras.errors import InputError
from rap_keras.pipeline.methods import MethodSpec, read_spec


@dataclass(frozen=True)
class Method(MethodSpec):
    """A row of the benchmark.

    Attributes:
        own_threshold: Where the foreground of its maps begins, if not where `threshold` says by default.
    """

    own_threshold: str | float | None = None

    @property
    def is_control(self) -> bool:
        """Whether this is a map that explains nothing, one of `CONTROLS`."""
        return self.name in CONTROLS

    @property
    def threshold(self) -> str | float:
        """Where foreground begins: at the "mean" if no relevance is negative, else at "zero"."""
        if self.own_threshold is not None:
            return self.own_threshold
        record = find_method(self.name)
        signed = self.name != EDGES if record is None else record.signed(self.options)
        return "zero" if signed else "mean"


def read_method(text: str) -> Method:
    """A method of the benchmark, as it is written.

    Args:
        text: See `read_spec`; threshold is an option more: mean, zero or a percentile.

    Raises:
        InputError: The text is no method, or the threshold is none.
    """
    spec = read_spec(text)
    options = dict(spec.options)
    threshold = options.pop("threshold", None)
    is_percentile = type(threshold) in (int, float) and 0 < threshold < 100
    if "threshold" in spec.options and threshold not in ("mean", "zero") and not is_percentile:
        raise InputError(
            f"Expected the threshold of {text!r} to be mean, zero or a percentile between 0 and 100."
        )
    return Method(spec.title, spec.name, options, threshold)
