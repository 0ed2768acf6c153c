"""Outputs of every form: maps of positions, boxes, numbers, and several at once."""

import functools

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain, segmenting
from helpers.streams import batched
from helpers.tensors import array, slopes, tensor
from helpers.thinned import pairwise_or_slow
from keras import layers, ops

import rap_keras
from rap_keras import InputError, create_analyzer, load_analyzer
from rap_keras.inputs.target import read_target

LINEAR = {
    "rap": {},
    "gradient": {},
    "input_t_gradient": {},
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"augment_by_n": 3},
    "lrp.epsilon": {},
    "lrp.alpha_2_beta_1": {},
    "deep_taylor": {},
}


@functools.cache
def network(head=None, size=8):
    keras.utils.set_random_seed(1)
    return segmenting(head=head, size=size)


def samples(n=3):
    return np.random.default_rng(5).normal(size=(n, 8, 8, 3)).astype("float32")


@functools.cache
def made(method, **options):
    options = LINEAR.get(method, {}) | options
    return create_analyzer(method, network(), **options)


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.quick("rap", "deep_taylor")
def test_the_map_of_a_region_is_the_sum_of_those_of_its_neurons(method):
    x, analyzer = samples(), made(method, batch_size=2)
    # Deep Taylor shows only what speaks for a class.
    k = int(array(network()(x))[:, 2:4, 5:7].mean((0, 1, 2)).argmax())
    whole = analyzer.analyze(x, np.s_[2:4, 5:7, k])
    parts = [analyzer.analyze(x, (i, j, k)) for i in (2, 3) for j in (5, 6)]
    assert abs(parts[0] - parts[3]).max() > 1e-3
    assert_same(whole, np.sum(parts, 0))


@pytest.mark.parametrize("head", [None, "softmax", "sigmoid"])
@pytest.mark.quick("softmax")
def test_a_position_is_the_neuron_of_the_flattened_output(head):
    """An index of one number after a Flatten layer does not use the code for regions."""
    x, model = samples(), network(head)
    flat = keras.Model(model.input, layers.Flatten()(model.output))
    number = np.ravel_multi_index((6, 1, 2), (8, 8, 4))
    for method in ("rap", "gradient", "lrp.alpha_1_beta_0"):
        options = {}
        expected = create_analyzer(method, flat, **options).analyze(x, int(number))
        found = create_analyzer(method, model, **options).explain(x, (6, 1, 2))
        assert_same(found.relevance, expected)
        logits = array(keras.Model(model.input, model.layers[-2 if head else -1].output)(x))
        np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.explained_logits, logits[:, 6, 1, 2], rtol=1e-4)


TAILS = {
    "last": lambda softmax, grow: lambda x: softmax(grow(x)),
    "before bilinear upsampling": lambda softmax, grow: lambda x: grow(softmax(x)),
    "before moves": lambda softmax, grow: (
        lambda x: layers.Reshape((16, 16, 3))(layers.Cropping2D(1)(grow(softmax(x))))
    ),
}


@pytest.mark.parametrize(
    ("tail", "softmax"),
    pairwise_or_slow(list(TAILS), [layers.Softmax, lambda: ops.sigmoid]),
)
def test_the_softmax_of_every_position_is_removed(softmax, tail):
    """As DeepLab ends: logits at a coarse scale, upsampled, with the softmax before or after."""
    x = samples()
    inputs = keras.Input((8, 8, 3))
    coarse = layers.Conv2D(3, 3, padding="same", dilation_rate=2, name="logits")(inputs)
    size = 18 if tail == "before moves" else 16
    grow = layers.Resizing(size, size, interpolation="bilinear")
    model = biased(keras.Model(inputs, TAILS[tail](softmax(), grow)(coarse)))
    bare = keras.Model(inputs, TAILS[tail](lambda x: x, grow)(coarse))
    options = {}
    found = create_analyzer("rap", model, **options).explain(x, (5, 9, 2))
    np.testing.assert_allclose(found.logits, array(bare(x)), rtol=1e-4, atol=1e-5)
    expected = create_analyzer("rap", bare, **options).analyze(x, (5, 9, 2))
    assert_same(found.relevance, expected)


def test_the_gradient_of_a_mask_is_that_of_the_masked_sum():
    x, mask = samples(), np.random.default_rng(6).random((3, 8, 8, 4)) < 0.2
    (expected,) = slopes(lambda image: network()(image) * tensor(mask.astype("float32")), [x])
    assert_same(made("gradient").analyze(x, mask), expected)


