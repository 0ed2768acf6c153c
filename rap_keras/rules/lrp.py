"""Layer-wise relevance propagation (LRP) and deep Taylor decomposition.

Bach et al., PLOS ONE 2015; Montavon et al., Pattern Recognition 2017; Montavon et al., "Layer-wise
relevance propagation: an overview", 2019.

Notation: x is the layer input, w the kernel, b the bias, z_ij = x_i w_ij the contributions, R the
relevance at the outputs, and z_j = sum_i z_ij + b_j. Contributions are positive or negative by their
own sign, whatever the sign of x. As in every LRP rule, the inputs do not get the relevance that biases
take. A quotient with denominator 0 is 0. With `even`, however, neurons without contributions and bias
share their relevance in equal parts over the inputs that they see.
"""

from typing import Any

from rap_keras import tensors as ops
from rap_keras.network import kernels
from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import Facts, Shares, TensorMap, Tensors, kernel_rule, layer_rule
from rap_keras.rules.arithmetic import Box, above_tiny, divide, in_box, tiny, with_rest

Pieces = list[tuple[ops.Tensor, ops.Tensor]]


@kernel_rule
def epsilon(
    stage: Stage,
    relevance: ops.Tensor,
    facts: Facts,
    *,
    epsilon: float = 1e-7,
    bias: bool = True,
    even: bool = True,
) -> ops.Tensor:
    """LRP-epsilon (Bach et al., eq. 58): R_i = sum_j z_ij R_j / (z_j + epsilon sign z_j), sign 0 = 1.

    `epsilon=0` is LRP-z (eq. 56). Without `bias`, z_j does not include b_j. Only LRP-z can have `even`
    shares: epsilon takes the relevance of neurons with z_j = 0.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[-1.0, 3.0]])
        >>> (share,) = lrp.epsilon(layer, [x], [layer(x)], [layer(x)], epsilon=0.0)
        >>> keras.ops.convert_to_numpy(share)
        array([[-1.,  3.]], dtype=float32)
    """
    z = stage.output if bias else stage.z
    share = stage.x * stage.back(_ratio(relevance, z, epsilon))
    return with_rest(share, stage, relevance, _is_zero(z)) if even and not epsilon else share


@kernel_rule
def alpha_beta(
    stage: Stage,
    relevance: ops.Tensor,
    facts: Facts,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    bias: str = "split",
    positive_inputs: bool = False,
    one_sided: bool = False,
    even: bool = True,
) -> ops.Tensor:
    """LRP-alpha-beta (Bach et al., eq. 60): R_i = sum_j (alpha z+_ij / P_j - beta z-_ij / N_j) R_j.

    P_j and N_j are the sums over i of the positive and of the negative contributions. `bias`, "split":
    b+ belongs to P and b- to N, as in the paper. "none": to neither ("ignore bias"). "whole": the whole
    bias is in both, as in iNNvestigate 2.1. `positive_inputs` sets negative inputs to 0, like the rule
    for BatchNormalization in iNNvestigate's presets. With beta = 0, `one_sided` keeps the relevance of
    neurons with P_j = 0: they distribute it in proportion to their negative contributions. After a ReLU,
    such neurons have no relevance.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[-1.0, 3.0]])
        >>> (share,) = lrp.alpha_beta(layer, [x], [layer(x)], [layer(x)], alpha=2.0, beta=1.0)
        >>> keras.ops.convert_to_numpy(share)
        array([[-2.,  4.]], dtype=float32)
    """
    x = ops.relu(stage.x) if positive_inputs else stage.x
    known = facts.nonnegative or positive_inputs
    positive = _Part(stage, _contributions(x, stage.kernel, known, 1), bias, 1)

    def one_side_more(shared: ops.Tensor) -> ops.Tensor:
        rest = ops.where(positive.is_zero, relevance, ops.zeros_like(relevance))
        negative_sum = stage.z if bias == "none" else stage.output  # where P = 0, z is N
        summed = shared + x * stage.back(divide(rest, negative_sum))
        none = ops.logical_and(positive.is_zero, _is_zero(negative_sum))
        return with_rest(summed, stage, relevance, none) if even else summed

    if not beta:
        shared = alpha * positive.back(relevance)
        if not one_sided or facts.rectified:
            return shared
        # Such neurons are rare: this saves a map.
        some = ops.any(ops.logical_and(positive.is_zero, ops.not_equal(relevance, 0)))
        return ops.cond(some, lambda: one_side_more(shared), lambda: shared)
    negative = _Part(stage, _contributions(x, stage.kernel, known, -1), bias, -1)
    shared = positive.back(alpha * relevance) - negative.back(beta * relevance)
    if not even or facts.rectified:
        return shared
    none = ops.logical_and(positive.is_zero, negative.is_zero)
    return with_rest(shared, stage, relevance, none)


