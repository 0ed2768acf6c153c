"""Relative Attributing Propagation: Nam, Gur, Choi, Wolf, Lee; AAAI 2020; arXiv 1904.00605.

Notation: x is the layer input, w the kernel, z_ij = x_i w_ij the contributions, and R the relevance at
the outputs. A_j and B_j are the sums over i of the positive and of the absolute negative contributions
to neuron j. a / b = 0 where b = 0. Sums are per sample.

The paper does not cover neurons without contributions, whose sums are all 0. They would lose their
relevance. Here it is distributed in equal parts over the inputs that they see.
"""

from rap_keras import tensors as ops
from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import Facts, kernel_rule
from rap_keras.rules.arithmetic import (
    Box,
    Contributions,
    above_tiny,
    in_box,
    per_sample,
    total,
    with_rest,
)

# Neurons with this many inputs rarely have almost no positive contributions.
WIDE = 48
# A share of 2 A in A + B. Below it, A = (A + B + z) / 2 would lose more than two digits.
CANCELLED = 0.02


@kernel_rule
def inner(stage: Stage, relevance: ops.Tensor, facts: Facts, *, local: float = 0.0) -> ops.Tensor:
    """The rule of every linear layer except the first and the last, eqs. 7-9.

    C_i = sum_j R_j (z+_ij / A_j + |z-_ij| / (A_j + B_j)), minus a uniform shift over the activated
    neurons x_i != 0 (over all if there are none) that restores the sum. The sign is that of the
    contribution, whatever the sign of x. The bias gets nothing.

    The shift takes back the excess E_j = R_j B_j / (A_j + B_j) of each neuron with positive
    contributions. `local` is the part of it that is taken where it arose instead, by the sizes of the
    contributions: local E_j |z_ij| / (A_j + B_j) less. The paper has local = 0. Neurons without
    contributions then distribute their relevance over the inputs that they see.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = rap.inner(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    if not local:
        return _share(stage, relevance, facts.nonnegative)
    shared, size = _shared(stage, relevance, facts.nonnegative, local)
    shared = with_rest(shared, stage, relevance, size <= 0)
    return shift(shared, _activated(stage, relevance, facts.nonnegative), relevance, stage.samples)


@kernel_rule
def head(stage: Stage, relevance: ops.Tensor, facts: Facts) -> ops.Tensor:
    """The rule of the last linear layer, eqs. 5-6: R_i = sum_j R_j |z_ij| / sum_k |z_kj|.

    For one selected neuron this is eqs. 5-6: positive and negative contributions get the logit in
    proportion to their absolute values. The bias cancels, because the logit includes it.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, -3.0]])
        >>> (share,) = rap.head(layer, [x], [layer(x)], [keras.ops.array([[4.0]])])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    share = _absolute if facts.is_last else _share
    return share(stage, relevance, facts.nonnegative)


