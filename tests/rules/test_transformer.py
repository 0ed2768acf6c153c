"""The rule of transformer attribution for sums, against its equations."""

import keras
import numpy as np
import pytest
from helpers.layer_cases import close
from helpers.tensors import array, tensor

from rap_keras.rules import transformer


@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_rescaled_as_a_whole(count, rng):
    xs = [rng.normal(size=(2, 3, 4)) for _ in range(count)]
    r = rng.normal(size=(2, 3, 4))
    found = transformer.normalized_sum(
        keras.layers.Add(), [tensor(x) for x in xs], [tensor(sum(xs))], [tensor(r)]
    )
    for n in range(2):
        shares = [np.zeros((3, 4)) for _ in xs]
        for at in np.ndindex(3, 4):
            for share, x in zip(shares, xs, strict=True):
                share[at] = x[n][at] * r[n][at] / sum(other[n][at] for other in xs)
        size = sum(abs(share.sum()) for share in shares)
        for part, share in zip(found, shares, strict=True):
            expected = share * abs(share.sum()) / size * r[n].sum() / share.sum()
            close(array(part)[n], expected, 1e-9)
    close(sum(array(part).sum((1, 2)) for part in found), r.sum((1, 2)), 1e-9)


def test_a_constant_takes_nothing(rng):
    x, r = tensor(rng.normal(size=(2, 3))), tensor(rng.normal(size=(2, 3)))
    shares = transformer.normalized_sum(
        keras.layers.Add(), [x, x], [], [r], statistics=[False, True]
    )
    close(array(shares[0]), array(r))
    assert shares[1] is None
    (alone,) = transformer.normalized_sum(None, [x], [], [r])
    close(array(alone), array(r))
