"""Kernel layers applied to an input, as linear maps (x, kernel) -> z plus a bias, without activation.

Rules use only these maps. `kernels` contains the differences between layer types.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network import layer_types
from rap_keras.network.convolutions import Apply, channels_first
from rap_keras.network.kernels import affine, along, channel_axis, type_of
from rap_keras.network.normalization import affine_of_sample


@dataclass(frozen=True)
class Stage:
    """One linear map of a layer, applied to an input.

    Attributes:
        apply: Maps an input and a kernel, of the shapes below, to an output; linear in both.
        kernel: The layer's weights, in the dtype of the input.
        x: The input.
        z: `apply(x, kernel)`.
        back: The transposed map: from the shape of z to the shape of x.
        bias: The bias that is added to z, of a shape that broadcasts to it; None if there is none.
        samples: The batch axes of x and of z.
    """

    apply: Apply
    kernel: ops.Tensor
    x: ops.Tensor
    z: ops.Tensor
    back: Callable[[ops.Tensor], ops.Tensor]
    bias: ops.Tensor | None = None
    samples: tuple[int, int] = (0, 0)

    @property
    def output(self) -> ops.Tensor:
        """z plus the bias."""
        return self.z if self.bias is None else self.z + self.bias

    @property
    def fan_in(self) -> int:
        """The approximate number of inputs of a neuron; 1 if it depends on the sizes of the batch."""
        elements, channels = ops.elements(self.kernel.shape), self.z.shape[-1]
        return elements // channels if elements and channels else 1

    def with_kernel(self, kernel: ops.Tensor) -> Callable[[ops.Tensor], ops.Tensor]:
        """The same map with other weights."""
        return _with_kernel(self.apply, kernel)


def negated(stage: Stage) -> Stage:
    """The map with negated kernel and bias."""
    bias = None if stage.bias is None else -stage.bias
    return dataclasses.replace(
        stage, kernel=-stage.kernel, z=-stage.z, back=lambda s: stage.back(-s), bias=bias
    )


def lowered(stage: Stage, by: float) -> Stage:
    """The map with its bias lowered by a number."""
    less = ops.cast(-by, stage.z.dtype)
    bias = ops.full([stage.z.shape[-1]], less) if stage.bias is None else stage.bias + less
    return dataclasses.replace(stage, bias=bias)


def _with_kernel(apply: Apply, kernel: ops.Tensor) -> Callable[[ops.Tensor], ops.Tensor]:
    return lambda x: apply(x, kernel)


def pullback(
    function: Callable[[ops.Tensor], ops.Tensor], x: ops.Tensor
) -> tuple[ops.Tensor, Callable[[ops.Tensor], ops.Tensor]]:
    """A differentiable function's value at x, and its transposed derivative there.

    Only the function is differentiated, whatever x was computed from.
    """
    (y,), back = ops.vjp(lambda values: [function(values[0])], [x])
    return y, lambda s: back([s])[0]


def back_of(
    function: Callable[[ops.Tensor], ops.Tensor], x: ops.Tensor
) -> Callable[[ops.Tensor], ops.Tensor]:
    """The transposed map of a linear function of x, as `pullback` gives it with the value at x."""
    with ops.without_values():
        return pullback(function, x)[1]


def is_linear(layer: Any) -> bool:
    """Whether a layer is a linear map plus bias and activation."""
    return layer_types.is_a(layer, layer_types.KERNEL)


def kernels(layer: Any) -> list[Any]:
    """The weights of the linear maps of a kernel layer, one per stage."""
    return [weights for _, weights in type_of(layer).maps(layer)]


def stages(layer: Any, x: ops.Tensor, before: Any = None, after: Any = None) -> list[Stage]:
    """The linear maps that a layer applies one after the other, with their inputs and outputs.

    Args:
        layer: A built Dense, EinsumDense, Conv, DepthwiseConv, SeparableConv, ConvTranspose or
            BatchNormalization layer; or a normalization by the sample's own statistics, which then
            count as constants.
        x: The layer's input, shape (batch, ...), floating point.
        before: A BatchNormalization layer between x and the layer, to be folded into its kernel.
        after: A BatchNormalization layer after the layer, to be folded into its kernel.

    Returns:
        One stage, or two for a separable convolution: depthwise, then pointwise. The `output` of the
        last one is the input of the layer's activation.

    Raises:
        InputError: The layer is quantized, so its kernel is not the one that it multiplies with.
    """
    policy = getattr(layer, "dtype_policy", None)
    # Before Keras 3.6, only the policy has it.
    mode = getattr(layer, "quantization_mode", getattr(policy, "quantization_mode", None))
    if mode:
        raise InputError(
            f"Expected layers with floating-point kernels, but layer {layer.name!r} is quantized "
            f"({mode}): explain the model as it was before quantization."
        )
    if layer_types.is_a(layer, layer_types.NORMALIZATION):
        return [_normalization(layer, x)]
    known = type_of(layer)
    steps = [(apply, ops.cast(ops.as_kernel(w), x.dtype)) for apply, w in known.maps(layer)]
    biases: list[ops.Tensor | None] = [None] * len(steps)
    biases[-1] = _bias(layer, x)
    if after is not None:
        assert known.output_scaled is not None  # folding checks can_fold
        apply, kernel = steps[-1]
        scale, shift = affine(after, x.dtype)
        biases[-1] = _spread(shift, layer, x) + (
            0 if biases[-1] is None else biases[-1] * _spread(scale, layer, x)
        )
        steps[-1] = (apply, known.output_scaled(layer, kernel, scale))
    if before is not None:
        assert known.input_scaled is not None
        apply, kernel = steps[0]
        scale, shift = affine(before, x.dtype)
        # Not a bias of the layer, whose padding adds zeros after the normalization.
        shifted = apply(ops.ones_like(x) * _spread(shift, layer, x), kernel)
        biases[0] = shifted if biases[0] is None else shifted + biases[0]
        steps[0] = (apply, known.input_scaled(layer, kernel, scale))
    result = []
    for (apply, kernel), bias in zip(steps, biases, strict=True):
        z, back = pullback(_with_kernel(apply, kernel), x)
        result.append(Stage(apply, kernel, x, z, back, bias))
        x = result[-1].output
    return result


def _normalization(layer: Any, x: ops.Tensor) -> Stage:
    scale, shift = affine_of_sample(layer, x)
    z, back = pullback(lambda values: values * scale, x)
    return Stage(ops.multiply, scale, x, z, back, shift)


def _bias(layer: Any, x: ops.Tensor) -> ops.Tensor | None:
    if layer_types.is_a(layer, layer_types.BATCH_NORMALIZATION):
        return along(affine(layer, x.dtype)[1], channel_axis(layer, len(x.shape)), len(x.shape))
    bias = getattr(layer, "bias", None)
    if bias is None:
        return None
    bias = ops.cast(ops.convert_to_tensor(bias), x.dtype)
    return _spread(bias, layer, x) if channels_first(layer) else bias


def _spread(values: ops.Tensor, layer: Any, x: ops.Tensor) -> ops.Tensor:
    """One value per channel, reshaped to broadcast to the inputs and outputs of a kernel layer."""
    if not channels_first(layer):
        return values
    return along(values, 1, len(x.shape))