@kernel_rule
def gamma(
    stage: Stage,
    relevance: ops.Tensor,
    facts: Facts,
    *,
    gamma: float = 0.25,
    signed: bool = False,
    even: bool = True,
) -> ops.Tensor:
    """LRP-gamma (Montavon et al. 2019, table 10.1), for x of any sign.

    R_i = sum_j (z_ij + gamma z+_ij) R_j / (z_j + gamma (sum_k z+_kj + b+_j)). With `signed`, neurons
    with z_j < 0 favour their negative contributions in the same way, so denominators cannot cancel.
    Such neurons have relevance only if no ReLU follows.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = lrp.gamma(layer, [x], [layer(x)], [layer(x)], gamma=1.0)
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """

    def favouring(relevance: ops.Tensor, sign: int) -> ops.Tensor:
        pieces = _contributions(stage.x, stage.kernel, facts.nonnegative, sign)
        mapped = _mapped(stage, pieces)
        favoured = ops.add_n([z for _, z, _ in mapped])
        if stage.bias is not None:
            favoured = favoured + ops.relu(sign * stage.bias)
        denominator = sign * stage.output + gamma * favoured
        s = divide(relevance, denominator)
        share = ops.add_n([x * back(s) for x, _, back in mapped])
        share = sign * stage.x * stage.back(s) + gamma * share
        return with_rest(share, stage, relevance, _is_zero(denominator)) if even else share

    if not signed or facts.rectified:
        return favouring(relevance, 1)
    above = ops.where(stage.output >= 0, relevance, ops.zeros_like(relevance))
    below = favouring(relevance - above, -1)
    return favouring(above, 1) + below


@kernel_rule
def z_plus(stage: Stage, relevance: ops.Tensor, facts: Facts) -> ops.Tensor:
    """z+ (Montavon et al. 2017, eq. 13), for x >= 0: R_i = sum_j x_i w+_ij R_j / sum_k x_k w+_kj.

    It assumes x >= 0. `alpha_beta(alpha=1, beta=0, bias="none")` gives the same there and is correct
    for every x.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = lrp.z_plus(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    z, back = pullback(stage.with_kernel(ops.relu(stage.kernel)), stage.x)
    return stage.x * back(divide(relevance, z))


@kernel_rule
def w_square(stage: Stage, relevance: ops.Tensor, facts: Facts, *, even: bool = True) -> ops.Tensor:
    """w² (Montavon et al. 2017, eq. 12): R_i = sum_j w_ij² R_j / sum_k w_kj². Padding has no w.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = lrp.w_square(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[2., 2.]], dtype=float32)
    """
    kernel, ones = ops.square(stage.kernel), ops.ones_like(stage.x)
    total, back = pullback(stage.with_kernel(kernel), ones)
    # The same for all samples; convolutions can sum the channels first.
    if len(kernel.shape) > 2 and kernels.mixes_channels(facts.layer):
        summed = ops.sum(kernel, -2, keepdims=True)
        total = stage.apply(_one_channel(facts.layer, ones[:1]), summed)
    share = back(divide(relevance, total))
    none = ops.broadcast_to(_is_zero(total), ops.shape(relevance))
    return with_rest(share, stage, relevance, none) if even else share


@kernel_rule
def flat(stage: Stage, relevance: ops.Tensor, facts: Facts) -> ops.Tensor:
    """Flat (Lapuschkin et al. 2017): w² with all weights 1, equal shares over the receptive field.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False)
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = lrp.flat(layer, [x], [layer(x)], [keras.ops.array([[4.0]])])
        >>> keras.ops.convert_to_numpy(share)
        array([[2., 2.]], dtype=float32)
    """
    ones = ops.ones_like(stage.x)
    if not kernels.mixes_channels(facts.layer):
        total, back = pullback(stage.with_kernel(ops.ones_like(stage.kernel)), ones)
        return back(divide(relevance, total))
    # All channels are equal, so one is enough.
    axis = kernels.channel_axis(facts.layer, len(stage.x.shape))
    one = _one_channel(facts.layer, ones)
    total, back = pullback(stage.with_kernel(ops.ones_like(stage.kernel[..., :1, :1])), one)
    summed = ops.sum(relevance, axis, keepdims=True)
    return ones * back(divide(summed, total * stage.kernel.shape[-2]))


@kernel_rule
def box(
    stage: Stage, relevance: ops.Tensor, facts: Facts, *, box: Box, even: bool = True
) -> ops.Tensor:
    """z^B (Montavon et al. 2017, eq. 14), for inputs between the bounds l and h.

    R_i = sum_j (z_ij - l_i w+_ij - h_i w-_ij) R_j / sum_k (the same).

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> bounds = (keras.ops.zeros_like(x), 4 * keras.ops.ones_like(x))
        >>> (share,) = lrp.box(layer, [x], [layer(x)], [layer(x)], box=bounds)
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    if facts.is_first:
        return in_box(stage, relevance, box, even)
    share = stage.x * stage.back(divide(relevance, stage.z))
    return with_rest(share, stage, relevance, _is_zero(stage.z)) if even else share


