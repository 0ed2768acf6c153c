"""Tokens are explained through their embedding; other whole numbers have no derivative."""

import functools

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased
from helpers.tensors import array, slopes
from keras import layers, ops

import rap_keras
from rap_keras import InputError, TopK, create_analyzer

METHODS = {
    "gradient": {},
    "input_t_gradient": {},
    "guided_backprop": {},
    "deconvnet": {},
    "integrated_gradients": {"steps": 16},
    "smoothgrad": {"augment_by_n": 3},
    "deep_lift": {},
}


def text(dtype="int32", cast=False, **options):
    """A classifier of 6 tokens, and the part of it after the embedding."""
    ids = keras.Input((6,), dtype=dtype, name="ids")
    table = layers.Embedding(9, 4, embeddings_initializer="normal", name="vectors", **options)
    vectors = table(ops.cast(ids, "int32") if cast else ids)
    x = layers.Conv1D(5, 2, activation="relu")(vectors)
    x = layers.Dense(3)(layers.Dense(6, activation="gelu")(layers.Flatten()(x)))
    model = biased(keras.Model(ids, x))
    model.get_layer("vectors").embeddings.assign(np.random.default_rng(1).normal(size=(9, 4)))
    return model, keras.Model(vectors, x)


def tokens(rng, n=3, length=6):
    return rng.integers(0, 9, (n, length))


def vectors_of(model, ids):
    return array(model.get_layer("vectors").embeddings)[ids]


def slopes_of(above, vectors, neuron):
    (found,) = slopes(lambda v: above(v)[:, neuron], [vectors])
    return found


@pytest.mark.parametrize(
    ("dtype", "cast"), [("int32", False), ("float32", False), ("float32", True)]
)
def test_gradients_are_those_of_the_vectors(dtype, cast, rng):
    model, above = text(dtype, cast)
    ids = tokens(rng)
    vectors = vectors_of(model, ids)
    slope = slopes_of(above, vectors, 2)
    for postprocess, each in ((None, slope), ("abs", abs(slope)), ("square", slope**2)):
        found = create_analyzer("gradient", model, postprocess=postprocess).analyze(ids, 2)
        assert found.shape == (3, 6)
        assert_same(found, each.sum(-1))
    found = create_analyzer("input_t_gradient", model).analyze(ids, 2)
    assert_same(found, (vectors * slope).sum(-1))


@pytest.mark.parametrize("reference", [0, [3, 1, 0, 0, 8, 2]])
def test_integrated_gradients_go_from_the_vectors_of_reference_tokens(reference, rng):
    model, above = text()
    ids, steps = tokens(rng), 16
    analyzer = create_analyzer(
        "integrated_gradients", model, steps=steps, reference_inputs=reference
    )
    start = vectors_of(model, np.broadcast_to(reference, (3, 6)))
    end = vectors_of(model, ids)
    weights = np.r_[0.5, np.ones(steps - 2), 0.5] / (steps - 1)
    total = sum(
        w * slopes_of(above, (start + a * (end - start)).astype("float32"), 1)
        for w, a in zip(weights, np.linspace(0, 1, steps), strict=True)
    )
    assert_same(analyzer.analyze(ids, 1), ((end - start) * total).sum(-1), 1e-4)


@pytest.mark.parametrize(
    ("method", "options"), [("integrated_gradients", {"steps": 256}), ("deep_lift", {})]
)
@pytest.mark.quick("deep_lift-options1")
def test_maps_sum_to_the_difference_from_the_reference_tokens(method, options, rng):
    model, _ = text()
    ids, reference = tokens(rng), np.full((3, 6), 5)
    analyzer = create_analyzer(method, model, reference_inputs=5, **options)
    found = analyzer.explain(ids, [0, 2, 1])
    logits = array(model(ids)) - array(model(reference))
    expected = logits[np.arange(3), [0, 2, 1]]
    assert_same(found.relevance.sum(1), expected, 1e-2)
    delta = analyzer.convergence_delta(ids, [0, 2, 1])
    np.testing.assert_allclose(delta, found.relevance.sum(1) - expected, atol=1e-5)
    assert not found.relevance[ids == 5].any()  # they are the reference
    several = analyzer.analyze(ids, TopK(2))
    assert several.shape == (3, 2, 6)
    assert_same(several[:, 0], analyzer.analyze(ids), 1e-4)


