"""The benchmark compares methods on images with known objects."""

from typing import TYPE_CHECKING

from rap_keras.support.lazy import lazy

if TYPE_CHECKING:  # what `lazy` loads
    from rap_keras.benchmark.results import Results, load
    from rap_keras.benchmark.running import across, merge, report, run
    from rap_keras.benchmark.settings import Settings

__all__ = ["Results", "Settings", "across", "load", "merge", "report", "run"]

__getattr__, __dir__ = lazy(
    __name__,
    __all__,
    {
        "Results": "results",
        "Settings": "settings",
        "across": "running",
        "load": "results",
        "merge": "running",
        "report": "running",
        "run": "running",
    },
)
