"""A network refuses models that mix samples, and tokens outside the table."""

import contextlib

import keras
import numpy as np
import pytest
from helpers.tensors import BACKEND

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from keras import layers, ops

from rap_keras import InputError, create_analyzer
from rap_keras.backends.choice import open_network
from rap_keras.backends.keras3.source import Source

CENTRED = {
    "mean": lambda x: x - ops.mean(x, axis=0, keepdims=True),
    "largest": lambda x: x / (1 + ops.max(ops.abs(x), axis=0, keepdims=True)),
    "those before": lambda x: ops.cumsum(x, axis=0),
    "the next": lambda x: x + ops.roll(x, 1, axis=0),
    "the last alone": lambda x: x + x[-1:, :],
    "how many": lambda x: x / ops.sum(0 * x + 1, axis=0, keepdims=True),
}


def dense(x):
    return layers.Dense(3, bias_initializer="ones")(x)


def model_of(mixing, batch=None):
    x = keras.Input(batch_shape=(batch, 6))
    return keras.Model(x, dense(mixing(x)))


SAMPLES = {
    "zeros": np.zeros(6),
    "a constant": np.full(6, 0.5),
    "a large constant": np.full(6, -200.0),
    "a palindrome": np.array([1, 2, 3, 3, 2, 1]),
}


@pytest.mark.parametrize("mixing", CENTRED)
@pytest.mark.parametrize("batch", [None, 3])
def test_models_that_mix_samples_are_refused_for_every_first_sample(mixing, batch):
    if batch and mixing == "how many":
        pytest.skip("there is one number")
    model = model_of(CENTRED[mixing], batch)
    for sample in SAMPLES.values():
        with pytest.raises(InputError, match="computes each sample of a batch separately"):
            open_network(model).check([sample[np.newaxis].astype("float32")])


@pytest.mark.parametrize("batch", [None, 1, 2, 5])
def test_models_that_do_not_mix_are_accepted(batch):
    model = model_of(ops.tanh, batch)
    for sample in SAMPLES.values():
        open_network(model).check([sample[np.newaxis].astype("float32")])


def test_a_fixed_batch_of_two():
    with pytest.raises(InputError, match="computes each sample of a batch separately"):
        open_network(model_of(CENTRED["largest"], 2)).check([np.zeros((1, 6), np.float32)])


def _several(mixed):
    """Two inputs, a dict, of which one is mixed."""
    inputs = {name: keras.Input((4,), name=name) for name in ("a", "b")}
    parts = {
        name: (CENTRED["mean"] if name == mixed else ops.tanh)(x) for name, x in inputs.items()
    }
    return keras.Model(inputs, dense(layers.Concatenate()(list(parts.values()))))


def _tokens(rows):
    x = keras.Input((4,), dtype="int32")
    vectors = [layers.Embedding(rows, 3)(x[:, :2]), layers.Embedding(9, 3)(x[:, 2:])]
    return keras.Model(x, dense(CENTRED["mean"](layers.Flatten()(ops.concatenate(vectors, 1)))))


def _masked():
    x, mask = keras.Input((4,)), keras.Input((4,), dtype="bool")
    mixed = ops.mean(ops.cast(mask, "float32"), axis=0, keepdims=True)
    return keras.Model([x, mask], dense(x + mixed))


def _bytes():
    x = keras.Input((4,), dtype="uint8")
    return keras.Model(x, dense(CENTRED["mean"](layers.Rescaling(1 / 255)(x))))


ZEROS = np.zeros((1, 4))
OTHER_INPUTS = {
    "the first of a dict": (_several("a"), {"a": ZEROS, "b": ZEROS + 1}),
    "the second of a dict": (_several("b"), {"a": ZEROS + 1, "b": ZEROS}),
    "tokens": (_tokens(3), ZEROS),
    "a boolean": (_masked(), [ZEROS, ZEROS.astype(bool)]),
    "bytes": (_bytes(), ZEROS),
}


@pytest.mark.parametrize(("model", "x"), OTHER_INPUTS.values(), ids=OTHER_INPUTS)
def test_every_input_is_checked(model, x):
    opened = open_network(model)
    with pytest.raises(InputError, match="computes each sample of a batch separately"):
        opened.check(opened.read(x)[0])


@pytest.mark.tensorflow("JAX calls the model when it compiles")
def test_zeros_are_checked_once_and_another_sample_once_more(monkeypatch):
    calls = []
    own = Source.own_output
    monkeypatch.setattr(Source, "own_output", lambda *args: calls.append(1) or own(*args))
    zeros, data = np.zeros((3, 6), np.float32), np.ones((3, 6), np.float32)
    opened = open_network(model_of(ops.tanh))
    for x, count in ((zeros, 1), (zeros, 1), (np.concatenate([zeros, data]), 2), (data, 2)):
        opened.check([x])
        assert len(calls) == count
    assert np.isfinite(create_analyzer("gradient", opened).analyze(data)).all()


def test_mixing_that_needs_large_values_is_found_when_they_occur():
    """A model that only mixes above 1000. Zeros cannot show this, so they do not clear the model."""

    def mixing(x):
        return x - ops.mean(ops.maximum(x - 1000.0, 0.0), axis=0, keepdims=True)

    opened = open_network(model_of(mixing))
    opened.check([np.zeros((1, 6), np.float32)])
    with pytest.raises(InputError, match="computes each sample of a batch separately"):
        opened.check([np.arange(6, dtype=np.float32)[np.newaxis] * 1e4])


