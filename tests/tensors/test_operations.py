"""The operations that are not mere aliases have NumPy's values on every backend."""

import ml_dtypes
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.tensors import BACKEND, array, tensor
from keras.layers import Embedding, GlobalAveragePooling1D

from rap_keras import tensors as ops

pytestmark = pytest.mark.core
X = np.array([[0.5, -2.0, 3.0, 0.0], [1.0, 1.0, -1.0, 4.0], [0.0, -3.0, -3.0, 2.0]])


def test_quotients_by_zero_are_zero():
    numerator = np.array([[1.0, 0.0, -2.0, np.inf, np.nan, 3.0]])
    denominator = np.array([[0.0], [-0.0], [2.0]])
    found = array(ops.divide_no_nan(tensor(numerator), tensor(denominator)))
    np.testing.assert_array_equal(found[:2], np.zeros((2, 6)))
    np.testing.assert_array_equal(found[2], numerator[0] / 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quotients_leave_their_terms_as_they_are(dtype):
    numerator, denominator = tensor(X, dtype), tensor([[2.0, -0.0, -4.0, 0.0]] * 3, dtype)
    expected = X / [2, np.inf, -4, np.inf]
    for terms in ((numerator, denominator), (numerator, denominator[:1])):
        np.testing.assert_array_equal(array(ops.divide_no_nan(*terms)), expected)
    np.testing.assert_array_equal(array(numerator), X)
    np.testing.assert_array_equal(array(denominator)[0], [2, 0, -4, 0])


@pytest.mark.skipif(BACKEND != "torch", reason="only PyTorch divides tensors of two precisions")
def test_quotients_have_the_higher_precision():
    import torch

    with torch.no_grad():
        threes = tensor(np.full_like(X, 3), "float32")
        found = array(ops.divide_no_nan(tensor(X, "float64"), threes))
    np.testing.assert_array_equal(found, X / 3)
    assert found.dtype == np.float64


def test_ways_back_need_no_values(rng):
    x, kernel = tensor(rng.normal(size=(2, 5, 4, 3))), tensor(rng.normal(size=(3, 2, 3, 4)))
    maps = [
        lambda xs: [ops.matmul(xs[0][:, 0, 0], kernel[0, 0])],
        lambda xs: [ops.conv(xs[0], kernel, (2, 1), "same", (1, 1), 1)],
        lambda xs: [ops.conv(xs[0], kernel[:1, :1], (2, 1), "same", (1, 1), 1)],
    ]
    for function in maps:
        (z,), expected = ops.vjp(function, [x])
        with ops.without_values():
            _, back = ops.vjp(function, [x])
        assert_same(back([z])[0], array(expected([z])[0]), 1e-12)


def test_an_identical_tensor_has_no_mask():
    x = Embedding(3, 2, mask_zero=True)(np.array([[0, 1]]))
    masked = GlobalAveragePooling1D()(x)
    assert_same(array(masked), array(x)[:, 1])
    assert_same(array(GlobalAveragePooling1D()(ops.identity(x))), array(x).mean(1))


def test_products_with_zero_are_zero():
    found = array(
        ops.multiply_no_nan(tensor([np.inf, np.nan, 2.0, np.inf]), tensor([0, 0, 3, 1.0]))
    )
    np.testing.assert_array_equal(found, [0, 0, 6, np.inf])


@pytest.mark.parametrize(
    ("parts", "axis"), [(2, 1), (3, 0), ([1, 2], 0), ([3, 1], 1), ([1, 1, 2], -1)], ids=str
)
def test_parts_of_a_tensor(parts, axis):
    places = parts if isinstance(parts, int) else np.cumsum(parts)[:-1]
    found, expected = ops.split(tensor(X), parts, axis), np.split(X, places, axis)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array(one), other)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 1), (1, 1)], ids=str)
def test_sums_to_the_shape_of_what_was_broadcast(shape):
    axes = tuple(k for k, n in enumerate(shape) if n == 1)
    found = array(ops.reduced(tensor(X), tensor(np.zeros(shape))))
    np.testing.assert_array_equal(found, X.sum(axes, keepdims=True) if axes else X)


REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name):
    x = np.stack([X, 2 * X])
    for axis in (None, 1, -1, [0, 2]):
        for keepdims in (False, True)[: 1 if axis is None else 2]:
            taken = tuple(axis) if isinstance(axis, list) else axis
            expected = REDUCTIONS[name](x, taken, keepdims=keepdims)
            found = array(getattr(ops, name)(tensor(x), axis, keepdims=keepdims))
            assert found.shape == expected.shape
            assert_same(found, expected, 1e-12)
    assert_same(getattr(ops, name)(tensor(x), []), x, 1e-12)


def test_truth_of_some_and_of_all():
    assert array(ops.any(tensor(X > 0), 1)).tolist() == [True, True, True]
    assert array(ops.all(tensor(X > -2.5), 1)).tolist() == [True, True, False]


def test_the_first_of_equal_values_is_the_largest():
    found = array(ops.argmax(tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), 1))
    np.testing.assert_array_equal(found, [1, 0])
    assert found.dtype == np.int32


def test_joined_tensors():
    np.testing.assert_array_equal(array(ops.add_n([tensor(X)] * 3)), 3 * X)
    np.testing.assert_array_equal(array(ops.bias_add(tensor(X), tensor(X[0]))), X + X[0])
    joined = ops.concatenate([tensor(X), tensor(2 * X)], 1)
    np.testing.assert_array_equal(array(joined), np.concatenate([X, 2 * X], 1))
    np.testing.assert_array_equal(array(ops.stack([tensor(X), tensor(2 * X)], 2))[..., 1], 2 * X)
    assert array(ops.stack([1, tensor(2)])).tolist() == [1, 2]


