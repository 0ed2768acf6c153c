"""Transformer attribution: relevance of attention weights times their gradients, rolled out."""

from collections.abc import Sequence

from rap_keras import tensors as ops
from rap_keras.analyzers.attention import AttentionAnalyzer, seen_by_output
from rap_keras.analyzers.generic_attention import positive_mean, rolled_out
from rap_keras.composites.composite import Composite
from rap_keras.composites.transformer import TRANSFORMER_ATTRIBUTION
from rap_keras.inputs.target import Target
from rap_keras.propagate import Record
from rap_keras.propagation import only_selected, started


class TransformerAttributionAnalyzer(AttentionAnalyzer):
    """Transformer attribution (Chefer, Gur and Wolf, CVPR 2021, arXiv 2012.09838).

    For each block, the relevance R of the attention weights, by the paper's rules of LRP, is multiplied
    by the gradient of the logit by the weights, cut at 0 and averaged over the heads. With the identity
    added, A = I + mean_h max(dA * R, 0), the matrices of all blocks are multiplied.
    The map is the row of the class token, or the mean of all rows less the identity if there is none,
    which the paper does not cover. It is resized bilinearly to the image and divided among the
    channels. It is not negative.

    Args:
        model: See `Analyzer`; with one input of images, channels last, and with attention from all
            tokens to all, with the same number of tokens in every block.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vit")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("transformer_attribution", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def _use_graph(self) -> None:
        super()._use_graph()
        self._of_relevance = Composite(TRANSFORMER_ATTRIBUTION).assign(self._graph)

    def _seen(
        self, records: Sequence[Record], logits: ops.Tensor, target: Target, x: ops.Tensor
    ) -> ops.Tensor:
        start = started(logits, target, only_selected)
        gradients = self._at_weights(self._propagation.table, records, start, x)
        relevances = self._at_weights(self._of_relevance, records, start, x)
        each = [positive_mean(g * r) for g, r in zip(gradients, relevances, strict=True)]
        return seen_by_output(self._attention, rolled_out(each))