@layer_rule
def ratio(
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    transposed: TensorMap,
    *,
    epsilon: float = 0.0,
) -> Shares:
    """LRP-epsilon for layers that are linear without a kernel, such as average pooling.

    Example:
        >>> import keras
        >>> from rap_keras.rules import lrp
        >>> layer = keras.layers.GlobalAveragePooling1D()
        >>> x = keras.ops.array([[[1.0], [3.0]]])
        >>> (share,) = lrp.ratio(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share).ravel()
        array([0.5, 1.5], dtype=float32)
    """
    s = [_ratio(r, y, epsilon) for r, y in zip(relevances, outputs, strict=True)]
    return [x * g for x, g in zip(inputs, transposed(s), strict=True)]


def _ratio(relevance: ops.Tensor, z: ops.Tensor, epsilon: float) -> ops.Tensor:
    if not epsilon:
        return divide(relevance, z)
    added = ops.constant(epsilon, z.dtype)
    shifted = z + ops.where(z >= 0, added, -added)
    return relevance / shifted if epsilon > tiny(z.dtype) else divide(relevance, shifted)


def _contributions(x: ops.Tensor, kernel: ops.Tensor, nonnegative: bool, sign: int) -> Pieces:
    """Inputs and kernels whose maps sum to the absolute contributions of one sign."""
    # Each takes one pass over the kernel: copying a large one takes as long as its map.
    positive, negative = ops.relu(kernel), ops.minimum(kernel, ops.zeros([], kernel.dtype))
    if nonnegative:
        return [(x, positive) if sign > 0 else (-x, negative)]
    if sign > 0:
        return [(ops.relu(x), positive), (-ops.relu(-x), negative)]
    return [(-ops.relu(x), negative), (ops.relu(-x), positive)]


def _mapped(stage: Stage, pieces: Pieces) -> list[tuple[ops.Tensor, ops.Tensor, Any]]:
    return [(x, *pullback(stage.with_kernel(kernel), x)) for x, kernel in pieces]


class _Part:
    """The contributions of one sign, made positive by `pieces`, and their sum with the bias."""

    def __init__(self, stage: Stage, pieces: Pieces, bias: str, sign: int) -> None:
        self._mapped = _mapped(stage, pieces)
        added = None if stage.bias is None or bias == "none" else sign * stage.bias
        self._signed = bias == "whole"
        total = _sum([z for _, z, _ in self._mapped])
        if self._signed:
            self._total = total if added is None else total + added
        else:
            self._total = above_tiny(total, None if added is None else ops.relu(added))

    @property
    def is_zero(self) -> ops.Tensor:
        """Where there are no such contributions."""
        return _is_zero(self._total)

    def back(self, relevance: ops.Tensor) -> ops.Tensor:
        """Relevance in proportion to the contributions."""
        quotient = divide if self._signed else ops.divide_no_nan
        s = quotient(relevance, self._total)
        return _sum([x * back(s) for x, _, back in self._mapped])


def _is_zero(sums: ops.Tensor) -> ops.Tensor:
    return ops.abs(sums) <= tiny(sums.dtype)


def _sum(tensors: Tensors) -> ops.Tensor:
    return tensors[0] if len(tensors) == 1 else ops.add_n(tensors)


def _one_channel(layer: Any, x: ops.Tensor) -> ops.Tensor:
    axis = kernels.channel_axis(layer, len(x.shape))
    return ops.take(x, [0], axis=axis)
