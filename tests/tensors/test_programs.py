"""Derivatives, and programs that see the values that weights have at each call."""

import keras
import numpy as np
import pytest
from helpers.compare import FLOAT32, FLOAT64, assert_same
from helpers.tensors import BACKEND, array, tensor

from rap_keras import tensors as ops

pytestmark = pytest.mark.core


def test_the_transposed_derivative(rng):
    x, y, s = rng.normal(size=(3, 2, 3))
    (product,), back = ops.vjp(lambda xs: [xs[0] ** 2 * xs[1]], [tensor(x), tensor(y)])
    assert_same(product, x**2 * y, FLOAT64)
    for factor in (1.0, 2.0):  # it can be called again
        by_x, by_y = back([tensor(factor * s)])
        assert_same(by_x, 2 * x * y * factor * s, FLOAT64)
        assert_same(by_y, x**2 * factor * s, FLOAT64)


def test_values_without_the_way_back(rng):
    x = tensor(rng.normal(size=(2, 3)))
    with ops.only_values():
        (y,), back = ops.vjp(lambda xs: [xs[0] ** 2], [x])
    assert back is None
    (expected,), back = ops.vjp(lambda xs: [xs[0] ** 2], [x])
    assert_same(y, expected, FLOAT64)
    assert_same(back([tensor(np.ones((2, 3)))])[0], 2 * array(x), FLOAT64)


def test_what_has_no_influence_has_no_derivative(rng):
    x, y, s = rng.normal(size=(3, 2, 3))
    _, back = ops.vjp(lambda xs: [3 * xs[0]], [tensor(x), tensor(y)])
    by_x, by_y = back([tensor(s)])
    assert_same(by_x, 3 * s, FLOAT64)
    np.testing.assert_array_equal(array(by_y), np.zeros((2, 3)))
    _, back = ops.vjp(lambda xs: [tensor(s)], [tensor(x)])
    np.testing.assert_array_equal(array(back([tensor(s)])[0]), np.zeros((2, 3)))


def test_several_outputs_some_of_integers(rng):
    x, s, t = rng.normal(size=(3, 2, 3))

    def function(xs):
        return [2 * xs[0], ops.argmax(xs[0], 1), xs[0] ** 3]

    outputs, back = ops.vjp(function, [tensor(x)])
    np.testing.assert_array_equal(array(outputs[1]), x.argmax(1))
    assert_same(outputs[2], x**3, FLOAT64)
    (by_x,) = back([tensor(s), ops.zeros_like(outputs[1]), tensor(t)])
    assert_same(by_x, 2 * s + 3 * x**2 * t, FLOAT64)


def test_a_derivative_inside_another(rng):
    x = rng.normal(size=(2, 3))

    def slope(xs):
        return ops.vjp(lambda ys: [ys[0] ** 3], xs)[1]([ops.ones_like(xs[0])])

    values, _ = ops.vjp(slope, [tensor(x)])
    assert_same(values[0], 3 * x**2, FLOAT64)


@pytest.fixture
def layer():
    layer = keras.layers.Dense(2, dtype="float64")
    layer.build((None, 3))
    return layer


def trained(layer, rng):
    """The kernel after a step of training."""
    layer.kernel.assign(rng.normal(size=(3, 2)))
    return array(layer.kernel)


def test_programs_read_the_weights_at_each_call(layer, rng):
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    spec = ops.Spec([None, 3], "float64")
    other = ops.Spec([None, 2], "float64")

    def function(inputs, factor):
        return {"output": ops.matmul(inputs[0], ops.convert_to_tensor(layer.kernel)) * factor}

    run = ops.compiled(function, [spec], [other], layer.variables)
    for _ in range(2):
        kernel = trained(layer, rng)
        found = run([x], y)["output"]
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float64
        assert_same(found, x @ kernel * y, FLOAT64)
        assert_same(run([x[:1]], y[:1])["output"], (x @ kernel * y)[:1], FLOAT64)


def test_programs_read_weights_that_they_were_not_given(layer, rng):
    x, columns = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    spec, column = ops.Spec([None, 3], "float64"), ops.Spec([None], "float64")

    def product(inputs):
        return ops.matmul(inputs[0], ops.convert_to_tensor(layer.kernel))

    run = ops.compiled(product, [spec], [])
    by_column = ops.compiled_by_column(
        lambda inputs: lambda each: product(inputs) * each[:, None], [spec], [], column
    )
    for _ in range(2):
        expected = x @ trained(layer, rng)
        assert_same(run([x]), expected, FLOAT64)
        for each, found in zip(columns.T, by_column([x], columns), strict=True):
            assert_same(found, expected * each[:, None], FLOAT64)


def test_programs_may_make_variables(rng):
    x = rng.normal(size=(4, 3))

    def function(inputs):
        made = keras.Variable(
            lambda shape, dtype: 2 * keras.ops.ones(shape, dtype), (3,), "float64"
        )
        return inputs[0] * ops.convert_to_tensor(made)

    run = ops.immediate(function)
    for _ in range(2):
        assert_same(run([x]), 2 * x, FLOAT64)


