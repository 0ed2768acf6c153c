"""A class against others, and several neurons of a sample."""

import itertools

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain
from helpers.tensors import array, slopes
from helpers.thinned import slow_unless
from keras import layers

import rap_keras
from rap_keras import InputError, TopK, create_analyzer

LINEAR = [
    "rap",
    "lrp.epsilon",
    "lrp.alpha_1_beta_0",
    "lrp.w_square",
    "gradient",
    "input_t_gradient",
]
KINDS = ["softmax", "uniform", 1, [0, 3]]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return plain()


@pytest.fixture(scope="module")
def small():
    """A network of fewer classes, as each has a map."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((12, 12, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    return biased(keras.Model(inputs, layers.Dense(5)(x)))


@pytest.fixture
def x(model, rng):
    return rng.normal(size=(4, *model.input_shape[1:])).astype(np.float32)


def weights(logits, neuron, contrast):
    """The definition, class by class."""
    result = np.zeros(len(logits))
    for k, logit in enumerate(logits):
        if k == neuron or (not isinstance(contrast, str) and k not in np.ravel(contrast)):
            continue
        result[k] = np.exp(float(logit)) if contrast == "softmax" else 1.0
    return result / result.sum()


@pytest.mark.parametrize(
    ("name", "contrast"),
    list(itertools.product(LINEAR, KINDS)),
    ids=str,
)
@pytest.mark.quick("rap-softmax", "lrp.epsilon-uniform", "gradient-softmax")
def test_a_map_is_that_of_the_class_minus_those_of_the_others(name, contrast, small, x):
    logits = small.predict(x, verbose=0)
    neurons = [2, 4, 2, int(logits[3].argmin())]
    found = create_analyzer(name, small, contrast=contrast).analyze(x, neurons)
    single = create_analyzer(name, small)
    classes = small.output_shape[-1]
    maps = [single.analyze(x, k).astype(np.float64) for k in range(classes)]
    assert (logits[np.arange(4), neurons] < 0).any(), "one of them is to be negative"
    expected = []
    for i, c in enumerate(neurons):
        # A map starts from the logit, or from 1.
        size = np.ones(classes) if "gradient" in name else logits[i].astype(np.float64)
        parts = [maps[k][i] / size[k] for k in range(classes)]
        others = weights(logits[i], c, contrast)
        mixed = sum(w * part for w, part in zip(others, parts, strict=True))
        expected.append(abs(size[c]) * (parts[c] - mixed))
    assert_same(found, np.stack(expected), 1e-4)


@pytest.mark.parametrize(
    "contrast", slow_unless(lambda p: p.values[0] in ("softmax", [0, 3]), KINDS), ids=str
)
def test_it_sums_to_0_and_conserves(contrast, model, x):
    analyzer = create_analyzer("rap", model, contrast=contrast)
    report = analyzer.conservation(x, 2)
    # The common part of two classes cancels, but its rounding errors do not.
    size = abs(model.predict(x, verbose=0)[:, 2])
    for row in [*report.layers, report.model]:
        assert (abs(row.outputs) < 1e-6 * size).all()
        assert (abs(row.inputs) < 1e-6 * size).all()
    assert (report.model.size > 1e-3 * size).all()


def test_without_contrast_nothing_changes(model, x):
    assert np.array_equal(
        create_analyzer("rap", model).analyze(x),
        create_analyzer("rap", model, contrast=None).analyze(x),
    )


def test_released_rules_start_from_the_same_relevance(model, x):
    analyzer = create_analyzer("rap", model, variant="released", contrast="softmax")
    layers_ = analyzer.analyze_layers(x)
    logits = model.predict(x, verbose=0)
    for row, start in zip(logits, list(layers_.values())[-1], strict=True):
        c = row.argmax()
        expected = -abs(row[c]) * weights(row, c, "softmax")
        expected[c] = abs(row[c])
        assert_same(start, expected, 1e-5)
    assert np.isfinite(analyzer.analyze(x)).all()


def test_deep_taylor_starts_from_positive_logits_alone(model, x):
    logits = model.predict(x, verbose=0)
    neuron = int(abs((logits < 0).sum(0) - 2).argmin())
    maps = create_analyzer("deep_taylor", model, contrast="uniform").analyze(x, neuron)
    sizes = abs(maps).reshape(len(x), -1).max(1)
    assert ((sizes > 0) == (logits[:, neuron] > 0)).all()
    assert len(set(logits[:, neuron] > 0)) == 2


def test_positions_of_a_map_are_contrasted_separately(rng):
    inputs = keras.Input((6, 6, 2))
    outputs = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(3, 3, activation="relu")(inputs))
    model = biased(keras.Model(inputs, outputs))
    x = rng.normal(size=(2, 6, 6, 2)).astype(np.float32)
    region = (np.s_[1:3], 2, 3)
    analyzer = create_analyzer("rap", model, contrast="softmax")
    start = list(analyzer.analyze_layers(x, region).values())[-1]
    logits = model.predict(x, verbose=0)
    expected = np.zeros_like(start)
    for i in range(2):
        for y in (1, 2):
            row = logits[i, y, 2]
            expected[i, y, 2] = -abs(row[3]) * weights(row, 3, "softmax")
            expected[i, y, 2, 3] = abs(row[3])
    assert_same(start, expected, 1e-5)


@pytest.mark.parametrize(
    ("contrast", "options", "selection", "message"),
    [
        ("max", {}, 0, "Expected contrast to be one of"),
        (10, {}, 0, "Expected the classes of contrast from 0 to 9, got 10"),
        (-1, {}, 0, "Expected the classes of contrast from 0 to 9"),
        (1.5, {}, 0, "Expected contrast to be None"),
        ([], {}, 0, "Expected contrast to be None"),
        (2, {}, 2, "compare with, got contrast=2, which is also explained in sample 0"),
        (2, {}, [0, 1, 2, 3], "also explained in sample 2"),
        (2, {}, [[0, 1], [1, 0], [0, 1], [3, 2]], "also explained in sample 3"),
        ("softmax", {"neuron_selection_mode": "all"}, None, "got all neurons: pass target=CLASS"),
    ],
)
def test_what_cannot_be_contrasted_is_refused(contrast, options, selection, message, model, x):
    with pytest.raises(InputError, match=message):
        create_analyzer("rap", model, contrast=contrast, **options).analyze(x, selection)


@pytest.mark.parametrize(
    ("against", "target", "message"),
    [
        ("max", 0, "Expected against to be one of"),
        (10, 0, "Expected the classes of against from 0 to 9"),
        (1.5, 0, "Expected against to be None"),
        (2, 2, "got against=2, which"),
        ("softmax", "all", "with against="),
    ],
)
def test_errors_name_what_was_given(against, target, message, model, x):
    analyzer = create_analyzer("rap", model)
    with pytest.raises(InputError, match=message) as caught:
        analyzer.analyze(x, target, against=against)
    assert caught.value.arguments[0] == "against"


def test_the_largest_class_is_not_contrasted_with_itself(model, x):
    largest = int(model.predict(x, verbose=0)[0].argmax())
    with pytest.raises(InputError, match="also explained in sample 0"):
        create_analyzer("rap", model, contrast=largest).analyze(x)


def unit_maps(name, model, x):
    """The map of each class for a relevance of 1 at its logit, (batch, classes, ...), and the logits."""
    count = model.output_shape[-1]
    found = create_analyzer(name, model).explain(x, np.tile(np.arange(count), (len(x), 1)))
    logits = found.logits.astype(np.float64)
    return found.relevance / logits[..., None, None, None], logits


@pytest.mark.parametrize("name", ["lrp.z_plus", "lrp.epsilon", "rap"])
@pytest.mark.quick("rap")
def test_other_names_of_a_contrast(name, model, x):
    """The starts of CLRP (Gu et al. 2018) and SGLRP (Iwana et al. 2019), as their papers write them."""
    x = x[:2]
    units, logits = unit_maps(name, model, x)
    classes = np.arange(logits.shape[1])
    target = logits.argmax(1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    for k, c in enumerate(target):
        score = logits[k, c]
        assert score > 0
        one = create_analyzer(name, model)
        clrp = np.where(classes == c, score, -score / (len(classes) - 1))
        expected = np.einsum("n,nhwc->hwc", clrp, units[k])
        found = one.analyze(x[k : k + 1], int(c), against="uniform")[0]
        assert_same(found, expected, 1e-3)
        sglrp = np.where(classes == c, p[k, c] * (1 - p[k, c]), -p[k, c] * p[k])
        expected = np.einsum("n,nhwc->hwc", sglrp, units[k])
        found = one.analyze(x[k : k + 1], int(c), against="softmax")[0]
        assert_same(found * (p[k, c] * (1 - p[k, c]) / score), expected, 1e-3)


def finer(model, x, c, d, strength, relu):
    """Grad-CAM of y_c - strength y_d (Finer-CAM, arXiv 2501.11309), before it is resized."""
    layer = [one for one in model.layers if isinstance(one, layers.Conv2D)][-1]
    features = array(keras.Model(model.input, layer.output)(x))
    above = keras.Model(layer.output, model.output)
    (slope,) = slopes(lambda a: above(a)[:, c] - strength * above(a)[:, d], [features])
    found = (slope.mean((1, 2), keepdims=True) * features).sum(-1)
    return np.maximum(found, 0) if relu else found


def resized(maps, size):
    return array(keras.ops.image.resize(maps[..., None], size))[..., 0]


def test_a_class_activation_map_against_a_class_is_finer_cam(model, x):
    size = x.shape[1:3]
    for relu in (True, False):
        cam = create_analyzer("grad_cam", model, relu=relu)
        found = cam.analyze(x, 3, against=8).sum(-1)
        assert_same(found, resized(finer(model, x, 3, 8, 1, relu), size), 1e-4)
    both = cam.analyze(x, np.array([[3, 8]] * len(x))).sum(-1)  # without the cut
    expected = resized(finer(model, x, 3, 8, 0.6, False), size)
    assert abs(expected).max() > 0
    assert_same(both[:, 0] - 0.6 * both[:, 1], expected, 1e-4)


def test_layers_are_not_contrasted_with_themselves(model, x):
    analyzer = create_analyzer("rap", model)
    largest = int(model.predict(x, verbose=0)[1].argmax())
    for ask in (analyzer.analyze_layers, analyzer.conservation):
        with pytest.raises(InputError, match="also explained in sample 0"):
            ask(x[1:2], against=largest)


@pytest.mark.parametrize("target", [2, None, (3,)])
def test_an_empty_batch_has_an_empty_contrast(target, model, x):
    analyzer = create_analyzer("rap", model, contrast=2)
    assert analyzer.analyze(x[:0], target).shape == x[:0].shape
    assert not any(len(part) for part in analyzer.analyze_layers(x[:0], target).values())


def test_one_neuron_has_no_others():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    with pytest.raises(InputError, match="the logit already compares class 1 with class 0"):
        create_analyzer("rap", model, contrast="softmax")


def test_contrast_is_saved(model, x, tmp_path):
    analyzer = create_analyzer("rap", model, contrast=[1, 2])
    analyzer.save(tmp_path / "saved")
    loaded = rap_keras.load_analyzer(tmp_path / "saved")
    assert_same(loaded.analyze(x, 0), analyzer.analyze(x, 0))


@pytest.mark.parametrize(
    "name",
    slow_unless(
        lambda p: p.values[0] in ("rap", "random"),
        ["rap", "lrp.alpha_2_beta_1", "input_t_gradient", "random"],
    ),
)
def test_several_neurons_equal_single_ones(name, model, x):
    seed = {"seed": 3} if name == "random" else {}
    analyzer = create_analyzer(name, model, **seed)
    neurons = np.array([[0, 1, 4], [1, 1, 0], [4, 3, 2], [2, 0, 1]])
    found = analyzer.explain(x, neurons)
    assert found.relevance.shape == (4, 3, *x.shape[1:])
    for k in range(3):
        one = analyzer.explain(x, neurons[:, k])
        assert_same(found.relevance[:, k], one.relevance)
        assert_same(found.explained_logits[:, k], one.explained_logits)
    assert np.array_equal(found.neurons, neurons)


@pytest.mark.parametrize("name", ["rap", "integrated_gradients"])
def test_the_largest_neurons(name, model, x):
    options = {"steps": 4} if name == "integrated_gradients" else {}
    found = create_analyzer(name, model, **options).explain(x, TopK(3))
    logits = model.predict(x, verbose=0)
    assert np.array_equal(found.neurons, np.argsort(-logits, 1)[:, :3])
    one = create_analyzer(name, model, **options)
    for k in range(3):
        assert_same(found.relevance[:, k], one.analyze(x, found.neurons[:, k]))


def test_an_empty_batch_has_no_neurons(model, x):
    found = create_analyzer("rap", model).explain(x[:0], TopK(2))
    assert found.relevance.shape == (0, 2, *x.shape[1:])
    assert found.neurons.shape == (0, 2)


def test_top_k_beyond_the_number_of_neurons_gives_all(model, x):
    found = create_analyzer("gradient", model).explain(x, TopK(99))
    assert found.neurons.shape == (4, 10)


@pytest.mark.parametrize(
    ("options", "selection", "message"),
    [
        ({}, [[0, 1]], r"of shape \(4, k\), got \[\[0, 1\]\]"),
        ({}, np.zeros((4, 0), int), r"of shape \(4, k\)"),
        ({}, [[0, 10]] * 4, "from 0 to 9"),
    ],
)
def test_selections_that_do_not_fit_are_refused(options, selection, message, model, x):
    with pytest.raises(InputError, match=message):
        create_analyzer("rap", model, **options).analyze(x, selection)


def test_layers_explain_one_neuron(model, x):
    analyzer = create_analyzer("rap", model)
    for ask in (analyzer.analyze_layers, analyzer.conservation):
        for target in (TopK(2), [[0, 1]] * 4):
            with pytest.raises(InputError, match="Expected one target of each sample here, got 2"):
                ask(x, target)


@pytest.mark.parametrize("contrast", [pytest.param(None, marks=pytest.mark.slow), "softmax"])
def test_the_positive_head_shares_by_positive_contributions(contrast, rng, tmp_path):
    model = plain("float64")
    kernel, bias = model.layers[-1].get_weights()
    kernel[:, 3] = -abs(kernel[:, 3])  # neuron 3 has no positive contributions
    model.layers[-1].set_weights([kernel, bias])
    x = rng.normal(size=(3, 12, 12, 3))
    analyzer = create_analyzer("rap", model, head="positive", contrast=contrast)
    neurons = [3, 1, 5]
    hidden = array(keras.Model(model.input, model.layers[-2].output)(x))
    logits = array(model(x))
    expected = np.zeros_like(hidden)
    for i, c in enumerate(neurons):
        start = np.zeros(10)
        if contrast:
            start -= abs(logits[i, c]) * weights(logits[i], c, contrast)
            start[c] = abs(logits[i, c])
        else:
            start[c] = logits[i, c]
        for j in range(10):
            z = hidden[i] * kernel[:, j]
            z = np.maximum(z, 0) if (z > 0).any() else -z
            expected[i] += start[j] * z / z.sum()
    found = analyzer.analyze_layers(x, neurons)[model.layers[-2].name]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert analyzer.conservation(x, neurons).max_error < 1e-9
    analyzer.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    np.testing.assert_allclose(again.analyze(x, neurons), analyzer.analyze(x, neurons), rtol=1e-9)
