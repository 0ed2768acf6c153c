"""The gradient, and methods based on it."""

from typing import Any

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Maps
from rap_keras.analyzers.differentiating import DifferentiatingAnalyzer
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.inputs.target import Target
from rap_keras.rules import gradient
from rap_keras.support.options import choose


class GradientAnalyzer(DifferentiatingAnalyzer, PropagationAnalyzer):
    """The gradient of the selected logit (Simonyan et al., 2014).

    Args:
        model: See `Analyzer`.
        postprocess: What to do with the gradient: None, "abs" or "square".
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("gradient", model, postprocess="abs").analyze(x).shape
        (1, 64, 64, 3)
    """

    _from_logit = False

    def __init__(self, model: keras.Model, postprocess: str | None = None, **options: Any) -> None:
        if postprocess is not None:
            choose("postprocess", postprocess, ("abs", "square"))
        self.postprocess = postprocess
        super().__init__(model, **options)

    def raw_maps(self, arrays: list[np.ndarray], target: Target) -> list[np.ndarray]:
        """The maps of checked arrays, one per input, without checking the result."""
        return self._explained(arrays, target)["maps"]

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        after = {None: ops.identity, "abs": ops.abs, "square": ops.square}[self.postprocess]
        gradients, logits = super()._maps(inputs, target)
        return [after(g) for g in gradients], logits


class InputTimesGradientAnalyzer(DifferentiatingAnalyzer, PropagationAnalyzer):
    """Input times gradient of the selected logit (Shrikumar et al., 2016).

    Args:
        model: See `Analyzer`.
        **options: Options of `PropagationAnalyzer`.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("input_t_gradient", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    _from_logit = False

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        gradients, logits = super()._maps(inputs, target)
        return [ops.cast(x, g.dtype) * g for x, g in zip(inputs, gradients, strict=True)], logits


_SIGNED = 'use "input_t_gradient"'


class GuidedBackpropAnalyzer(DifferentiatingAnalyzer, PropagationAnalyzer):
    """Guided backpropagation (Springenberg et al., 2015): ReLUs propagate only positive values.

    It starts from the logit, as in iNNvestigate. Other activations propagate their gradient.

    Args:
        model: See `Analyzer`.
        **options: Options of `PropagationAnalyzer`.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("guided_backprop", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    _rule = staticmethod(gradient.guided)
    _one_sided = _SIGNED


class DeconvnetAnalyzer(DifferentiatingAnalyzer, PropagationAnalyzer):
    """Deconvolution (Zeiler and Fergus, 2014): ReLUs are applied to the propagated values.

    It starts from the logit, as in iNNvestigate. The gradient of a ReLU is not used. Other activations
    propagate their gradient.

    Args:
        model: See `Analyzer`.
        **options: Options of `PropagationAnalyzer`.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("deconvnet", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    _rule = staticmethod(gradient.deconvnet)
    _one_sided = _SIGNED