def test_programs_of_columns_read_the_weights_at_each_call(layer, rng):
    x, columns = rng.normal(size=(4, 3)), rng.normal(size=(4, 5))
    spec, column = ops.Spec([None, 3], "float64"), ops.Spec([None], "float64")

    def function(inputs):
        product = ops.matmul(inputs[0], ops.convert_to_tensor(layer.kernel))
        return lambda each: [product * each[:, None], product]

    run = ops.compiled_by_column(function, [spec], [], column, layer.variables)
    for _ in range(2):
        kernel = trained(layer, rng)
        for k in (1, 5):
            results = run([x], columns[:, :k])
            assert len(results) == k
            for (scaled, alone), each in zip(results, columns.T, strict=False):
                assert_same(scaled, x @ kernel * each[:, None], FLOAT64)
                assert_same(alone, x @ kernel, FLOAT64)


def test_what_does_not_depend_on_a_column_is_computed_once(rng):
    x, shift, columns = rng.normal(size=(2, 3)), rng.normal(size=2), rng.normal(size=(2, 11, 1))
    specs = [ops.Spec([None, 3], "float64")], [ops.Spec([None], "float64")]
    calls = []

    def function(inputs, other):
        calls.append(1)
        return lambda each: inputs[0] * each + other[:, None]

    with ops.wide():
        run = ops.compiled_by_column(function, *specs, ops.Spec([None, 1], "float64"))
        found = run([x], shift, columns)
    assert len(calls) == 1
    assert_same(np.stack(found, 1), x[:, None] * columns + shift[:, None, None], FLOAT64)


def test_functions_for_few_calls_read_the_weights_at_each_call(layer, rng):
    x = rng.normal(size=(4, 3))
    run = ops.immediate(
        lambda xs: ops.matmul(xs[0], ops.convert_to_tensor(layer.kernel)), layer.variables
    )
    for _ in range(2):
        kernel = trained(layer, rng)
        assert_same(run([x]), x @ kernel, FLOAT64)


@pytest.mark.skipif(BACKEND != "torch", reason="only PyTorch has an inference mode")
@pytest.mark.parametrize("made_inside", [False, True])
def test_derivatives_in_inference_mode(made_inside, layer, rng):
    import torch

    x, column = rng.normal(size=(4, 3)), np.ones((4, 1, 2))

    def function(inputs):
        _, back = ops.vjp(lambda xs: [layer(xs[0]) ** 2], inputs)
        return lambda each: back([each])[0]

    with torch.inference_mode():
        if made_inside:
            layer = keras.layers.Dense(2, dtype="float64")
            layer.build((None, 3))
        run = ops.immediate(lambda xs: function(xs)(tensor(column[:, 0])), layer.variables)
        by_column = ops.compiled_by_column(function, [], [], None, layer.variables)
        found = [run([x]), *by_column([x], column)]
        (alone,) = ops.vjp(lambda xs: [xs[0] ** 2], [tensor(x)])[1]([tensor(x)])
    kernel = array(layer.kernel)
    for each in found:
        assert_same(each, 2 * (x @ kernel) @ kernel.T, FLOAT64)
    assert_same(alone, 2 * x**2, FLOAT64)


@pytest.mark.skipif(BACKEND != "torch", reason="only PyTorch has autocast")
def test_precision_under_autocast(rng):
    import torch

    x, kernel = (
        rng.normal(size=(4, 3)).astype(np.float32),
        rng.normal(size=(3, 2)).astype(np.float32),
    )

    def function(inputs):
        y, back = ops.vjp(lambda xs: [ops.matmul(xs[0], tensor(kernel))], inputs)
        return lambda each: [y[0], back([each])[0]]

    ones = np.ones((4, 1, 2), np.float32)
    run = ops.immediate(lambda xs: function(xs)(tensor(ones[:, 0])))
    by_column = ops.compiled_by_column(function, [], [], None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [run([x]), *by_column([x], ones)]
    for y, gradient in found:
        assert_same(y, x @ kernel, FLOAT32)
        assert_same(gradient, ones[:, 0] @ kernel.T, FLOAT32)


@pytest.mark.skipif(
    BACKEND == "tensorflow", reason="TensorFlow's programs read variables themselves"
)
def test_values_that_are_given_reach_through_a_scope_inside(layer):
    from rap_keras.tensors.scopes import reading

    bias, kernel = ops.convert_to_tensor(layer.bias) + 1, ops.convert_to_tensor(layer.kernel) + 2
    with reading([layer.kernel, layer.bias], [kernel, bias]), reading([layer.bias], [bias + 5]):
        assert array(layer.bias).tolist() == [6, 6]
        np.testing.assert_array_equal(array(layer.kernel), array(kernel))
    assert array(layer.bias).tolist() == [0, 0]


def test_a_value_is_computed_at_once_while_a_program_is_made():
    seen = []

    def function(inputs):
        with ops.at_once():
            seen.append(float(array(ops.sum(tensor([1.0, 2.0])))))
        return inputs[0]

    ops.compiled(function, [ops.Spec([None])])([np.ones(2, "float32")])
    assert set(seen) == {3.0}


def test_sums_can_be_double():
    def function(inputs):
        with ops.wide():
            return ops.sum(ops.cast(inputs[0], "float64"))

    x = np.array([1e8, 1, -1e8], np.float32)
    assert ops.compiled(function, [ops.Spec([None])])([x]) == 1


def test_the_backend_says_what_it_is():
    assert ops.version()[0].isdigit()
    assert ops.device() in ("CPU", "GPU", "MPS", "TPU")
