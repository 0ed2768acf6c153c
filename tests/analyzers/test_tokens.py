"""Whole numbers among the inputs have no derivative, and the other inputs are explained."""

import functools

import keras
import numpy as np
import pytest
from helpers.networks import biased
from keras import layers, ops

from rap_keras import InputError, create_analyzer

METHODS = {
    "gradient": {},
    "input_t_gradient": {},
    "guided_backprop": {},
    "deconvnet": {},
    "integrated_gradients": {"steps": 16},
    "smoothgrad": {"augment_by_n": 3},
    "deep_lift": {},
}


@functools.cache
def with_tokens(dtype, cast):
    """A bundled column, a mask and a column of floats."""
    ids = keras.Input((4,), dtype=dtype, name="ids")
    mask = keras.Input((4,), dtype="bool" if dtype == "int32" else dtype, name="mask")
    amount = keras.Input((5,), name="amount")
    x = layers.Embedding(9, 3)(ops.cast(ids, "int32") if cast else ids)
    weights = ops.cast(mask, "float32")
    if dtype != "int32":  # only by whether it is 0
        weights = ops.cast(ops.cast(mask, "int32"), "float32")
    x = ops.sum(x * ops.expand_dims(weights, -1), 1)
    x = layers.Concatenate()([x, layers.Dense(4, activation="relu")(amount)])
    return biased(keras.Model([ids, mask, amount], layers.Dense(2)(x)))


def samples(rng, n=3):
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])[:n]
    amount = rng.normal(size=(n, 5)).astype(np.float32)
    return [rng.integers(0, 9, (n, 4)), mask, amount]


@pytest.mark.parametrize(
    ("dtype", "cast"), [("int32", False), ("float32", False), ("float32", True)]
)
@pytest.mark.parametrize("method", METHODS)
def test_floats_next_to_tokens_are_explained(method, dtype, cast, rng):
    model, x = with_tokens(dtype, cast), samples(rng)
    analyzer = create_analyzer(method, model, **METHODS[method])
    with pytest.warns(
        UserWarning, match="zeros to inputs without a derivative: 'ids', 'mask' contain"
    ):
        maps = analyzer.analyze(x)
    assert not maps[0].any()
    assert not maps[1].any()
    assert abs(maps[2]).max() > 0
    if method in ("integrated_gradients", "deep_lift"):
        # Tokens are the same in the reference: the floats account for all of the difference.
        with pytest.warns(UserWarning, match="without a derivative"):
            assert abs(analyzer.convergence_delta(x)).max() < 0.05


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "deep_lift"])
def test_a_model_of_tokens_alone_has_no_derivative(method, dtype, rng):
    ids = keras.Input((4,), dtype=dtype, name="ids")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids))
    model = keras.Model(ids, layers.Dense(2)(x))
    tokens = rng.integers(0, 9, (3, 4))
    with pytest.raises(
        InputError, match=r"but 'ids' contains whole numbers.*such as .rap., explain them"
    ):
        create_analyzer(method, model).analyze(tokens)
    assert abs(create_analyzer("rap", model).analyze(tokens)).max() > 0


def test_tokens_among_floats_give_a_warning(rng):
    row = keras.Input((4,), name="row")
    token = layers.Flatten()(layers.Embedding(9, 3)(row[:, :1]))
    model = keras.Model(row, layers.Dense(2)(layers.Concatenate()([token, row[:, 1:]])))
    x = rng.normal(size=(2, 4)).astype("float32")
    x[:, 0] = (3, 8)
    with pytest.warns(UserWarning, match="values of 'row' choose rows of an embedding"):
        maps = create_analyzer("gradient", model).analyze(x)
    assert not maps[:, 0].any()
    assert maps[:, 1:].all()
