"""Products of tensors: attention as a linear map of its values, and AttnLRP's rules for it."""

import functools

import keras
import numpy as np
import pytest
from helpers import reference
from helpers.layer_cases import close
from helpers.tensors import array, graphed, tensor

from rap_keras.rules import contraction, lrp, rap

EQUATIONS = {
    "one head": ("bts,bsd->btd", (3, 4), (4, 2)),
    "heads": ("bhts,bshd->bthd", (2, 3, 4), (4, 2, 2)),
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def matrix_of(equation, weights, shape):
    """The linear map of one sample's values as a matrix, column by column."""
    size = int(np.prod(shape))
    rows = []
    for k in range(size):
        one = np.zeros(size)
        one[k] = 1
        rows.append(np.einsum(equation, weights[None], one.reshape(1, *shape)).ravel())
    return np.stack(rows)


def applied(share, equation, a, v, relevance, **options):
    def recompute(operands):
        return [keras.ops.einsum(equation, *operands)]

    @graphed
    def run(a, v, relevance):
        outputs = recompute([a, v])
        return share(None, [a, v], outputs, [relevance], recompute=recompute, **options)

    return run(*map(tensor, (a, v, relevance)))


@pytest.fixture(params=EQUATIONS)
def case(request, rng):
    equation, of_weights, of_values = EQUATIONS[request.param]
    a = softmax(rng.normal(size=(2, *of_weights)))
    v = rng.normal(size=(2, *of_values))
    v[0, 0] = 0
    return equation, a, v, rng.normal(size=np.einsum(equation, a, v).shape)


def test_the_values_take_all_by_the_rule_of_linear_layers(case):
    equation, a, v, r = case
    shares = applied(
        contraction.contraction, equation, a, v, r, rule=rap.inner, weights=[True, False]
    )
    assert shares[0] is None
    for k in range(2):
        matrix = matrix_of(equation, a[k], v.shape[1:])
        close(array(shares[1][k]).ravel(), reference.inner(v[k].ravel(), matrix, r[k].ravel()))


@pytest.mark.parametrize("weights", [[False, False], [True, True]])
def test_without_weights_each_factor_takes_half(case, weights):
    equation, a, v, r = case
    rule = functools.partial(lrp.epsilon, epsilon=0.0)
    shares = applied(contraction.contraction, equation, a, v, r, rule=rule, weights=weights)
    s = r / np.einsum(equation, a, v) / 2
    left, right = equation.split("->")[0].split(",")
    out = equation.split("->")[1]
    close(array(shares[0]), a * np.einsum(f"{out},{right}->{left}", s, v), 1e-9)
    close(array(shares[1]), v * np.einsum(f"{out},{left}->{right}", s, a), 1e-9)


def test_bilinear_is_proposition_3_3(case):
    equation, a, v, r = case
    shares = applied(contraction.bilinear, equation, a, v, r, epsilon=1e-3)
    z = np.einsum(equation, a, v)
    found = [np.zeros(a.shape[1:]), np.zeros(v.shape[1:])]
    if equation == "bts,bsd->btd":
        for t, s, d in np.ndindex(3, 4, 2):
            part = a[0, t, s] * v[0, s, d] * r[0, t, d]
            part /= 2 * z[0, t, d] + np.copysign(1e-3, z[0, t, d])
            found[0][t, s] += part
            found[1][s, d] += part
        close(array(shares[0][0]), found[0])
        close(array(shares[1][0]), found[1])
    total = sum(array(s).sum() for s in shares)
    kept = 2 * z / (2 * z + np.copysign(1e-3, z))
    np.testing.assert_allclose(total, (r * kept).sum(), rtol=1e-9)


def test_softmax_is_proposition_3_1(rng):
    layer = keras.layers.Softmax(dtype="float64")
    x, r = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    x[0, 0, 0] = -np.inf  # masked out
    s = softmax(x)
    r[0, 0, 0] = 0
    (share,) = contraction.softmax(layer, [tensor(x)], [tensor(s)], [tensor(r)])
    finite = np.where(np.isfinite(x), x, 0)
    expected = [
        [
            [finite[b, t, i] * (r[b, t, i] - s[b, t, i] * r[b, t].sum()) for i in range(4)]
            for t in range(3)
        ]
        for b in range(2)
    ]
    close(array(share), np.array(expected))
