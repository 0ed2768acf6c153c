"""Generic attention: attention weights times their gradients, block by block."""

from collections.abc import Sequence

from rap_keras import tensors as ops
from rap_keras.analyzers.attention import AttentionAnalyzer, seen_by_output, weights_of
from rap_keras.inputs.target import Target
from rap_keras.propagate import Record
from rap_keras.propagation import only_selected, started, values_of


class GenericAttentionAnalyzer(AttentionAnalyzer):
    """Generic attention-model explainability (Chefer, Gur and Wolf, ICCV 2021, arXiv 2103.15679).

    For each block, the attention weights A are multiplied by the gradient of the logit by them, cut at
    0 and averaged over the heads: B = mean_h max(dA * A, 0). Starting with the identity, R becomes
    R + B R. The map is the row of the class token in R, or the mean of all rows of
    R - I if there is none, which the paper does not cover. It is resized bilinearly to the image and
    divided among the channels. It is not negative. Only self-attention of one input is covered.

    Args:
        model: See `Analyzer`; with one input of images, channels last, and with attention from all
            tokens to all, with the same number of tokens in every block.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vit")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("generic_attention", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def _seen(
        self, records: Sequence[Record], logits: ops.Tensor, target: Target, x: ops.Tensor
    ) -> ops.Tensor:
        start = started(logits, target, only_selected)
        gradients = self._at_weights(self._propagation.table, records, start, x)
        weights = weights_of(self._attention, values_of(records), x)
        each = [positive_mean(g * a) for g, a in zip(gradients, weights, strict=True)]
        return seen_by_output(self._attention, rolled_out(each))


def positive_mean(values: ops.Tensor) -> ops.Tensor:
    """The mean over the heads of the positive part, `(batch, tokens, tokens)`."""
    return ops.mean(ops.relu(values), 1)


def rolled_out(matrices: Sequence[ops.Tensor]) -> ops.Tensor:
    """(I + B_n) ... (I + B_1) - I, which R + B R gives block by block."""
    result = matrices[0]
    for matrix in matrices[1:]:
        result = result + matrix + matrix @ result
    return result