def test_places():
    np.testing.assert_array_equal(array(ops.take(tensor(X), tensor([2, 0]), axis=1)), X[:, [2, 0]])
    expected = np.eye(4, dtype="float32")[[3, 0]]
    np.testing.assert_array_equal(array(ops.one_hot(tensor([3, 0]), 4, dtype="float32")), expected)
    mask = array(ops.causal_mask(tensor(np.zeros((2, 3, 3)))))
    np.testing.assert_array_equal(mask, np.tril(np.ones((2, 3, 3), bool)))
    padded = array(ops.pad(tensor(X), [[0, 0], [1, 2]]))
    np.testing.assert_array_equal(padded, np.pad(X, [(0, 0), (1, 2)]))


def test_mean_and_variance():
    x = np.stack([X, X**2])
    mean, variance = ops.moments(tensor(x), [0, 2], keepdims=True)
    assert_same(mean, x.mean((0, 2), keepdims=True), 1e-12)
    assert_same(variance, x.var((0, 2), keepdims=True), 1e-12)


@pytest.mark.parametrize("size", [(6, 8), (2, 3), (5, 7), (3, 4), (1, 1)], ids=str)
def test_images_of_another_size(size):
    image = np.stack([X, X[::-1] ** 2], -1).astype("float32")
    found = array(ops.resize(tensor(image[np.newaxis]), size))
    assert found.shape == (1, *size, 2)
    expected = image.astype(float)
    for axis, (length, before) in enumerate(zip(size, X.shape, strict=True)):
        places = np.clip((np.arange(length) + 0.5) * before / length - 0.5, 0, before - 1)
        low = np.floor(places).astype(int)
        share = (places - low).reshape([-1 if k == axis else 1 for k in range(3)])
        at = [np.take(expected, np.minimum(low + k, before - 1), axis) for k in (0, 1)]
        expected = (1 - share) * at[0] + share * at[1]
    assert_same(found[0], expected, 1e-6)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_larger_and_the_smaller_of_two(name):
    for other in (0, 0.5, X[:, :1], X.T[0, 0]):
        given = other if np.isscalar(other) else tensor(other)
        found = array(getattr(ops, name)(tensor(X), given))
        assert found.dtype == X.dtype
        np.testing.assert_array_equal(found, getattr(np, name)(X, other))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "bool", "bfloat16", "float16"])
def test_values_and_dtypes_come_back(dtype):
    expected = X.astype(getattr(ml_dtypes, dtype, None) or dtype)
    made = ops.constant(X.astype("float32" if dtype == "bfloat16" else dtype), dtype)
    assert ops.dtype_name(made.dtype) == dtype
    assert ops.is_floating(made.dtype) == ("float" in dtype)
    found = ops.to_numpy(made)
    assert found.dtype == expected.dtype == ops.numpy_dtype(dtype)
    np.testing.assert_array_equal(found, expected)
    assert ops.is_tensor(made)
    assert not ops.is_tensor(X)
    assert ops.dtype_name(ops.cast(tensor(X), dtype).dtype) == dtype


def test_double_precision_stays_double():
    x = tensor(X)
    results = {
        "divide": ops.divide_no_nan(x, x),
        "product": ops.matmul(x, ops.transpose(x)),
        "contraction": ops.tensordot(x, ops.transpose(x), 1),
        "sum": ops.einsum("ab,cb->ac", x, x),
        "largest": ops.maximum(x, 0),
        "smallest": ops.minimum(x, x),
        "rounded": ops.floor(x),
        "filled": ops.full([2], x[0, 0]),
        "reduced": ops.reduced(x, x[:1]),
        "chosen": ops.where(x > 0, x, ops.zeros_like(x)),
    }
    assert {ops.dtype_name(y.dtype) for y in results.values()} == {"float64"}
    third = 1 / 3
    exact = array(ops.matmul(tensor([[third]], "float64"), tensor([[third]], "float64")))
    assert exact[0, 0] == third * third


def test_a_branch_is_taken():
    for value in (1.0, -1.0):
        x = tensor([value])
        found = ops.cond(ops.all(x > 0), lambda x=x: 2 * x, lambda x=x: 3 * x)
        assert array(found).tolist() == [2.0 if value > 0 else -3.0]


def test_limits_of_dtypes():
    assert ops.highest("float32") == np.finfo("float32").max
    assert ops.highest("uint8") == 255
    assert ops.highest("bool") == 1
    assert ops.lowest("float16") == np.finfo("float16").min
    assert ops.lowest(tensor([1], "int32").dtype) == np.iinfo("int32").min
    assert [ops.itemsize(d) for d in ("bfloat16", "float64", "int8")] == [2, 8, 1]
    assert float(ops.finfo("bfloat16").eps) == 2**-7
    assert (ops.elements((2, 3)), ops.elements((None, 3)), ops.elements(())) == (6, None, 1)


def test_structures():
    nested = {"b": [tensor([1.0]), tensor([2.0])], "a": tensor([3.0])}
    assert [array(t).tolist() for t in ops.flatten(nested)] == [[3.0], [1.0], [2.0]]
    doubled = ops.map_structure(lambda t: 2 * t, nested)
    assert array(doubled["b"][1]).tolist() == [4.0]