@pytest.mark.parametrize("tiny", [1e-30, 1e-20, 1e-5])
@pytest.mark.parametrize("batch", [None, 4])
def test_tiny_values_do_not_clear_a_model_for_good(tiny, batch):
    def mixing(x):
        return x / (ops.std(x, axis=0, keepdims=True) + 1e-3)

    data = np.linspace(-2, 3, 24, dtype=np.float32).reshape(4, 6) ** 2
    small = data * np.float32(tiny)
    with pytest.raises(InputError, match="computes each sample of a batch separately"):
        open_network(model_of(mixing, batch)).check([np.concatenate([small[:1], data[1:]])])
    opened = open_network(model_of(mixing, batch))
    with contextlib.suppress(InputError):  # it may be found at once
        opened.check([small])
    with pytest.raises(InputError, match="computes each sample of a batch separately"):
        opened.check([data])


WAYS = {
    "slice": lambda x: x[:, 1:],
    "sum": lambda x: x + 1,
    "split": lambda x: ops.split(x, 5, 1)[0],
    "where": lambda x: ops.where(x > 3, x, 0),
    "limit": lambda x: ops.maximum(x, 0),
    "joined": lambda x: ops.concatenate([x, x], 1),
    "cast": lambda x: ops.cast(ops.cast(x, "float32"), "int32"),
}


def _looked_up(way, table):
    x = keras.Input((5,), dtype="int32")
    tokens = WAYS[way](x)
    if table == "take":
        vectors = ops.take(np.ones((7, 4), "float32"), tokens, axis=0)
    else:
        vectors = layers.Embedding(7, 4)(tokens)
    return keras.Model(x, dense(layers.Flatten()(vectors)))


@pytest.mark.parametrize("table", ["embedding", "take"])
@pytest.mark.parametrize("way", WAYS)
def test_unknown_tokens_are_refused_in_one_sentence(way, table):
    opened = open_network(_looked_up(way, table))
    opened.logits(opened.read(np.full((2, 5), 5))[0])
    with pytest.raises(InputError, match=r"^Expected tokens from 0 to 6 .*got (99|100): use.*$"):
        opened.read(np.full((2, 5), 99))
    if BACKEND == "tensorflow":  # others give NaN, or an error without the number
        with pytest.raises(
            InputError, match=r"^Expected tokens from 0 to 6, .*got (99|100): use.*$"
        ):
            opened.logits([np.full((2, 5), 99, np.int32)])  # past the reading


def test_a_row_that_is_looked_up_by_another_row():
    x = keras.Input((2,), dtype="int32")
    named = ops.take(np.array([0, 9, 1]), x, axis=0)
    model = keras.Model(x, dense(layers.Flatten()(layers.Embedding(4, 3)(named))))
    opened = open_network(model)
    opened.read(np.array([[0, 2]]))
    for tokens, rows in (([0, 1], 3), ([0, 3], 2)):
        with pytest.raises(InputError, match=f"Expected tokens from 0 to {rows}"):
            opened.read(np.array([tokens]))


def test_a_model_for_batches_of_one_gets_its_samples_one_by_one(rng):
    x = keras.Input(batch_shape=(1, 6))
    model = keras.Model(x, dense(ops.mean(ops.reshape(x, (1, -1, 2)), axis=1)))
    samples = rng.normal(size=(8, 6)).astype("float32")
    maps = create_analyzer("gradient", model, batch_size=1).analyze(samples)
    assert maps.shape == samples.shape
    with pytest.raises(InputError, match="one sample at a time"):
        create_analyzer("gradient", model).analyze(samples)


def test_sums_are_checked_in_batches_of_the_size_that_the_model_takes(rng):
    x = keras.Input(batch_shape=(2, 6))
    model = keras.Model(x, dense(ops.reshape(ops.tanh(x), (2, -1))))
    samples = rng.normal(size=(4, 6)).astype("float32")
    analyzer = create_analyzer("integrated_gradients", model, batch_size=2, steps=64)
    assert analyzer.analyze(samples).shape == samples.shape
    with pytest.raises(
        InputError, match=r"Expected 2 samples at a time, .*, got 3: set batch_size=2"
    ):
        create_analyzer("gradient", model).analyze(samples[:3])


@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_a_size_at_which_the_model_itself_fails_is_reported(method):
    x = keras.Input((None, None, 1))
    halved = layers.UpSampling2D()(layers.MaxPooling2D()(x))
    merged = layers.Conv2D(2, 1)(layers.Concatenate()([x, halved]))
    model = keras.Model(x, layers.GlobalAveragePooling2D()(merged))
    analyzer = create_analyzer(method, model)
    even, odd = np.ones((2, 4, 4, 1)), np.ones((2, 5, 5, 1))
    told = r"got \(batch, 5, 5, 1\), with which the model itself fails in predict \(\w+: .+\): use"
    for _ in "before a good one", "after one":
        with pytest.raises(InputError, match=told):
            analyzer.analyze(odd)
        assert analyzer.analyze(even).shape == even.shape


def test_a_model_that_fails_at_its_size_is_reported():
    x = keras.Input((6, 6, 1))
    model = keras.Model(x, dense(layers.Flatten()(layers.RandomCrop(3, 3)(x))))
    model.layers[-1].input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: 10})
    with pytest.raises(
        InputError, match=r"got \(batch, 6, 6, 1\), with which the model itself fails"
    ):
        create_analyzer("gradient", model).analyze(np.ones((2, 6, 6, 1)))