FORMS = {
    "tuple": np.s_[1:3, 0:2, 1],
    "negative": np.s_[-7:-5, :2, -3],
    "arrays": (np.array([1, 1, 2, 2]), [0, 1, 0, 1], 1),
    "repeated": ([1, 1, 2, 2, 2], [0, 1, 0, 1, 1], 1),
    "tensors": (tensor([[1], [2]]), tensor([[0, 1]]), 1),
    "list of tensors": [(tensor([[1], [2]]), tensor([[0, 1]]), 1)] * 3,
    "list of one": [np.s_[1:3, 0:2, 1]],
    "list": [np.s_[1:3, 0:2, 1]] * 3,
    "ellipsis": np.s_[1:3, 0:2, ..., 1],
}


def corner():
    mask = np.zeros((8, 8, 4), bool)
    mask[1:3, 0:2, 1] = True
    return mask


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_region(form):
    found = made("rap", batch_size=2).explain(samples(), FORMS[form])
    assert found.neurons.shape == (3, 8, 8, 4)
    np.testing.assert_array_equal(found.neurons, np.stack([corner()] * 3))


@pytest.mark.parametrize("mode", ["index", "all"])
@pytest.mark.quick("index")
def test_masks_of_one_region(mode):
    x, mask = samples(), corner()
    expected = made("rap").analyze(x, np.s_[1:3, 0:2, 1])
    analyzer = create_analyzer("rap", network(), neuron_selection_mode=mode, batch_size=2)
    forms = (mask, mask[np.newaxis], np.stack([mask] * 3), mask.tolist(), tensor(mask))
    for form in (*forms, (mask[..., 1], 1), np.s_[1:3, 0:2, 1]):
        assert_same(analyzer.analyze(x, form), expected)


def test_every_sample_has_its_own_region():
    x, analyzer = samples(), made("rap", batch_size=2)
    places = [(0, 1, 2), (7, 7, 0), (3, 4, 1)]
    mask = np.zeros((3, 8, 8, 4), bool)
    for k, place in enumerate(places):
        mask[k][place] = True
    for selection in (places, mask):
        found = analyzer.analyze(x, selection)
        for k, place in enumerate(places):
            assert_same(found[k : k + 1], analyzer.analyze(x[k : k + 1], place))


@pytest.mark.parametrize("method", ["rap", "integrated_gradients"])
def test_all_is_the_region_of_the_whole_output(method):
    x = samples()
    whole = create_analyzer(method, network(), neuron_selection_mode="all", **LINEAR[method])
    found = whole.explain(x)
    assert found.neurons is None
    logits = array(network()(x))
    np.testing.assert_allclose(found.explained_logits, logits.sum((1, 2, 3)), rtol=1e-4)
    assert_same(whole.explain(x, ...).relevance, found.relevance)
    assert whole.explain(x, ...).neurons.all()


def test_relevance_starts_at_the_logits_of_the_region_and_is_conserved():
    x, analyzer = samples(), made("rap")
    found = analyzer.explain(x, corner())
    logits = array(network()(x))
    expected = logits[:, 1:3, 0:2, 1].sum((1, 2))
    np.testing.assert_allclose(found.explained_logits, expected, rtol=1e-4)
    np.testing.assert_allclose(found.relevance.sum((1, 2, 3)), expected, rtol=1e-4)
    last = list(analyzer.analyze_layers(x, corner()).values())[-1]
    assert_same(last, np.where(corner(), logits, 0))
    report = analyzer.conservation(x, corner())
    assert report.max_error < 1e-5
    np.testing.assert_allclose(report.model.outputs, expected, rtol=1e-4)


