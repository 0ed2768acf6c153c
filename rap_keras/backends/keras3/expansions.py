"""Operations that are rewritten as several others: attention, gated linear units."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from rap_keras import tensors


def expansion_of(operation: Any) -> Callable[..., Any] | None:
    """A function that computes an operation by others that have rules; None for most operations."""
    made = _EXPANSIONS.get(type(operation).__name__)
    return made(operation) if made and type(operation).__module__.startswith("keras.") else None


def _dot_product_attention(operation: Any) -> Callable[..., Any]:
    def attention(
        query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None
    ) -> Any:
        heads, kept = query.shape[2], key.shape[2]
        if heads != kept:  # several query heads share a head of keys and values
            key, value = (ops.repeat(t, heads // kept, axis=2) for t in (key, value))
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        logits = ops.einsum("btnh,bsnh->bnts", query, key) * scale
        if bias is not None:
            logits = logits + bias
        if operation.is_causal:
            allowed = CausalMask()(logits)
            mask = allowed if mask is None else ops.logical_and(mask, allowed)
        if mask is not None:
            logits = ops.where(mask, logits, -1e9 if logits.dtype != "float16" else -6e4)
        return ops.einsum("bnts,bsnh->btnh", ops.softmax(logits), value)

    return attention


class CausalMask(keras.Operation):
    """The causal mask of a sequence of any length: each position sees itself and earlier positions."""

    def call(self, logits: Any) -> Any:
        """True where a position is visible, in the shape of the logits `(..., positions, positions)`."""
        return tensors.causal_mask(logits)

    def compute_output_spec(self, logits: Any) -> Any:
        """A mask."""
        return keras.KerasTensor(logits.shape, dtype="bool")


def _gated_linear_unit(operation: Any) -> Callable[..., Any]:
    def gated(x: Any) -> Any:
        values, gates = ops.split(x, 2, axis=operation.axis)
        return values * ops.sigmoid(gates)

    return gated


_EXPANSIONS = {"DotProductAttention": _dot_product_attention, "Glu": _gated_linear_unit}
