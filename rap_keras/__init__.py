"""Relative Attributing Propagation (RAP) and about forty other attribution methods for Keras.

An attribution method explains a decision of a model: it gives every pixel (or other input) a number,
its relevance. The main entry points:

    rap_keras.explain            images and a model to heat maps, in one call
    rap_keras.create_analyzer    a method for your own Keras model and preprocessed arrays
    rap_keras.analyzer_names     the names of all methods
    rap_keras.evaluation         metrics: how good a heat map is
    rap_keras.benchmark          compare methods on a data set
    rap_keras.concepts           which features drove a decision, with reference images

Example:
    >>> scenes = rap_keras.datasets.cluttered_digits(1)
    >>> model = rap_keras.bundled.load("vgg")
    >>> x = rap_keras.datasets.preprocess(scenes.images)
    >>> rap_keras.create_analyzer("rap", model).analyze(x).shape
    (1, 64, 64, 3)
"""

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
        concepts,
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
    "concepts",
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

# Keras and matplotlib are loaded only when they are needed. Two names are not in __all__: the
# plugin, whose import fails where iNNvestigate is not installed, and `embedded`, the alias of `bundled`.
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