@pytest.mark.parametrize("method", ["deep_lift", "integrated_gradients"])
def test_a_linear_model_is_explained_exactly(method, rng):
    ids = keras.Input((4,), dtype="int32")
    x = layers.Embedding(9, 3, name="vectors", embeddings_initializer="normal")(ids)
    model = keras.Model(ids, layers.Dense(2)(layers.Flatten()(x)))
    given, reference = tokens(rng, length=4), np.array([1, 0, 8, 3])
    found = create_analyzer(method, model, reference_inputs=reference).analyze(given, 1)
    weights = array(model.layers[-1].kernel)[:, 1].reshape(4, 3)
    moved = vectors_of(model, given) - vectors_of(model, reference)
    assert_same(found, (moved * weights).sum(-1))


@pytest.mark.parametrize("method", METHODS)
def test_padding_stays_masked(method, rng):
    """The mask is that of the sample: without it the reference of padding alone would be 0 / 0."""
    ids = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 3, mask_zero=True)(ids)
    model = biased(
        keras.Model(
            ids, layers.Dense(2)(layers.Dense(4, "tanh")(layers.GlobalAveragePooling1D()(x)))
        )
    )
    given = np.array([[3, 1, 4, 0, 0], [2, 8, 2, 1, 0]])
    analyzer = create_analyzer(method, model, **METHODS[method])
    found = analyzer.analyze(given, 1)
    assert np.isfinite(found).all()
    assert not found[given == 0].any()
    assert found.any(1).all()
    if "reference_inputs" in analyzer.options():
        assert abs(analyzer.convergence_delta(given, 1)).max() < 0.02


def test_parts_of_a_row_and_several_embeddings(rng):
    """Relevance of vectors goes to the elements of the row that chose them, and numbers have theirs."""
    row = keras.Input((5,), name="row")
    first = layers.Embedding(9, 3, embeddings_initializer="normal")
    second = layers.Embedding(9, 2, embeddings_initializer="normal")
    numbers = row[:, 3:]
    both = layers.Concatenate()([first(row[:, :2]), second(row[:, 1:3])])
    x = layers.Concatenate()([layers.Flatten()(both), numbers])
    model = keras.Model(row, layers.Dense(2)(x))
    given = np.concatenate([tokens(rng, 2, 3), rng.normal(size=(2, 2))], 1).astype("float32")
    found = create_analyzer("deep_lift", model, reference_inputs=[1, 2, 3, 0.5, -1]).analyze(
        given, 0
    )
    weights = array(model.layers[-1].kernel)[:, 0]
    one, two = array(first.embeddings), array(second.embeddings)
    expected, ids = np.zeros((2, 5)), given.astype(int)
    for k in range(2):
        w = weights[5 * k : 5 * k + 5]
        expected[:, k] += (one[ids[:, k]] - one[k + 1]) @ w[:3]
        expected[:, k + 1] += (two[ids[:, k + 1]] - two[k + 2]) @ w[3:]
    expected[:, 3:] = (given[:, 3:] - [0.5, -1]) * weights[10:]
    assert_same(found, expected)


def test_a_table_of_an_operation(rng):
    table = rng.normal(size=(9, 4)).astype("float32")
    ids = keras.Input((6,), dtype="int32")
    x = layers.Flatten()(ops.take(table, ids, axis=0))
    model = keras.Model(ids, layers.Dense(2)(x))
    given = tokens(rng)
    weights = array(model.layers[-1].kernel)[:, 1].reshape(6, 4)
    found = create_analyzer("input_t_gradient", model).analyze(given, 1)
    assert_same(found, (table[given] * weights).sum(-1))


def test_expected_gradients_draw_sentences(rng):
    model, _ = text()
    ids, background = tokens(rng, 1), tokens(rng, 3)
    options = {"background": background, "draws": 2000, "seed": 1, "batch_size": 500}
    found = create_analyzer("expected_gradients", model, **options).explain(ids)
    expected = found.explained_logits - array(model(background))[:, found.neurons].mean(0)
    assert_same(found.relevance.sum(1), expected, 0.1)


