"""RAP's rules, beyond the tests of all rules of kernel layers."""

import keras
import numpy as np
import pytest
from helpers.kernel_rules import ONE_OF_EACH, arrays_of
from helpers.layer_cases import ALL_CASES, close, unoptimized_graphs  # noqa: F401
from helpers.tensors import array, tensor

from rap_keras.rules import name_of, rap

pytestmark = pytest.mark.usefixtures("unoptimized_graphs")


def test_filters_without_weights_share_evenly():
    """As some trained networks have them."""
    layer = keras.layers.Conv2D(2, 3, padding="same", use_bias=False, dtype="float64")
    layer.build((None, 4, 4, 2))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2))
    kernel[..., 1] = 0
    layer.set_weights([kernel])
    x, r = np.ones((1, 4, 4, 2)), np.zeros((1, 4, 4, 2))
    r[0, 0, 1, 1], r[0, 2, 2, 1] = (
        12,
        18,
    )  # at the border, where a neuron sees 2 x 3 pixels, and inside
    expected = np.zeros_like(x)
    expected[:, :2, :3] += 1
    expected[:, 1:, 1:] += 1
    x, r, *box = map(tensor, (x, r, x - 1, x + 1))
    close(rap.head(layer, [x], [], [r])[0], expected)
    close(rap.first(layer, [x], [], [r], box=box)[0], expected)


@pytest.mark.parametrize("rule", [rap.inner, rap.head], ids=name_of)
@pytest.mark.parametrize("scale", [1e-250, 1e-12, 1e12])
def test_the_scale_of_the_input_does_not_matter(rule, scale):
    (defined,) = (one for one in ONE_OF_EACH if one.rule is rule)
    for case in ALL_CASES[::9]:
        x, *others = arrays_of(case, ["signed"])
        found = defined.computed(case, [x * scale, *others])
        close(found, defined.computed(case, [x, *others]))


def test_inner_by_hand():
    """x = (1, 2, -1), w = (3, -1, 1): z = (3, -2, -1), A = 3, B = 3, R = 6.

    C = 6 (3/3, 2/6, 1/6) = (6, 2, 1); the excess of 3 is taken in three equal parts.
    """
    layer = keras.layers.Dense(1, dtype="float64")
    layer.build((None, 3))
    layer.set_weights([np.array([[3.0], [-1.0], [1.0]]), np.array([0.5])])
    x, r = tensor([[1.0, 2.0, -1.0]], "float64"), tensor([[6.0]], "float64")
    close(rap.inner(layer, [x], [layer(x)], [r])[0], [[5.0, 1.0, 0.0]])
    close(rap.head(layer, [x], [layer(x)], [r])[0], [[3.0, 2.0, 1.0]])
    box = (tensor([[0.0, 0.0, -1.0]], "float64"), tensor([[2.0, 2.0, 1.0]], "float64"))
    # (x - l) w+ = (3, ., 0); (x - h) w- = (., 0, .)
    close(rap.first(layer, [x], [layer(x)], [r], box=box)[0], [[6.0, 0.0, 0.0]])


def test_other_samples_of_a_batch_make_no_difference():
    """Only a sample whose contributions cancel is computed in another way."""
    generator = np.random.default_rng(0)
    layer = keras.layers.Dense(6, use_bias=False)
    layer.build((None, 2 * rap.WIDE))
    sample = generator.normal(size=2 * rap.WIDE).astype(np.float32)
    cancelled = -abs(sample) * np.sign(array(layer.kernel)[:, 0])
    r = tensor(generator.normal(size=(2, 6)).astype(np.float32))

    def batched_with(other):
        x = tensor(np.stack([sample, other]))
        return array(rap.inner(layer, [x], [], [r])[0])

    alone, together, both = batched_with(sample), batched_with(cancelled), batched_with(-cancelled)
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(both[0], alone[0])
    contributions = cancelled[:, None] * array(layer.kernel)
    assert contributions[:, 0].max() <= 0
    np.testing.assert_allclose(together[1].sum(), array(r[1]).sum(), atol=1e-4)
