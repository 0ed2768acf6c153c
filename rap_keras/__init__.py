"""Relative Attributing Propagation (RAP) and fair baselines for Keras."""

from typing import TYPE_CHECKING

from rap_keras import errors
from rap_keras.analyzers import (
    analyzer_names,
    create_analyzer,
    load_analyzer,
    register_method,
)
from rap_keras.errors import InputError, UnknownLayerError
from rap_keras.support.lazy import lazy
from rap_keras.version import __version__

if TYPE_CHECKING:  # what `lazy` loads
    from rap_keras import (  # noqa: F401 (innvestigate, which `import *` leaves out)
        benchmark,
        bundled,
        callbacks,
        composites,
        datasets,
        evaluation,
        innvestigate,
        interop,
        models,
        patterns,
        plot,
        rules,
    )
    from rap_keras.analyzers.rap import RAPAnalyzer
    from rap_keras.composites import Composite, register_rule
    from rap_keras.inputs.target import TopK
    from rap_keras.pipeline.explain import explain

__all__ = [
    "Composite",
    "InputError",
    "RAPAnalyzer",
    "TopK",
    "UnknownLayerError",
    "__version__",
    "analyzer_names",
    "benchmark",
    "bundled",
    "callbacks",
    "composites",
    "create_analyzer",
    "datasets",
    "errors",
    "evaluation",
    "explain",
    "interop",
    "load_analyzer",
    "models",
    "patterns",
    "plot",
    "register_method",
    "register_rule",
    "rules",
]

# TensorFlow and matplotlib are loaded only when they are needed. Not in __all__: the plugin, which says
# what it lacks where iNNvestigate is not installed, and the alias of `bundled`.
__getattr__, __dir__ = lazy(
    __name__,
    __all__,
    {
        "Composite": "composites",
        "RAPAnalyzer": "analyzers.rap",
        "TopK": "inputs.target",
        "explain": "pipeline.explain",
        "register_rule": "composites",
    },
    modules=["embedded", "innvestigate"],
)