@kernel_rule
def first(stage: Stage, relevance: ops.Tensor, facts: Facts, *, box: Box) -> ops.Tensor:
    """The rule of the first linear layer of an image model, eq. 10 (z^B), for inputs in the box [l, h].

    R_i = sum_j R_j ((x_i - l_i) w+_ij + (x_i - h_i) w-_ij) / sum_k (the same), for l <= x <= h. The box
    is 0 where the image is padded, so padding gets no relevance.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> box = (keras.ops.zeros_like(x), 4 * keras.ops.ones_like(x))
        >>> (share,) = rap.first(layer, [x], [layer(x)], [layer(x)], box=box)
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    return in_box(stage, relevance, box) if facts.is_first else _share(stage, relevance, False)


def _shared(
    stage: Stage, relevance: ops.Tensor, nonnegative: bool, local: float = 0.0
) -> tuple[ops.Tensor, ops.Tensor]:
    """Eqs. 7 and 8, less the local part of the excess; and A + B."""

    def by_sign() -> tuple[ops.Tensor, ops.Tensor]:
        contributions = Contributions(stage, nonnegative)
        doubled, absolute = contributions.doubled, contributions.absolute
        u, v = ops.divide_no_nan(relevance, doubled), ops.divide_no_nan(relevance, absolute)
        if local:
            taken = _taken(u, doubled, absolute, local)
            u, v = u - 0.5 * taken, v - taken
        return contributions.back(u, v), absolute

    if nonnegative or stage.fan_in < WIDE:
        return by_sign()
    # Saves two maps: z+ = (|z| + z) / 2 and |z-| = (|z| - z) / 2, where that loses no digits.
    x, kernel = ops.abs(stage.x), ops.abs(stage.kernel)
    absolute, back = pullback(stage.with_kernel(kernel), x)
    doubled = absolute + stage.z

    def by_size() -> tuple[ops.Tensor, ops.Tensor]:
        above, size = above_tiny(doubled), above_tiny(absolute)
        u = ops.divide_no_nan(relevance, above)
        v = 0.5 * ops.divide_no_nan(relevance, size)
        both = u + v
        if local:
            both = both - _taken(u, above, size, local)
        return x * back(both) + stage.x * stage.back(u - v), size

    # Sample by sample, because a map must not depend on the rest of its batch.
    to, at = stage.samples
    cancelled = total(ops.cast(doubled < CANCELLED * absolute, relevance.dtype), at) > 0

    def either() -> tuple[ops.Tensor, ops.Tensor]:
        (signed, size), (sized, _) = by_sign(), by_size()
        return ops.where(per_sample(cancelled, stage.x, to), signed, sized), size

    some, every = ops.any(cancelled), ops.all(cancelled)
    return ops.cond(some, lambda: ops.cond(every, by_sign, either), by_size)


def _taken(
    quotient: ops.Tensor, doubled: ops.Tensor, absolute: ops.Tensor, local: float
) -> ops.Tensor:
    """local E_j / (A_j + B_j), from R_j / 2 A_j, 2 A_j and A_j + B_j."""
    negative = ops.divide_no_nan(absolute - 0.5 * doubled, absolute)
    return local * ops.divide_no_nan(quotient * doubled * negative, absolute)


def _activated(stage: Stage, relevance: ops.Tensor, nonnegative: bool) -> ops.Tensor:
    if nonnegative:
        return ops.sign(stage.x)
    # Not `!=`: without eager execution it compares the tensors as Python objects.
    return ops.cast(ops.not_equal(stage.x, 0), relevance.dtype)


def _share(stage: Stage, relevance: ops.Tensor, nonnegative: bool) -> ops.Tensor:
    shared, _ = _shared(stage, relevance, nonnegative)
    activated = _activated(stage, relevance, nonnegative)
    to, _ = stage.samples
    none = total(activated, to) <= 0

    def everywhere() -> ops.Tensor:
        dead = per_sample(ops.cast(none, shared.dtype), shared, to)
        return shift(shared, activated + dead, relevance, stage.samples)

    def ordinary() -> ops.Tensor:
        return shift(shared, activated, relevance, stage.samples)

    return ops.cond(ops.any(none), everywhere, ordinary)


def shift(
    shared: ops.Tensor,
    activated: ops.Tensor,
    relevance: ops.Tensor,
    samples: tuple[int, int] = (0, 0),
) -> ops.Tensor:
    """Eq. 9: subtracts the excess of the sum over the relevance in equal parts from activated neurons.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap
        >>> shared = keras.ops.array([[3.0, 1.0, 0.0]])
        >>> relevance = keras.ops.array([[2.0]])
        >>> keras.ops.convert_to_numpy(rap.shift(shared, keras.ops.sign(shared), relevance))
        array([[2., 0., 0.]], dtype=float32)
    """
    to, at = samples
    excess = ops.divide_no_nan(total(shared, to) - total(relevance, at), total(activated, to))
    return ops.without_product(shared, activated, per_sample(excess, shared, to))


def _absolute(stage: Stage, relevance: ops.Tensor, nonnegative: bool) -> ops.Tensor:
    x = stage.x if nonnegative else ops.abs(stage.x)
    z, back = pullback(stage.with_kernel(ops.abs(stage.kernel)), x)
    summed = above_tiny(z)
    shared = x * back(ops.divide_no_nan(relevance, summed))
    return with_rest(shared, stage, relevance, summed <= 0)
