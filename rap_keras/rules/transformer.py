"""The rule of transformer attribution (Chefer, Gur and Wolf, CVPR 2021, arXiv 2012.09838) for sums."""

from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.rules import Samples, Shares, Tensors, layer_rule, routing
from rap_keras.rules.arithmetic import divide, per_sample, total


@layer_rule
def normalized_sum(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    samples: Samples,
    *,
    statistics: Sequence[bool] = (),
) -> Shares:
    """Sums of several tensors: the shares of LRP-z, each rescaled as a whole.

    The relevance R_k = x_k R / sum x of a summand, with the sum r_k over all its elements in a sample,
    is multiplied by |r_k| / (sum_l |r_l|) * (sum R) / r_k. The sums of the summands thus have the sign
    of the relevance and add up to it, whatever cancels.

    Example:
        >>> import keras
        >>> from rap_keras.rules import transformer
        >>> x, y = keras.ops.array([[3.0]]), keras.ops.array([[-1.0]])
        >>> relevance = keras.ops.array([[4.0]])
        >>> layer = keras.layers.Add()
        >>> shares = transformer.normalized_sum(layer, [x, y], [x + y], [relevance])
        >>> [keras.ops.convert_to_numpy(share).item() for share in shares]
        [3.0, 1.0]
    """
    shares = routing.share_sum(layer, inputs, [], relevances, statistics=statistics, by="signed")
    taken = [k for k, share in enumerate(shares) if share is not None]
    if len(taken) < 2:
        return shares
    to, (at,) = samples
    sums = {k: total(shares[k], to[k]) for k in taken}
    given = total(relevances[0], at)
    sizes = ops.add_n([ops.abs(sums[k]) for k in taken])
    for k in taken:
        # |r| / r is the sign of r.
        factor = divide(ops.sign(sums[k]) * given, sizes)
        shares[k] = shares[k] * per_sample(factor, shares[k], to[k])
    return shares
