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
        callbacks,
        composites,
        datasets,
        embedded,
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
    "callbacks",
    "composites",
    "create_analyzer",
    "datasets",
    "embedded",
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

# TensorFlow and matplotlib are loaded only when they are needed. The plugin is not in __all__: it says
# what it lacks where iNNvestigate is not installed.
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
    modules=["innvestigate"],
)