def test_integrated_gradients_of_a_region_are_complete():
    x, mask = samples(1), corner()
    analyzer = create_analyzer("integrated_gradients", network(), steps=200)
    logits = array(network()(np.concatenate([x, 0 * x])))
    difference = np.where(mask, logits[:1] - logits[1:], 0).sum((1, 2, 3))
    sums = analyzer.analyze(x, mask).sum((1, 2, 3))
    np.testing.assert_allclose(sums, difference, atol=0.02)
    np.testing.assert_allclose(
        analyzer.convergence_delta(x, mask), sums - difference, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("method", ["rap", "random", "smoothgrad"])
def test_empty_batches_and_datasets(method):
    analyzer = made(method)
    found = analyzer.explain(samples()[:0], (0, 1, 2))
    assert (found.relevance.shape, found.logits.shape) == ((0, 8, 8, 3), (0, 8, 8, 4))
    assert (found.neurons.shape, found.neurons.dtype) == ((0, 8, 8, 4), bool)
    assert found.explained_logits.shape == (0,)
    data = batched(samples(), 2)
    parts = list(analyzer.explain(data, (0, 1, 2)))
    assert [len(part.neurons) for part in parts] == [2, 1]
    logits = array(network()(samples()))[:, 0, 1, 2]
    np.testing.assert_allclose(
        np.concatenate([part.explained_logits for part in parts]), logits, rtol=1e-4
    )


def test_an_output_as_large_as_its_input():
    x, model = samples(), network(size=None)
    model.set_weights(network().get_weights())
    analyzer = create_analyzer("rap", model)
    assert_same(analyzer.analyze(x, (-1, -2, 1)), made("rap").analyze(x, (-1, -2, 1)))
    assert_same(analyzer.analyze(x, corner()), made("rap").analyze(x, corner()))
    wide = np.concatenate([x, x], 2)
    mask = np.zeros((8, 16, 4), bool)
    mask[0, 15, 2] = True
    assert_same(analyzer.analyze(wide, mask), analyzer.analyze(wide, (0, 15, 2)))
    with pytest.raises(InputError, match=r"index an output of shape \(8, 8, 4\)"):
        analyzer.analyze(x, (0, 15, 2))
    assert analyzer.analyze(x[:0], (0, 1, 2)).shape == (0, 8, 8, 3)


WRONG = {
    r"select neurons of an output of shape \(8, 8, 4\), got 3: pass .* such as \(y, x, class\)": 3,
    r"select neurons of .* got \[1, 2, 3\]": [1, 2, 3],
    r"select neurons of .* got \[\[1\], \[2, 3\]\]": [[1], [2, 3]],
    r"select neurons of .* got 'cat'": "cat",
    r"got none: pass a tuple that indexes it": None,
    r"got \(8, 0, 0\): index 8 is out of bounds": (8, 0, 0),
    r"got \(0, 0, 0, 0\): too many indices": (0, 0, 0, 0),
    r"got \(1\.5, 2\): only integers, slices": (1.5, 2),
    r"got \('a',\): only integers": ("a",),
    r"got \(True, 2\): a single boolean is not an index": (True, 2),
    r"got \(an array of shape \(3, 3\), 1\): boolean index did not": (np.ones((3, 3), bool), 1),
    r"got \(\[\[1\], \[2, 3\]\], 1\)": ([[1], [2, 3]], 1),
    r"output's shape \(8, 8, 4\), or \(3, 8, 8, 4\) .* got shape \(2, 8, 8, 4\)\.": np.ones(
        (2, 8, 8, 4), bool
    ),
    r"got shape \(8, 8\): \(mask, class\) selects one class": np.ones((8, 8), bool),
    r"got shape \(3, 8, 8\): \(mask, class\) selects": np.ones((3, 8, 8), bool),
    r"got shape \(\)\.": True,
    r"a list of 3 tuples, one per sample, got a list of 2\.": [(0, 0, 0), (1, 1, 1)],
    r"got slice\(20, 30, None\), which selects none\.": np.s_[20:30],
    r"got an array of shape \(8, 8, 4\), which selects none\.": np.zeros((8, 8, 4), bool),
    r"which selects none of sample 1\.": [(0, 0, 0), np.s_[9:, 0, 0], (1, 1, 1)],
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_regions_are_refused_in_one_sentence(message):
    with pytest.raises(InputError, match=message) as error:
        made("rap").analyze(samples(), WRONG[message])
    assert "\n" not in str(error.value)


def test_the_largest_logit_of_a_map_is_refused():
    analyzer = create_analyzer("rap", network())
    text = r"of shape \(8, 8, 4\) has no largest logit, got none: pass .*\(y, x, class\), .*\"all\""
    with pytest.raises(InputError, match=text):
        analyzer.analyze(samples())
    with pytest.raises(InputError, match=r"Expected a vector of classes for TopK\(k=2\)"):
        analyzer.analyze(samples(), rap_keras.TopK(2))
    with pytest.raises(InputError, match="Expected target to select neurons of an output"):
        analyzer.analyze(samples(), 3)


def test_classifiers_take_regions_and_indices_need_no_array_of_the_output():
    model, x = plain(), np.random.default_rng(2).normal(size=(2, 12, 12, 3)).astype("float32")
    analyzer = create_analyzer("rap", model)
    mask = np.arange(10) % 4 == 1
    expected = sum(analyzer.analyze(x, k) for k in (1, 5, 9))
    for selection in (mask, np.stack([mask, mask]), ([1, 5, 9],), np.s_[1::4]):
        assert_same(analyzer.analyze(x, selection), expected)
    assert analyzer.explain(x, mask).neurons.shape == (2, 10)
    assert read_target(7, 1000, (10**9,)).index.shape == (1000,)
    with pytest.raises(InputError, match=r"index an output of shape \(10,\) .* too many indices"):
        analyzer.analyze(x, np.s_[3, 7:])


@pytest.mark.parametrize(
    ("mode", "vector"), pairwise_or_slow(["max_activation", "index", "all"], [True, False])
)
def test_a_single_number_is_explained(vector, mode):
    inputs = keras.Input((6,))
    value = layers.Dense(1)(layers.Dense(5, activation="relu")(inputs))
    model = biased(keras.Model(inputs, value if vector else ops.squeeze(value, -1)))
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    expected = array(model(x)).reshape(-1)
    for method in ("rap", "lrp.epsilon", "integrated_gradients"):
        analyzer = create_analyzer(method, model, neuron_selection_mode=mode)
        found = analyzer.explain(x, 0 if mode == "index" else None)
        np.testing.assert_allclose(found.explained_logits, expected, rtol=1e-4)
        if mode != "all":
            np.testing.assert_array_equal(found.neurons, [0] * 4)
        if method == "rap":
            np.testing.assert_allclose(found.relevance.sum(1), expected, rtol=1e-4)
    if mode == "index":
        with pytest.raises(InputError, match="from 0 to 0, got 1"):
            analyzer.analyze(x, 1)


def detecting():
    """Boxes and classes of 4 x 4 anchors, and one number: a dict of outputs."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.MaxPooling2D(name="pool")(x)
    scores = layers.Reshape((16, 3), name="scores")(layers.Conv2D(3, 1, name="score_conv")(x))
    count = layers.Dense(1, name="dense")(layers.GlobalAveragePooling2D(name="mean")(x))
    outputs = {
        "boxes": layers.Reshape((16, 4), name="corners")(layers.Conv2D(4, 1, name="box_conv")(x)),
        "classes": layers.Softmax(name="softmax")(scores),
        "count": layers.Reshape((), name="number")(count),
    }
    return inputs, biased(keras.Model(inputs, outputs))


SELECTIONS = {"boxes": np.s_[9, :], "classes": [(9, 1), (3, 2), (0, 0)], "count": None}


@pytest.mark.parametrize("position", range(3))
@pytest.mark.quick("1")
def test_one_output_of_several_equals_a_model_with_that_output_only(position):
    inputs, model = detecting()
    name = list(SELECTIONS)[position]
    alone = keras.Model(inputs, model.output[name])
    as_list = keras.Model(inputs, list(model.output.values()))
    layer = ["corners", "softmax", "number"][position]
    for method in ("rap", "integrated_gradients"):
        options = LINEAR[method]
        expected = create_analyzer(method, alone, **options).explain(samples(), SELECTIONS[name])
        for whole, output in ((model, name), (model, position), (as_list, layer)):
            analyzer = create_analyzer(method, whole, output=output, **options)
            found = analyzer.explain(samples(), SELECTIONS[name])
            assert_same(found.relevance, expected.relevance)
            assert_same(found.logits, expected.logits)
            if method == "rap":
                sums = found.relevance.sum((1, 2, 3))
                assert_same(sums, found.explained_logits, 1e-4)
            np.testing.assert_array_equal(found.neurons, expected.neurons)
            assert analyzer.options()["output"] == output


def test_an_analyzer_of_one_output_is_saved_with_its_whole_model(tmp_path):
    _, model = detecting()
    analyzer = create_analyzer("rap", model, output="classes")
    analyzer.save(tmp_path)
    again = load_analyzer(tmp_path)
    assert again.options() == analyzer.options()
    assert again.options()["output"] == "classes"
    assert len(again.model.outputs) == 3
    assert_same(again.analyze(samples(), (9, 1)), analyzer.analyze(samples(), (9, 1)))


def test_an_open_network_keeps_its_output_unless_another_is_given():
    _, model = detecting()
    first = create_analyzer("rap", model, output="count")
    shared = create_analyzer("gradient", first._network)
    assert shared._network is first._network
    assert create_analyzer("gradient", first._network, output=2)._network is first._network
    other = create_analyzer("gradient", first._network, output="boxes", neuron_selection_mode="all")
    assert other.explain(samples()).logits.shape == (3, 16, 4)
    again = create_analyzer("gradient", model, output="boxes", neuron_selection_mode="all")
    assert_same(other.analyze(samples()), again.analyze(samples()))


def test_errors_about_outputs_list_their_names():
    inputs, model = detecting()
    listed = "'boxes', 'classes', 'count'"
    with pytest.raises(InputError, match=f"output=NAME.* 3 outputs, got none: .* {listed}"):
        create_analyzer("rap", model)
    for wrong in ("clases", 3, -1, True, 1.0):
        with pytest.raises(InputError, match=f"one of {listed}, or a number from 0 to 2, got "):
            create_analyzer("rap", model, output=wrong)
    twice = keras.Model(inputs, [model.output["count"]] * 2)
    with pytest.raises(InputError, match="'number', 'number:1'"):
        create_analyzer("rap", twice)
    assert create_analyzer("rap", twice, output="number:1").analyze(samples()).shape == (3, 8, 8, 3)
    (only,) = (keras.Model(inputs, model.output["count"]),)
    assert create_analyzer("rap", only, output="number").options()["output"] == "number"


def test_patterns_of_one_output():
    _, model = detecting()
    with pytest.raises(InputError, match="output=NAME"):
        rap_keras.patterns.fit(model, samples())
