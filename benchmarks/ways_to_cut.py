"""Heat maps of signed methods without their signs, as methods of the benchmark.

    rap-keras benchmark --methods gradient,benchmarks/ways_to_cut.py:gradient_maximum:threshold=mean

The benchmark sums a map over channels, with its signs. The way of combining channels decides where a
threshold cuts the map (docs/results/paper.md).
"""

from typing import Any

import numpy as np

import rap_keras


def _sizes(method: str, model: Any, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    analyzer = rap_keras.create_analyzer(method, model)
    return np.abs(analyzer.analyze(x, target=neurons))


def gradient_maximum(model: Any, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """The largest absolute gradient over the channels (Simonyan et al., arXiv 1312.6034, sec. 3.1)."""
    return _sizes("gradient", model, x, neurons).max(-1)


def guided_backprop_sizes(model: Any, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """Guided backpropagation without signs, summed over the channels."""
    return _sizes("guided_backprop", model, x, neurons).sum(-1)


def input_t_gradient_sizes(model: Any, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
    """Input times gradient without signs, summed over the channels."""
    return _sizes("input_t_gradient", model, x, neurons).sum(-1)
