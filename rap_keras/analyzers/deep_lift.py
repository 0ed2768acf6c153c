"""DeepLIFT: differences from a reference, layer by layer."""

from typing import Any

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.batching import Batches
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.analyzers.references import ReferenceAnalyzer
from rap_keras.backends.keras3.views import FurtherInputs
from rap_keras.errors import InputError
from rap_keras.inputs.target import Target
from rap_keras.propagation import started
from rap_keras.rules import deep_lift
from rap_keras.rules.arithmetic import total


class DeepLIFTAnalyzer(ReferenceAnalyzer, PropagationAnalyzer):
    """DeepLIFT with the rescale rule (Shrikumar et al., ICML 2017, arXiv 1704.02685).

    The map sums to the difference between the logits of sample and reference. Four kinds of layers have
    special rules, which are exact and stay bounded even if a reference of zeros is normalized: a
    softmax inside the model, normalization by a sample's own statistics, products and quotients. All
    other layers use the mean gradient between sample and reference, with the smallest change that keeps
    the sum. `convergence_delta` returns the remaining error. A warning is shown if a sum differs from
    the difference by more than 10 % of the logits.

    Args:
        model: See `Analyzer`; it must accept any batch size.
        reference_inputs: The reference: a number, or an array that broadcasts to a sample. With two
            axes in front, (samples, references), each sample has its own references, and the map is the
            mean over them: `(batch, 1, ...)` is one per sample, `(1, k, ...)` is k for all. Of tokens,
            the reference tokens. For several inputs a list or dict of these.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> analyzer = rap_keras.create_analyzer("deep_lift", model)
        >>> bool(np.abs(analyzer.convergence_delta(x)).max() < 0.01)
        True
    """

    _has_layers = False
    _rule = staticmethod(deep_lift.rescale)
    _from_logit = False

    def __init__(self, model: keras.Model, reference_inputs: Any = 0, **options: Any) -> None:
        super().__init__(model, **options)
        self._use_references(reference_inputs)
        network = FurtherInputs(self._network, self._network.inputs)
        self._pairs = Batches(network, self.batch_size, self.jit_compile)
        if any(self._graph.shapes[slot][0] is not None for slot in self._graph.inputs):
            raise InputError(
                "Expected a model that takes any number of samples, because references are added to the "
                'batch, got a fixed batch size: build it without, or use "integrated_gradients".'
            )

    def _use_graph(self) -> None:
        super()._use_graph()
        if hasattr(self, "_pairs"):
            self._pairs = self._pairs.empty()

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        each = [
            self._pairs.run(
                self._explaining, [*arrays, *self._as_samples(references, arrays)], target
            )
            for references in self._references_of(arrays)
        ]
        logits = each[0]["logits"]
        delta, size = (np.mean([found[key] for found in each], 0) for key in ("delta", "size"))
        self._warn_of_delta(delta, size, logits)
        together = zip(*(found["maps"] for found in each), strict=True)
        maps = [sum(several) / len(several) for several in together]
        return {"maps": maps, "logits": logits, "neurons": target.neurons(logits)}

    def _explaining(self, inputs: list[ops.Tensor], target: Target) -> dict[str, Any]:
        """The maps of samples; the inputs are those of the samples and then those of references."""
        inputs, references = inputs[: len(inputs) // 2], inputs[len(inputs) // 2 :]
        pairs = [ops.concatenate(pair, 0) for pair in zip(inputs, references, strict=True)]
        both, records = self._propagation.forward(pairs)
        logits, at_reference = ops.split(both, 2)
        start = started(logits, target, self._start(target))
        starts = ops.concatenate([start] * 2, 0)
        relevance, _ = self._propagation.backward(records, pairs, starts)
        maps = []
        for multipliers, x, r in zip(
            self._at_inputs(relevance, pairs, target), inputs, references, strict=True
        ):
            first, second = ops.split(multipliers, 2)
            difference = ops.cast(x, multipliers.dtype) - ops.cast(r, multipliers.dtype)
            maps.append((first + second) / 2 * difference)
        return {"logits": logits, "maps": maps} | _missed(maps, start, logits, at_reference)


def _missed(
    maps: list[ops.Tensor], start: ops.Tensor, logits: ops.Tensor, at_reference: ops.Tensor
) -> dict[str, ops.Tensor]:
    """The errors of the sums and the sizes of the logits, each of shape `(batch,)`."""
    expected = ops.multiply_no_nan(logits - at_reference, start)
    sizes = ops.abs(logits) + ops.abs(at_reference)
    explained = ops.multiply_no_nan(sizes, ops.abs(start))
    size = ops.maximum(total(explained), ops.max(sizes, list(range(1, len(sizes.shape)))))
    with ops.wide():
        sums = ops.add_n([total(ops.cast(m, "float64")) for m in maps])
        delta = sums - total(ops.cast(expected, "float64"))
        return {"delta": delta, "size": ops.cast(size, "float64")}
