"""References of each sample, and the mean over several references."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased
from helpers.tensors import array
from keras import layers

import rap_keras
from rap_keras import InputError, TopK, create_analyzer

METHODS = {"integrated_gradients": {"steps": 8}, "deep_lift": {}}


def network():
    inputs = keras.Input((5, 2))
    x = layers.Dense(8, activation="gelu")(layers.Flatten()(inputs))
    return biased(keras.Model(inputs, layers.Dense(3)(x)))


def floats(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def one_by_one(method, model, x, references, target, **options):
    """The mean map of each sample over its references, each in an analyzer of its own."""
    maps = [
        np.mean(
            [
                create_analyzer(
                    method, model, reference_inputs=r, **METHODS[method], **options
                ).analyze(x[k : k + 1], target)[0]
                for r in references[k]
            ],
            0,
        )
        for k in range(len(x))
    ]
    return np.stack(maps)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(2, 1, 5, 2), (1, 2, 1, 2)])
@pytest.mark.quick("shape0-integrated_gradients", "shape1-deep_lift")
def test_maps_are_means_of_the_maps_of_single_references(method, shape, rng):
    model, x, references = network(), floats(rng, 2, 5, 2), floats(rng, *shape)
    analyzer = create_analyzer(
        method, model, reference_inputs=references, batch_size=1, **METHODS[method]
    )
    found = analyzer.analyze(x, 1)
    each = np.broadcast_to(references, (2, *shape[1:]))
    assert_same(found, one_by_one(method, model, x, each, 1), 1e-4)
    several = analyzer.analyze(x, TopK(2))
    assert several.shape == (2, 2, 5, 2)
    assert_same(several[:, 0], analyzer.analyze(x), 1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("deep_lift")
def test_sums_are_compared_with_the_mean_logit_of_the_references(method, rng):
    model, x, references = network(), floats(rng, 3, 5, 2), floats(rng, 3, 2, 5, 2)
    options = METHODS[method] | ({"steps": 200} if "integrated" in method else {})
    analyzer = create_analyzer(method, model, reference_inputs=references, **options)
    found = analyzer.explain(x, 2)
    at_references = np.stack([model.predict(r, verbose=0)[:, 2].mean() for r in references])
    delta = found.relevance.sum((1, 2)) - (found.logits[:, 2] - at_references)
    np.testing.assert_allclose(analyzer.convergence_delta(x, 2), delta, atol=1e-5)
    assert abs(delta).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_of_several_inputs_each_has_its_references(method, rng):
    image, row = keras.Input((4, 3)), keras.Input((2,))
    x = layers.Concatenate()([layers.Flatten()(image), row])
    model = biased(keras.Model([image, row], layers.Dense(2)(layers.Dense(6, "tanh")(x))))
    x = [floats(rng, 2, 4, 3), floats(rng, 2, 2)]
    references = [floats(rng, 2, 1, 4, 3), floats(rng, 1, 2, 2)]
    options = METHODS[method]
    found = create_analyzer(method, model, reference_inputs=references, **options).analyze(x, 0)
    for k in range(2):
        single = [
            create_analyzer(
                method,
                model,
                reference_inputs=[references[0][k, 0], references[1][0, r]],
                **options,
            ).analyze([part[k : k + 1] for part in x], 0)
            for r in range(2)
        ]
        for part, maps in zip(found, zip(*single, strict=True), strict=True):
            assert_same(part[k : k + 1], np.mean(maps, 0), 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_references_and_samples_by_name(method, rng):
    one, age = keras.Input((3,), name="one"), keras.Input((), name="age")
    x = layers.Concatenate()([one, keras.ops.expand_dims(age, 1)])
    model = keras.Model({"one": one, "age": age}, layers.Dense(2)(x))
    data = {"one": floats(rng, 2, 3), "age": floats(rng, 2)}
    references = {"age": 0.5, "one": [1, 2, 3]}
    analyzer = create_analyzer(method, model, reference_inputs=references, **METHODS[method])
    weights = array(model.layers[-1].kernel)[:, 1]
    again = create_analyzer(method, model, **analyzer.options())
    for found in (analyzer.analyze(data, 1), again.analyze(data, 1)):
        assert_same(found["one"], (data["one"] - [1, 2, 3]) * weights[:3])
        assert_same(found["age"], (data["age"] - 0.5) * weights[3])
    with pytest.raises(InputError, match=r"reference_inputs for inputs named .*, got .'one'."):
        create_analyzer(method, model, reference_inputs={"one": 0})


def test_tokens_have_reference_sentences(rng):
    ids = keras.Input((4,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(9, 3, embeddings_initializer="normal")(ids))
    model = keras.Model(ids, layers.Dense(2)(layers.Dense(5, "tanh")(x)))
    x, references = rng.integers(0, 9, (2, 4)), rng.integers(0, 9, (2, 2, 4))
    found = create_analyzer("deep_lift", model, reference_inputs=references).analyze(x, 1)
    assert_same(found, one_by_one("deep_lift", model, x, references, 1), 1e-4)


def test_a_sigmoid_has_two_classes(rng):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.Dense(4, "tanh")(inputs)))
    x, references = floats(rng, 2, 5), floats(rng, 2, 1, 5)
    found = create_analyzer("deep_lift", model, reference_inputs=references).analyze(x, [0, 1])
    of_one = one_by_one("deep_lift", model, x, references, 1)
    assert_same(found, of_one * np.array([[-1], [1]]), 1e-4)


def test_they_are_saved(tmp_path, rng):
    x, references = floats(rng, 3, 5, 2), floats(rng, 3, 1, 5, 2)
    made = create_analyzer("deep_lift", network(), reference_inputs=references)
    made.save(tmp_path)
    assert_same(rap_keras.load_analyzer(tmp_path).analyze(x), made.analyze(x))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (3, 5, 2),
            r"two axes in front of it, \(samples, references\), got one axis of 3 in front of a sample "
            r"of shape \(5, 2\): pass reference_inputs\[:, None\] for one reference per sample, or "
            r"reference_inputs\[None\] for the mean over 3 references",
        ),
        ((1, 4, 2), "Expected finite reference_inputs that broadcast to samples"),
        ((1, 1, 1, 5, 2), "Expected finite reference_inputs that broadcast to samples"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_one_axis_in_front_is_refused(method, shape, message):
    with pytest.raises(InputError, match=message) as error:
        create_analyzer(method, network(), reference_inputs=np.zeros(shape))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_one_reference_is_for_all_samples(method, rng):
    model, x, reference = network(), floats(rng, 3, 5, 2), floats(rng, 1, 5, 2)
    found, expected = (
        create_analyzer(method, model, reference_inputs=r, **METHODS[method]).analyze(x, 1)
        for r in (reference, reference[0])
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_of_a_model_for_any_length(method, rng):
    inputs = keras.Input((None, 2))
    x = layers.GlobalAveragePooling1D()(layers.Dense(4, activation="gelu")(inputs))
    model = biased(keras.Model(inputs, layers.Dense(3)(x)))
    x, reference = floats(rng, 3, 5, 2), floats(rng, 5, 2)
    found, expected = (
        create_analyzer(method, model, reference_inputs=r, **METHODS[method])
        for r in (reference, reference[None, None])
    )
    np.testing.assert_array_equal(found.analyze(x, 1), expected.analyze(x, 1))
    with pytest.raises(InputError, match="Expected reference_inputs that broadcast to samples"):
        found.analyze(floats(rng, 3, 4, 2), 1)


@pytest.mark.parametrize("method", METHODS)
def test_other_samples_are_refused(method, rng):
    analyzer = create_analyzer(method, network(), reference_inputs=floats(rng, 3, 1, 5, 2))
    for x in (floats(rng, 2, 5, 2), floats(rng, 6, 5, 2)):
        with pytest.raises(InputError, match=rf"for {len(x)} samples, got those of 3 samples"):
            analyzer.analyze(x)
    with pytest.raises(InputError, match="for batches of a data set, got those of 3 samples"):
        analyzer.analyze(iter([floats(rng, 3, 5, 2)]))


def test_numbers_of_references_must_agree(rng):
    inputs = [keras.Input((3,)), keras.Input((2,))]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(inputs)))
    given = [floats(rng, 1, 3, 3), floats(rng, 1, 2, 2)]
    with pytest.raises(InputError, match="same number of references for all inputs, got 2 and 3"):
        create_analyzer("deep_lift", model, reference_inputs=given)