def test_layers_batches_and_files(tmp_path, rng):
    model, above = text()
    ids = tokens(rng)
    analyzer = create_analyzer("gradient", model, batch_size=2)
    found = analyzer.analyze(ids, 1)
    layered = analyzer.analyze_layers(ids, 1)
    assert next(iter(layered)) == "ids"
    assert_same(layered["ids"], found)
    assert_same(layered["vectors"], slopes_of(above, vectors_of(model, ids), 1))
    assert analyzer.analyze(ids[:0], 1).shape == (0, 6)
    many = np.tile(ids, (30, 1))  # more than one part
    assert_same(create_analyzer("gradient", model).analyze(many, 1), np.tile(found, (30, 1)))
    analyzer.save(tmp_path)
    assert_same(rap_keras.load_analyzer(tmp_path).analyze(ids, 1), found)


def test_a_fixed_batch_size(rng):
    ids = keras.Input(batch_shape=(2, 6), dtype="int32")
    x = layers.Flatten()(layers.Embedding(9, 3, embeddings_initializer="normal")(ops.flip(ids, 1)))
    model = keras.Model(ids, layers.Dense(2)(x))
    given = tokens(rng, 4)
    found = create_analyzer("input_t_gradient", model, batch_size=2).analyze(given, 1)
    logits = np.concatenate([array(model(given[k : k + 2])) for k in (0, 2)])
    assert_same(found.sum(1), logits[:, 1])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (9, "Expected tokens from 0 to 8 for input 'ids'.* got 9"),
        (0.5, "Expected whole numbers that fit into int32 for reference_inputs, got 0.5"),
    ],
)
def test_unknown_reference_tokens_are_refused(reference, message):
    with pytest.raises(InputError, match=message) as error:
        create_analyzer("deep_lift", text()[0], reference_inputs=reference)
    assert "\n" not in str(error.value)


@functools.cache
def with_mask(dtype):
    """Tokens, a mask and a row of floats."""
    ids = keras.Input((4,), dtype="int32", name="ids")
    mask = keras.Input((4,), dtype="bool" if dtype == "int32" else dtype, name="mask")
    amount = keras.Input((5,), name="amount")
    x = layers.Embedding(9, 3)(ids)
    weights = ops.cast(mask, "float32")
    if dtype != "int32":  # only by whether it is 0
        weights = ops.cast(ops.cast(mask, "int32"), "float32")
    x = ops.sum(x * ops.expand_dims(weights, -1), 1)
    x = layers.Concatenate()([x, layers.Dense(4, activation="relu")(amount)])
    return biased(keras.Model([ids, mask, amount], layers.Dense(2)(x)))


@pytest.mark.parametrize(
    ("method", "dtype"), [*((name, "int32") for name in METHODS), ("deep_lift", "float32")]
)
def test_a_mask_next_to_tokens_has_no_derivative(method, dtype, rng):
    model = with_mask(dtype)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    x = [rng.integers(1, 9, (3, 4)), mask, rng.normal(size=(3, 5)).astype(np.float32)]
    analyzer = create_analyzer(method, model, **METHODS[method])
    with pytest.warns(UserWarning, match="zeros to inputs without a derivative: 'mask' contains"):
        maps = analyzer.analyze(x)
    assert not maps[1].any()
    np.testing.assert_array_equal(maps[0] != 0, mask == 1)
    assert abs(maps[2]).max() > 0
    if method in ("integrated_gradients", "deep_lift"):
        with pytest.warns(UserWarning, match="without a derivative"):
            assert abs(analyzer.convergence_delta(x)).max() < 0.05


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "deep_lift"])
def test_numbers_that_are_only_counted_have_no_derivative(method, rng):
    ids = keras.Input((4,), dtype="int32", name="ids")
    x = layers.Flatten()(ops.one_hot(ids, 9))
    model = keras.Model(ids, layers.Dense(2)(x))
    with pytest.raises(
        InputError, match=r"but 'ids' contains whole numbers.*such as .rap., explain them"
    ):
        create_analyzer(method, model).analyze(tokens(rng, length=4))
