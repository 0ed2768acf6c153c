"""RAP, PatternNet and PatternAttribution as methods of iNNvestigate 2.1 (Keras 2).

Importing this module registers "rap", "rap.epsilon", "pattern.net" and "pattern.attribution" with
`innvestigate`. The last two were removed in iNNvestigate 2.

    import innvestigate
    import rap_keras.innvestigate

    analyzer = innvestigate.create_analyzer("rap", model)

iNNvestigate works in TensorFlow's graph mode. Either disable eager execution before the model is built
(`tf.compat.v1.disable_eager_execution()`), or let `from_keras3` rebuild a Keras 3 model in a separate
graph; eager execution then stays on.
"""

import os as _os
from typing import Any as _Any

from rap_keras.tensors.choice import backend_name as _backend_name

if (_backend := _backend_name()) != "tensorflow":
    raise ImportError(
        f"Expected TensorFlow as the backend of Keras, on which iNNvestigate is built, got {_backend}: "
        "set KERAS_BACKEND=tensorflow before Keras is imported, or use rap_keras.create_analyzer."
    )

import tensorflow as _tf

if int(_tf.__version__.split(".")[1]) >= 16 and _os.environ.get("TF_USE_LEGACY_KERAS") not in (
    "1",
    "true",
    "True",
):
    raise ImportError(
        "Expected tf.keras to be Keras 2, on which iNNvestigate is built, but TensorFlow "
        f"{_tf.__version__} brings Keras 3: install tf_keras and set the environment variable "
        "TF_USE_LEGACY_KERAS=1 before TensorFlow is imported, or use rap_keras.create_analyzer, which "
        "explains Keras 3 models without iNNvestigate."
    )

try:
    import innvestigate as _innvestigate
except ImportError as error:
    raise ImportError(
        "Expected iNNvestigate 2.1 to be installed, but it cannot be imported "
        f"({error}): run pip install 'innvestigate>=2.1.2,<2.2' with Python 3.11."
    ) from error

import innvestigate.analyzer as _analyzer
from innvestigate.analyzer.base import AnalyzerBase as _AnalyzerBase

from rap_keras.backends.keras2.conversion import from_keras3
from rap_keras.backends.keras2.graphs import entering, fast_building, graph_scope, new_graph
from rap_keras.backends.keras2.rebuild import prepare
from rap_keras.innvestigate.base import PropagationAnalyzer
from rap_keras.innvestigate.guards import guarded
from rap_keras.innvestigate.pattern import PatternAttribution, PatternNet
from rap_keras.innvestigate.rap import RAPAnalyzer, RAPEpsilonAnalyzer


def create_analyzer(
    name: str, model: _Any, check_finite: bool = True, **options: _Any
) -> _AnalyzerBase:
    """Like `innvestigate.create_analyzer`, with checks, and also for a model in a separate graph.

    `from_keras3` and `new_graph` build such models. The checks also apply to iNNvestigate's own
    analyzers: they raise an error for samples that do not fit, unknown tokens, NaN and infinity, and
    models that mix samples or use random numbers.

    Args:
        name: "rap", "rap.epsilon", "pattern.net", "pattern.attribution", or another name of
            iNNvestigate.
        model: A Keras 2 model.
        check_finite: Raise an error if samples or maps contain NaN or infinity.
        **options: The analyzer's options.

    Returns:
        The iNNvestigate analyzer. Its methods enter the model's graph automatically.

    Raises:
        KeyError: There is no analyzer of this name.
        InputError: The model is in no graph, because eager execution was on when it was built; or it is
            stateful.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> analyzer = rap_keras.innvestigate.create_analyzer("rap", model)
        >>> analyzer.analyze(np.ones((1, 3))).shape
        (1, 3)
    """
    with graph_scope(model):
        if issubclass(_analyzer.analyzers.get(name, object), PropagationAnalyzer):
            ours = _innvestigate.create_analyzer(name, model, check_finite=check_finite, **options)
            return entering(ours, model)
        analyzer: _AnalyzerBase = _innvestigate.create_analyzer(name, model, **options)
        return guarded(entering(analyzer, model), check_finite)


# AnalyzerBase.load finds classes by name in this module.
_analyzer.RAPAnalyzer = RAPAnalyzer
_analyzer.RAPEpsilonAnalyzer = RAPEpsilonAnalyzer
_analyzer.PatternNet = PatternNet
_analyzer.PatternAttribution = PatternAttribution
_analyzer.analyzers |= {
    "rap": RAPAnalyzer,
    "rap.epsilon": RAPEpsilonAnalyzer,
    "pattern.net": PatternNet,
    "pattern.attribution": PatternAttribution,
}

__all__ = [
    "PatternAttribution",
    "PatternNet",
    "RAPAnalyzer",
    "RAPEpsilonAnalyzer",
    "create_analyzer",
    "fast_building",
    "from_keras3",
    "graph_scope",
    "new_graph",
    "prepare",
]
