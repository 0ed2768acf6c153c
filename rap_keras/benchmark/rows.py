"""A row of a benchmark: a method with its options, or a control map that explains nothing."""

from dataclasses import dataclass, replace

from rap_keras.analyzers.registry import find_method, is_seeded
from rap_keras.errors import InputError
from rap_keras.pipeline.methods import MethodSpec, read_spec, with_patterns

RANDOM, MEAN_SHIFTED, EDGES = "control.random", "control.mean_shifted", "control.edges"
CONTROLS = (RANDOM, MEAN_SHIFTED, EDGES)
SHIFTED_METHOD = "lrp.alpha_1_beta_0"


@dataclass(frozen=True)
class Row(MethodSpec):
    """A row of the benchmark.

    `chosen_threshold` of the foreground of its maps is "mean", "zero" or a percentile; None uses the
    default of `threshold`.
    """

    chosen_threshold: str | float | None = None

    @property
    def is_control(self) -> bool:
        """Whether this is a control map, one of `CONTROLS`."""
        return self.name in CONTROLS

    @property
    def threshold(self) -> str | float:
        """The threshold of the foreground: "mean" if no relevance is negative, else "zero"."""
        if self.chosen_threshold is not None:
            return self.chosen_threshold
        record = find_method(self.name)
        signed = self.name != EDGES if record is None else record.signed(self.options)
        return "zero" if signed else "mean"

    def completed(self, patterns: str | None, seed: int | None, percentile: float | None) -> "Row":
        """The row with the options of all rows, if it does not set them itself.

        `seed` is that of methods that draw at random, and `percentile` the threshold of the foreground.
        """
        row = with_patterns(self, patterns)
        seeded = {"seed": seed} if seed is not None and is_seeded(row.name) else {}
        threshold = percentile if row.chosen_threshold is None else row.chosen_threshold
        return replace(row, options=seeded | dict(row.options), chosen_threshold=threshold)


def read_row(text: str) -> Row:
    """Reads a method, see `read_spec`, with one more option, threshold: mean, zero or a percentile."""
    spec = read_spec(text)
    options = dict(spec.options)
    threshold = options.pop("threshold", None)
    is_percentile = type(threshold) in (int, float) and 0 < threshold < 100
    if "threshold" in spec.options and threshold not in ("mean", "zero") and not is_percentile:
        raise InputError(
            f"Expected the threshold of {text!r} to be mean, zero or a percentile between 0 and 100."
        )
    return Row(spec.title, spec.name, options, threshold)
