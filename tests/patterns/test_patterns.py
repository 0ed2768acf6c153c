"""The patterns of PatternNet and PatternAttribution, and the analyzers, on the native backend."""

import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.command_line import run
from helpers.compare import FLOAT32, FLOAT64, assert_same
from helpers.networks import biased, plain
from helpers.shared_data import (
    fixture_files,
    fixture_patterns,
    load,
    pattern_attributions,
    pattern_model,
)
from helpers.thinned import slow_unless
from keras import layers
from PIL import Image

import rap_keras
from rap_keras import InputError, UnknownLayerError, patterns
from rap_keras.analyzers.pattern import PatternAttributionAnalyzer, PatternNetAnalyzer
from rap_keras.backends.keras3.trace import trace
from rap_keras.patterns.patterns import PATTERN_TYPES, Patterns
from rap_keras.patterns.statistics import Statistics
from rap_keras.support.images import read_image

ANALYZERS = {"pattern.net": PatternNetAnalyzer, "pattern.attribution": PatternAttributionAnalyzer}
FILES = fixture_files("innvestigate/pattern109_*.npz")


def sequential(shape, *chain, dtype="float32"):
    """A chain of layers with random biases, so that a bias that is forgotten shows."""
    with_dtype = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(dtype)
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *(make() for make in chain)])
    keras.config.set_dtype_policy(with_dtype)
    return biased(model)


def classifier(*chain, shape=(9, 9, 3), **options):
    end = (layers.Flatten, lambda: layers.Dense(4, name="dense"))
    return sequential(shape, *chain, *end, **options)


def fit(model, x, pattern_type="relu", **options):
    return patterns.fit(model, x, pattern_type, progress=False, **options)


def images(rng, count=20, shape=(9, 9, 3), dtype="float32"):
    return rng.normal(0.3, 1, (count, *shape)).astype(dtype)


# The estimation against loops over patches.


def patches(x, kernel_size, strides=1, padding="valid", dilation=1):
    """Every patch of x (batch, *space, channels) in float64, by loops: (cases, *kernel, channels)."""
    x, rank = np.asarray(x, np.float64), len(kernel_size)
    reach = [(k - 1) * dilation + 1 for k in kernel_size]
    if padding == "same":
        total = [
            max((-(-n // strides) - 1) * strides + r - n, 0)
            for n, r in zip(x.shape[1:-1], reach, strict=True)
        ]
        margins = [(t // 2, t - t // 2) for t in total]
    else:
        margins = [((r - 1) if padding == "causal" else 0, 0) for r in reach]
    x = np.pad(x, [(0, 0), *margins, (0, 0)])
    starts = [range(0, n - r + 1, strides) for n, r in zip(x.shape[1:-1], reach, strict=True)]
    found = []
    for sample, *corner in itertools.product(range(len(x)), *starts):
        patch = np.zeros((*kernel_size, x.shape[-1]))
        for offset in itertools.product(*map(range, kernel_size)):
            place = [corner[k] + dilation * offset[k] for k in range(rank)]
            patch[offset] = x[(sample, *place)]
        found.append(patch)
    return np.stack(found)


def loop_pattern(cases, kernel, bias, pattern_type, active=None):
    """The pattern of every neuron by the definition, case by case."""
    pattern = np.zeros(kernel.shape)
    for j in range(kernel.shape[-1]):
        w = np.asarray(kernel[..., j], np.float64)
        y = np.array([(case * w).sum() for case in cases])
        on = y + bias[j] > 0 if active is None else active[:, j]
        chosen = {
            "linear": np.full(len(y), True),
            "relu": on,
            "relu.positive": on,
            "relu.negative": ~on,
        }[pattern_type]
        if chosen.any():
            mean_x = cases[chosen].mean(0)
            mean_xy = np.mean(
                [case * v for case, v in zip(cases[chosen], y[chosen], strict=True)], 0
            )
            covariance = mean_xy - mean_x * y.mean()
            pattern[..., j] = covariance / (w * covariance).sum()
    return pattern


@pytest.mark.parametrize("pattern_type", PATTERN_TYPES)
def test_dense_equals_the_definition(pattern_type, rng):
    model = sequential(
        (7,), lambda: layers.Dense(6, "relu"), lambda: layers.Dense(3), dtype="float64"
    )
    x = rng.normal(0.3, 1, (50, 7))
    found = fit(model, x, pattern_type, batch_size=16)
    first, last = model.layers
    hidden = np.asarray(first(x))
    for layer, taken in ((first, x), (last, hidden)):
        kernel, bias = layer.get_weights()
        expected = loop_pattern(taken, kernel, bias, pattern_type)
        assert_same(found[layer.name], expected, 1e-10)


CONVOLUTIONS = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"strides": 2},
    "strides_same": {"strides": 2, "padding": "same"},
    "dilation": {"dilation_rate": 2},
    "no_bias": {"use_bias": False},
}


@pytest.mark.parametrize("pattern_type", ["linear", "relu.positive", "relu.negative"])
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_equals_the_definition(options, pattern_type, rng):
    model = classifier(
        lambda: layers.Conv2D(4, (3, 2), activation="relu", name="conv", **options), dtype="float64"
    )
    x = images(rng, 6, dtype="float64")
    found = fit(model, x, pattern_type, batch_size=4)["conv"]
    kernel, *bias = model.get_layer("conv").get_weights()
    bias = bias[0] if bias else np.zeros(4)
    cases = patches(
        x,
        (3, 2),
        options.get("strides", 1),
        options.get("padding", "valid"),
        options.get("dilation_rate", 1),
    )
    assert_same(found, loop_pattern(cases, kernel, bias, pattern_type), 1e-10)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_convolution_of_series_equals_the_definition(padding, rng):
    def conv():
        return layers.Conv1D(4, 3, padding=padding, activation="relu", name="conv")

    model = classifier(conv, shape=(10, 2), dtype="float64")
    x = images(rng, 8, (10, 2), "float64")
    kernel, bias = model.get_layer("conv").get_weights()
    expected = loop_pattern(patches(x, (3,), padding=padding), kernel, bias, "relu")
    assert_same(fit(model, x)["conv"], expected, 1e-10)


def test_depthwise_channels_are_neurons_of_their_own(rng):
    def depthwise():
        return layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="conv")

    model = classifier(depthwise, dtype="float64")
    x = images(rng, 6, dtype="float64")
    kernel, bias = model.get_layer("conv").get_weights()
    found = fit(model, x)["conv"]
    for channel in range(3):
        cases = patches(x[..., channel : channel + 1], (3, 3))
        own = kernel[:, :, channel : channel + 1]
        expected = loop_pattern(cases, own, bias[2 * channel : 2 * channel + 2], "relu")
        assert_same(found[:, :, channel : channel + 1], expected, 1e-10)


def test_grouped_convolution_is_two_convolutions(rng):
    model = classifier(
        lambda: layers.Conv2D(4, 3, groups=2, activation="relu", name="conv"),
        shape=(6, 6, 4),
        dtype="float64",
    )
    x = images(rng, 6, (6, 6, 4), "float64")
    kernel, bias = model.get_layer("conv").get_weights()
    found = fit(model, x)["conv"]
    for group in range(2):
        out = slice(2 * group, 2 * group + 2)
        cases = patches(x[..., out], (3, 3))
        assert_same(
            found[..., out], loop_pattern(cases, kernel[..., out], bias[out], "relu"), 1e-10
        )


def test_transposed_and_separable_layers_fit_their_maps(rng):
    """w^T a = 1 for every neuron; a transposed convolution without overlap is a Dense layer."""
    model = classifier(
        lambda: layers.SeparableConv2D(5, 3, activation="relu", name="separable"),
        lambda: layers.Conv2DTranspose(4, 2, strides=2, activation="relu", name="transposed"),
        dtype="float64",
    )
    x = images(rng, dtype="float64")
    found = fit(model, x)
    depthwise, pointwise, _ = model.get_layer("separable").get_weights()
    assert_same((found["separable[0]"] * depthwise).sum((0, 1)), np.ones((3, 1)), 1e-9)
    assert_same((found["separable[1]"] * pointwise).sum((0, 1, 2)), np.ones(5), 1e-9)
    kernel, bias = model.get_layer("transposed").get_weights()
    inner = keras.Model(model.inputs[0], model.get_layer("separable").output)
    taken = np.asarray(inner(x)).reshape(-1, 5)
    active = (
        np.stack(  # of the four places that an input reaches, each is a neuron of a Dense layer
            [taken @ kernel[i, j].T + bias > 0 for i in range(2) for j in range(2)], 1
        )
    )
    cases = np.zeros((len(taken), 4, 2, 2, 5))
    for place, (i, j) in enumerate(itertools.product(range(2), range(2))):
        cases[:, place, i, j] = taken
    expected = loop_pattern(
        cases.reshape(-1, 2, 2, 5),
        kernel.transpose(0, 1, 3, 2),
        bias,
        "relu",
        active.reshape(-1, 4),
    )
    assert_same(found["transposed"], expected.transpose(0, 1, 3, 2), 1e-9)


def test_small_covariances_are_kept(rng):
    """Inputs far from 0, as images of 0 to 255: E[x y] and E[x] E[y] agree in most digits."""
    model = classifier(lambda: layers.Conv2D(4, 3, activation="relu", name="conv"))
    x = (1000 + images(rng, 10)).astype("float32")
    kernel, bias = model.get_layer("conv").get_weights()
    expected = loop_pattern(patches(x, (3, 3)), kernel, bias, "linear")
    assert_same(fit(model, x, "linear")["conv"], expected, 1e-3)


def test_dense_layers_are_summed_in_double(rng):
    """What y would lose in single precision is a hundred times more."""
    model = sequential((7,), lambda: layers.Dense(5, "relu", name="dense"))
    x = (1000 + images(rng, 30, (7,))).astype("float32")
    kernel, bias = model.get_layer("dense").get_weights()
    expected = loop_pattern(x.astype("float64"), kernel, bias, "linear")
    assert_same(fit(model, x, "linear")["dense"], expected, 1e-6)


def test_the_signal_is_found_behind_a_distractor(rng):
    """The paper's example: x = a s + d e. The weights cancel d; the pattern is a, not the weights."""
    a, d = np.array([1.0, 0.5]), np.array([1.0, 1.0])
    signal, distractor = rng.normal(size=(2, 5000, 1))
    x = signal * a + distractor * d
    model = sequential((2,), lambda: layers.Dense(1, name="dense"), dtype="float64")
    model.get_layer("dense").set_weights([np.array([[2.0], [-2.0]]), np.array([0.7])])
    assert_same(fit(model, x, "linear")["dense"][:, 0], a, 0.05)


def test_a_neuron_that_never_varies_has_no_pattern(rng):
    model = sequential((3,), lambda: layers.Dense(4, "relu", name="a"), lambda: layers.Dense(2))
    kernel, bias = model.get_layer("a").get_weights()
    kernel[:, 0], bias[1] = 0, -1e3  # constant; never active
    model.get_layer("a").set_weights([kernel, bias])
    found = fit(model, rng.normal(size=(30, 3)))["a"]
    np.testing.assert_array_equal(found[:, :2], 0)
    assert_same((found * kernel).sum(0)[2:], [1, 1])


# What a layer's neurons are, and when they are active.


def test_a_separate_activation_is_as_a_fused_one(rng):
    fused = classifier(lambda: layers.Conv2D(4, 3, activation="relu", name="conv"))
    apart = classifier(
        lambda: layers.Conv2D(4, 3, name="conv"), lambda: layers.Dropout(0.5), layers.ReLU
    )
    apart.set_weights(fused.get_weights())
    x = images(rng)
    for name in ("conv", "dense"):
        assert_same(fit(apart, x)[name], fit(fused, x)[name])
    for cls in ANALYZERS.values():
        maps = [cls(m, fit(fused, x), project=False).analyze(x) for m in (apart, fused)]
        assert_same(*maps)


def with_normalization():
    """BatchNormalization behind a convolution, and in front of another."""
    return classifier(
        lambda: layers.Conv2D(4, 3, name="conv1"),
        lambda: layers.BatchNormalization(name="bn1"),
        layers.ReLU,
        lambda: layers.BatchNormalization(name="bn2"),
        lambda: layers.Conv2D(5, 3, activation="relu", name="conv2"),
        dtype="float64",
    )


def scale_and_shift(layer):
    gamma, beta, mean, variance = layer.get_weights()
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


def folded_by_hand(model):
    plain_model = classifier(
        lambda: layers.Conv2D(4, 3, activation="relu", name="conv1"),
        lambda: layers.Conv2D(5, 3, activation="relu", name="conv2"),
        dtype="float64",
    )
    kernel, bias = model.get_layer("conv1").get_weights()
    scale, shift = scale_and_shift(model.get_layer("bn1"))
    plain_model.get_layer("conv1").set_weights([kernel * scale, bias * scale + shift])
    kernel, bias = model.get_layer("conv2").get_weights()
    scale, shift = scale_and_shift(model.get_layer("bn2"))
    shifted = bias + (kernel * shift[:, np.newaxis]).sum((0, 1, 2))
    plain_model.get_layer("conv2").set_weights([kernel * scale[:, np.newaxis], shifted])
    plain_model.get_layer("dense").set_weights(model.get_layer("dense").get_weights())
    return plain_model


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("pattern.net", True),
        ("pattern.attribution", False),
        pytest.param("pattern.net", False, marks=pytest.mark.slow),
        pytest.param("pattern.attribution", True, marks=pytest.mark.slow),
    ],
)
def test_normalization_is_part_of_the_linear_layer_beside_it(name, project, rng):
    model = with_normalization()
    folded = folded_by_hand(model)
    x = images(rng, dtype="float64")
    assert_same(folded.predict(x, verbose=0), model.predict(x, verbose=0), 1e-9)
    own, expected = fit(model, x), fit(folded, x)
    scale, _ = scale_and_shift(model.get_layer("bn1"))
    assert_same(own["conv1"] / scale, expected["conv1"], 1e-9)
    maps = [
        ANALYZERS[name](m, p, project).analyze(x) for m, p in ((model, own), (folded, expected))
    ]
    assert_same(*maps, 1e-9)


def residual_block(sum_is_activated):
    x = inputs = keras.Input((6, 6, 4), dtype="float64")
    x = layers.Conv2D(4, 1, name="conv", dtype="float64")(x)
    x = layers.BatchNormalization(name="bn", dtype="float64")(x)
    x = layers.Add(name="add", dtype="float64")([x, inputs])
    x = layers.ReLU(dtype="float64")(x) if sum_is_activated else layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D(dtype="float64")(x)
    return biased(keras.Model(inputs, layers.Dense(3, dtype="float64")(x)))


@pytest.mark.parametrize("sum_is_activated", [True, False])
def test_the_next_activation_tells_which_neurons_are_active(sum_is_activated, rng):
    model = residual_block(sum_is_activated)
    x = images(rng, 10, (6, 6, 4), "float64")
    decides = model.get_layer("add" if sum_is_activated else "bn").output
    active = np.asarray(keras.Model(model.inputs[0], decides)(x)) > 0
    kernel, bias = model.get_layer("conv").get_weights()
    cases = patches(x, (1, 1))
    expected = loop_pattern(cases, kernel, bias, "relu", active.reshape(-1, 4))
    assert_same(fit(model, x)["conv"], expected, 1e-10)


def test_dropout_is_off(rng):
    def network(*dropout):
        return sequential(
            (8,), *dropout, lambda: layers.Dense(6, "relu", name="a"), *dropout,
            lambda: layers.Dense(3, name="b"),
        )  # fmt: skip

    with_dropout, without = network(lambda: layers.Dropout(0.5)), network()
    without.set_weights(with_dropout.get_weights())
    x = rng.normal(size=(40, 8))
    for name, expected in fit(without, x).items():
        assert_same(fit(with_dropout, x)[name], expected)


def test_a_softmax_at_the_end_changes_nothing(rng):
    x = rng.normal(size=(40, 12, 12, 3))
    bare, with_head = plain(), plain(head="softmax")
    with_head.set_weights(bare.get_weights())
    for found, expected in zip(fit(with_head, x).values(), fit(bare, x).values(), strict=True):
        assert_same(found, expected)


def test_calls_of_a_shared_layer_have_patterns_of_their_own(rng):
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    shared = layers.Dense(4, "relu", name="shared")
    x = layers.Concatenate()([shared(left), shared(right)])
    model = biased(keras.Model([left, right], layers.Dense(3, name="end")(x)))
    a, b = rng.normal(0, 1, (30, 5)), rng.normal(1, 2, (30, 5))
    found = fit(model, [a, b], batch_size=7)
    kernel, bias = shared.get_weights()
    assert_same(found["shared"], loop_pattern(a, kernel, bias, "relu"))
    assert_same(found["shared:1"], loop_pattern(b, kernel, bias, "relu"))
    as_dict = fit(model, {"right": b, "left": a})
    assert_same(as_dict["shared:1"], found["shared:1"])
    maps = PatternNetAnalyzer(model, found).analyze([a, b])
    assert all(abs(m).max() > 0 for m in maps)


def test_half_precision_models_get_single_precision_patterns(rng):
    half, single = plain("mixed_float16"), plain()
    single.set_weights(half.get_weights())
    x = images(rng, 20, (12, 12, 3))
    found, expected = fit(half, x), fit(single, x)
    for name, pattern in found.items():
        assert pattern.dtype == np.float32
        assert_same(pattern, list(expected.values())[list(found).index(name)], 0.05)


# One pass, in parts.


@pytest.fixture
def model():
    return plain()


@pytest.fixture
def exact():
    """In double precision, where all that parts of the data change is far below any mistake in sums."""
    return plain("float64")


@pytest.fixture
def x(rng):
    return images(rng, 30, (12, 12, 3))


def assert_equal_patterns(found, expected, tolerance=FLOAT64):
    assert list(found) == list(expected)
    for name in expected:
        assert_same(found[name], expected[name], tolerance)


def gathered(model, x, pattern_type=None):
    statistics = Statistics(model, pattern_type)
    statistics.feed(x, progress=False)
    return statistics


def test_statistics_serve_all_types(exact, x):
    statistics = gathered(exact, x)
    for pattern_type in PATTERN_TYPES:
        assert_equal_patterns(statistics.patterns(pattern_type), fit(exact, x, pattern_type))
    linear, positive = statistics.patterns("linear"), statistics.patterns("relu")
    assert any(abs(linear[name] - positive[name]).max() > 0.01 for name in linear)


def test_merged_shards_equal_one_pass(exact, x, tmp_path):
    a, b = gathered(exact, x[:11]), gathered(exact, x[11:])
    before = a.patterns("linear")
    together = a + b
    assert_equal_patterns(a.patterns("linear"), before, 0)  # the parts stay as they are
    assert (a.samples, b.samples, together.samples) == (11, 19, 30)
    for path, part in ((tmp_path / "a", a), (tmp_path / "b", b)):
        part.save(path)
    loaded = Statistics.load(tmp_path / "a")
    loaded.merge(Statistics.load(tmp_path / "b"))
    whole = gathered(exact, x)
    for pattern_type in PATTERN_TYPES:
        expected = whole.patterns(pattern_type)
        assert_equal_patterns(together.patterns(pattern_type), expected)
        assert_equal_patterns(loaded.patterns(pattern_type), expected)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [pytest.param("float64", FLOAT64, marks=pytest.mark.slow), ("float32", FLOAT32)],
)
def test_resumed_statistics_equal_one_pass(dtype, tolerance, x, tmp_path):
    model = plain(dtype)
    gathered(model, x[:11]).save(tmp_path / "statistics.npz")
    resumed = Statistics.load(tmp_path / "statistics.npz", model)
    for start in range(11, 30, 7):
        resumed.update(x[start : start + 7])
    assert resumed.samples == 30
    for pattern_type in PATTERN_TYPES:
        expected = fit(model, x, pattern_type)
        assert_equal_patterns(resumed.patterns(pattern_type), expected, tolerance)


class Pages(keras.utils.PyDataset):
    """Batches by number, as Keras trains on them."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 3

    def __getitem__(self, k):
        return self.x[10 * k : 10 * k + 10], np.zeros(10)


STREAMS = {
    "dataset": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(7),
    "dataset_with_labels": lambda x: tf.data.Dataset.from_tensor_slices((x, np.arange(30))).batch(
        7
    ),
    "generator": lambda x: (x[k : k + 4] for k in range(0, 30, 4)),
    "generator_with_labels": lambda x: ((x[k : k + 4], None) for k in range(0, 30, 4)),
    "iterator": lambda x: iter([x[:2], x[2:2], x[2:]]),
    "py_dataset": Pages,
    "tensor": tf.constant,
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize(
    "stream",
    slow_unless(
        lambda p: p.id in ("dataset_with_labels", "iterator", "py_dataset"),
        [pytest.param(stream, id=name) for name, stream in STREAMS.items()],
    ),
)
def test_streams_equal_arrays(stream, exact, x):
    assert_equal_patterns(fit(exact, stream(x)), fit(exact, x))


def test_batches_are_taken_one_at_a_time(model, x):
    """A generator's batch is summed up before the next is made."""
    statistics = Statistics(model, "relu")
    seen = []

    def batches():
        for k in range(3):
            seen.append(statistics.samples)
            yield x[10 * k : 10 * k + 10]

    statistics.feed(batches(), progress=False)
    assert seen == [0, 10, 20]


def test_the_model_is_not_changed(model, x):
    weights = model.get_weights()
    fit(model, x)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_patterns_are_saved_without_pickle(model, x, tmp_path):
    found = fit(model, x, "relu.negative")
    found.save(tmp_path / "patterns.npz")
    with np.load(tmp_path / "patterns.npz", allow_pickle=False) as file:
        assert all(file[key].dtype.kind in "fU" for key in file.files)
    loaded = Patterns.load(tmp_path / "patterns.npz")
    assert loaded.pattern_type == "relu.negative"
    assert_equal_patterns(loaded, found, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["patterns.npz"]


# NumPy before 2 leaves its half archive to be closed by nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_written_is_said_in_a_sentence(model, x, tmp_path):
    resource = pytest.importorskip("resource")
    statistics = gathered(model, x)
    things = {"patterns": statistics.patterns(), "statistics": statistics}
    (tmp_path / "file").touch()
    for name, thing in things.items():
        with pytest.raises(
            InputError, match=r"^The file '.*file/a.npz' cannot be written \(.+\)\.$"
        ):
            thing.save(tmp_path / "file" / "a.npz")
        thing.save(tmp_path / name / "a.npz")  # a folder that is missing is made
        before = (tmp_path / name / "a.npz").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a full disk
        try:
            with pytest.raises(
                InputError, match=r"^The file '.*a.npz' cannot be written \(.+\)\.$"
            ):
                thing.save(tmp_path / name / "a.npz")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / name / "a.npz").read_bytes() == before
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a.npz"]


# The analyzers.


def kernels_of(model):
    return {layer.name: np.asarray(layer.kernel) for layer in model.layers if layer.weights}


def gradient_times_logit(model, x):
    gradient = rap_keras.create_analyzer("gradient", model).analyze(x)
    logits = model.predict(x, verbose=0).max(1)
    return gradient * logits.reshape(-1, *[1] * (x.ndim - 1))


def test_the_kernels_as_patterns_give_the_gradient(model, x):
    expected = gradient_times_logit(model, x)
    own = Patterns(kernels_of(model))
    assert_same(PatternNetAnalyzer(model, own, project=False).analyze(x), expected)
    ones = Patterns({name: np.ones_like(kernel) for name, kernel in own.items()})
    analyzer = PatternAttributionAnalyzer(model, ones, project=False)
    assert_same(analyzer.analyze(x), expected)


def test_attribution_is_pattern_net_with_kernel_times_pattern(model, x):
    found = fit(model, x)
    products = Patterns({name: kernel * found[name] for name, kernel in kernels_of(model).items()})
    for mode in ("max_activation", "all"):
        options = {"neuron_selection_mode": mode}
        expected = PatternNetAnalyzer(model, products, **options).analyze(x)
        assert_same(PatternAttributionAnalyzer(model, found, **options).analyze(x), expected)


def test_projected_maps_are_the_others_over_their_largest_size(model, x):
    model.layers[-1].bias.assign_sub(np.full(10, 100.0))  # negative logits turn the sign
    found = fit(model, x, "linear")
    raw = PatternNetAnalyzer(model, found, project=False).analyze(x)
    largest = abs(raw).max((1, 2, 3), keepdims=True)
    assert (largest > 0).sum() > 20
    expected = raw / np.where(largest > 0, largest, 1)
    assert_same(PatternNetAnalyzer(model, found).analyze(x), expected)
    options = {"neuron_selection_mode": "index"}
    by_index = [
        PatternNetAnalyzer(model, found, project, **options).analyze(x, 3)
        for project in (True, False)
    ]
    np.testing.assert_array_equal(*by_index)


def test_projection_keeps_deep_networks_finite(rng):
    """Twelve layers whose patterns grow relevance by 10^5 each."""
    chain = [lambda: layers.Conv2D(3, 1, activation="relu") for _ in range(12)]
    model = classifier(*chain, shape=(3, 3, 3))
    sizes = kernels_of(model)
    grown = Patterns({name: np.full(k.shape, 1e5) for name, k in sizes.items()})
    x = images(rng, 4, (3, 3, 3))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([abs(w) for w in layer.get_weights()])
    maps = PatternNetAnalyzer(model, grown).analyze(abs(x))
    np.testing.assert_allclose(abs(maps).max((1, 2, 3)), 1, rtol=1e-6)
    with pytest.raises(InputError, match="finite relevance"):
        PatternNetAnalyzer(model, grown, project=False).analyze(abs(x))


def test_bottlenecks_are_what_everything_passes():
    graph = trace(residual_block(True))
    names = {graph.producers[slot].name for slot in graph.bottlenecks if slot in graph.producers}
    assert {"add", graph.nodes[-1].name} <= names
    assert not names & {"conv", "bn"}  # the skip goes around them
    assert set(graph.inputs) <= graph.bottlenecks
    assert graph.bottlenecks - set(graph.inputs) == {
        slot for node in graph.nodes[2:] for slot in node.outputs
    }


def test_skip_connections_are_summed(rng):
    """Both ways of a residual block, and the gate of the ReLU behind it."""
    model = residual_block(True)
    x = images(rng, 6, (6, 6, 4), "float64")
    found = fit(model, x)
    analyzer = PatternNetAnalyzer(model, found, project=False)
    maps, steps = analyzer.analyze(x), analyzer.analyze_layers(x)
    scale, _ = scale_and_shift(model.get_layer("bn"))
    assert_same(steps["conv"], steps["bn"] / scale, 1e-12)
    through = np.einsum("nhwo,io->nhwi", steps["conv"], found["conv"][0, 0])
    assert_same(maps, through + steps["add"], 1e-12)


def test_limits_by_a_constant_gate_as_activations_do(rng):
    def network(activation):
        inputs = keras.Input((5,))
        x = layers.Dense(6, name="a")(inputs)
        return keras.Model(inputs, layers.Dense(3, name="b")(activation(x)))

    by_layer = biased(network(layers.ReLU(max_value=0.5)))
    by_ops = network(lambda x: keras.ops.minimum(keras.ops.maximum(x, 0.0), 0.5))
    by_ops.set_weights(by_layer.get_weights())
    x = rng.normal(size=(40, 5))
    found = fit(by_layer, x)
    maps = [PatternNetAnalyzer(model, found).analyze(x) for model in (by_ops, by_layer)]
    assert_same(*maps)


def test_saved_analyzers_come_back(model, x, tmp_path):
    analyzer = PatternAttributionAnalyzer(model, fit(model, x), project=False)
    analyzer.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "analyzer.json").read_text())
    assert saved["options"]["patterns"] == "patterns.npz"
    loaded = rap_keras.load_analyzer(tmp_path / "saved")
    assert isinstance(loaded, PatternAttributionAnalyzer)
    assert_same(loaded.analyze(x), analyzer.analyze(x))


@pytest.mark.parametrize("name", ANALYZERS)
def test_analyzers_are_made_by_name(name, model, x, tmp_path):
    found = fit(model, x)
    found.save(tmp_path / "patterns.npz")
    analyzer = rap_keras.create_analyzer(name, model, patterns=tmp_path / "patterns.npz")
    assert_same(analyzer.analyze(x), ANALYZERS[name](model, found).analyze(x))


def test_the_rules_print_briefly(model, x):
    table = repr(PatternNetAnalyzer(model, fit(model, x)).rules())
    assert "pattern.net(patterns=Patterns(4 layers, 'relu'), project=True)" in table


# iNNvestigate 1.0.9.


@pytest.mark.parametrize("file", FILES)
def test_patterns_equal_innvestigates(file):
    if "dropout" in file.stem:
        pytest.skip("iNNvestigate left Dropout on while it took the statistics")
    data = load(file)
    statistics = gathered(pattern_model(data), data["x_train"])
    for pattern_type in ("linear", "relu.positive", "relu.negative"):
        expected = fixture_patterns(data, pattern_type)
        assert_equal_patterns(statistics.patterns(pattern_type), expected, 1e-4)


def of_a_kind_each(p):
    """One fixture of each kind of network."""
    return p.id.split("_")[1] in ("vggstride", "mlpflat", "mlpdropout") or p.id.endswith("vgg_s0")


@pytest.mark.parametrize("file", slow_unless(of_a_kind_each, FILES))
def test_maps_equal_innvestigates(file):
    data = load(file)
    model = pattern_model(data)
    for key, method, pattern_type, options in pattern_attributions(data):
        found = Patterns(fixture_patterns(data, pattern_type), pattern_type)
        selection = data["index"] if options["neuron_selection_mode"] == "index" else None
        maps = ANALYZERS[method](model, found, **options).analyze(data["x"], selection)
        assert_same(maps, data[key], 1e-4)


@pytest.mark.parametrize("file", slow_unless(of_a_kind_each, FILES))
def test_fitted_maps_equal_innvestigates(file):
    if "dropout" in file.stem:
        pytest.skip("iNNvestigate left Dropout on while it took the statistics")
    data = load(file)
    model = pattern_model(data)
    analyzer = PatternAttributionAnalyzer(model, fit(model, data["x_train"]))
    assert_same(analyzer.analyze(data["x"]), data["patternattribution/default_fit"], 1e-4)


# Errors.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nofolder/", "There is no image or folder 'nofolder'"),
        (3, "got int"),
        (np.zeros((0, 12, 12, 3)), "no samples"),
        ([], "no samples|of shape"),
        (iter([]), "no samples"),
        (np.zeros((12, 12, 3)), "a single sample needs a batch axis"),
        (np.full((2, 12, 12, 3), np.nan), "finite"),
        (np.zeros((2, 12, 12, 4)), "of shape"),
    ],
    ids=range(8),
)
def test_data_that_cannot_be_used_are_refused(data, message, model):
    with pytest.raises(InputError, match=message):
        fit(model, data)


def test_a_batch_that_is_refused_leaves_no_trace(model, x):
    statistics = gathered(model, x)
    expected = statistics.patterns("linear")
    with pytest.raises(InputError, match="finite"):
        statistics.update(np.full((2, 12, 12, 3), np.inf))
    with np.errstate(all="ignore"), pytest.raises(InputError, match="overflow"):
        statistics.update(np.full((2, 12, 12, 3), 3e38))
    assert statistics.samples == 30
    assert_equal_patterns(statistics.patterns("linear"), expected, 0)


def test_wrong_types_are_refused(model, x):
    with pytest.raises(InputError, match=r"pattern_type to be one of 'relu'.*got 'max'"):
        fit(model, x, "max")
    with pytest.raises(InputError, match="pattern_type=None"):
        gathered(model, x, "relu").patterns("linear")
    with pytest.raises(InputError, match="batch_size"):
        fit(model, x, batch_size=0)
    with pytest.raises(InputError, match="no samples"):
        Statistics(model).patterns()


def test_patterns_of_another_model_are_refused(model, x, tmp_path):
    found = fit(model, x)
    other = classifier(lambda: layers.Conv2D(4, 3, name="conv"))
    with pytest.raises(InputError, match="for layer 'conv' there is none in place of one of shape"):
        PatternNetAnalyzer(other, found)
    name = next(iter(found))
    with pytest.raises(InputError, match="in place of none"):
        PatternNetAnalyzer(model, Patterns({**found, "more": np.ones(3)}))
    with pytest.raises(InputError, match=rf"'{name}' there is one of shape \(2,\)"):
        PatternNetAnalyzer(model, Patterns({**found, name: np.ones(2)}))
    with pytest.raises(InputError, match="Expected finite patterns"):
        PatternNetAnalyzer(model, Patterns({**found, name: found[name] * np.nan}))
    for given in (None, found[name], {name: found[name]}):
        with pytest.raises(InputError, match=r"patterns\.fit\(model, data\)"):
            PatternNetAnalyzer(model, given)
    gathered(model, x).save(tmp_path / "statistics.npz")
    with pytest.raises(InputError, match="statistics of this model"):
        Statistics.load(tmp_path / "statistics.npz", other)
    with pytest.raises(InputError, match="statistics of this model"):
        gathered(model, x).merge(gathered(other, images(np.random.default_rng(0))))
    with pytest.raises(InputError, match="same pattern types"):
        gathered(model, x).merge(gathered(model, x, "relu"))


def test_files_of_another_kind_are_refused(model, x, tmp_path):
    statistics = gathered(model, x)
    statistics.save(tmp_path / "statistics.npz")
    statistics.patterns().save(tmp_path / "patterns.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    np.savez(tmp_path / "pickled.npz", header=np.array([{}], object))
    np.save(tmp_path / "array.npy", np.ones(2))
    (tmp_path / "text.npz").write_text("no archive")
    whole = (tmp_path / "patterns.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    names = ("other.npz", "pickled.npz", "array.npy", "text.npz", "half.npz")
    for name in (*names, "statistics.npz"):
        with pytest.raises(InputError, match="Expected a file with patterns"):
            Patterns.load(tmp_path / name)
    for name in (*names, "patterns.npz"):
        with pytest.raises(InputError, match="Expected a file with statistics"):
            Statistics.load(tmp_path / name)
    with pytest.raises(InputError, match=r"There is no file with patterns .*missing"):
        Patterns.load(tmp_path / "missing.npz")
    with pytest.raises(InputError, match="loaded without"):
        Statistics.load(tmp_path / "statistics.npz").update(x)
    with np.load(tmp_path / "statistics.npz") as file:
        some = {key: file[key] for key in file.files if not key.startswith("xy.")}
    np.savez(tmp_path / "some.npz", **some)
    with pytest.raises(InputError, match="some are missing"):
        Statistics.load(tmp_path / "some.npz")


def test_models_without_patterns_are_refused(rng):
    pooling = sequential((9, 9, 3), layers.GlobalAveragePooling2D)
    with pytest.raises(InputError, match="got none"):
        fit(pooling, images(rng))
    einsum = sequential((5,), lambda: layers.EinsumDense("ab,bc->ac", 3))
    with pytest.raises(InputError, match="EinsumDense"):
        fit(einsum, rng.normal(size=(9, 5)))
    with pytest.raises(InputError, match="Keras"):
        fit("vgg16", images(rng))


def test_layers_without_a_rule_are_refused(rng):
    inputs = keras.Input((5,))
    x = layers.Dense(4, "relu", name="a")(inputs)
    gated = layers.Multiply()([x, layers.Dense(4, "sigmoid", name="b")(inputs)])
    model = keras.Model(inputs, layers.Dense(2, name="c")(gated))
    found = fit(model, rng.normal(size=(9, 5)))
    with pytest.raises(UnknownLayerError, match="Multiply"):
        PatternNetAnalyzer(model, found)


# Folders of images.


@pytest.fixture
def photographs(tmp_path, rng):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(5):
        pixels = rng.integers(0, 256, (70, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def as_pixels(images):
    assert images.dtype == np.uint8
    assert len(images) <= 2  # one batch at a time
    return images / np.float32(100)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("shape", [(12, 12, 3), (None, None, 3)])
def test_a_folder_equals_the_array_of_its_images(kind, shape, photographs):
    model = sequential(
        shape,
        lambda: layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D,
        lambda: layers.Dense(3),
    )
    pixels = [read_image(p, shape[:2] if shape[0] else None) for p in sorted(photographs.iterdir())]
    expected = fit(model, np.stack(pixels) / np.float32(100), "linear", batch_size=2)
    found = fit(model, kind(photographs), "linear", batch_size=2, preprocess=as_pixels)
    assert_equal_patterns(found, expected, 0)


def test_images_of_several_sizes_go_batch_by_batch(photographs, rng):
    Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).save(photographs / "2b.png")
    model = sequential((None, None, 3), lambda: layers.Conv2D(4, 3), layers.GlobalAveragePooling2D)
    sizes = []

    def preprocess(images):
        sizes.append(images.shape[:3])
        return images / np.float32(255)

    statistics = Statistics(model)
    statistics.feed(photographs, 2, progress=False, preprocess=preprocess)
    assert statistics.samples == 6
    assert sizes == [(2, 70, 80), (1, 70, 80), (1, 30, 20), (2, 70, 80)]


def test_folders_that_cannot_be_used_are_refused(photographs, tmp_path, model, x):
    options = {"preprocess": as_pixels}
    with pytest.raises(InputError, match="Expected preprocess with the images of"):
        fit(model, photographs)
    with pytest.raises(InputError, match="got 'caffe': pass the function"):
        fit(model, photographs, preprocess="caffe")
    with pytest.raises(InputError, match=r"Expected the path of a folder .* got ndarray"):
        fit(model, x, **options)
    with pytest.raises(InputError, match="There is no image or folder"):
        fit(model, tmp_path / "missing", **options)
    with pytest.raises(InputError, match="batch_size"):
        fit(model, photographs, batch_size=0, **options)
    with pytest.raises(InputError, match="of shape"):
        fit(model, photographs, preprocess=lambda images: images[..., :2])
    with pytest.raises(InputError, match=r"inputs of shape \(None, 5\): pass arrays"):
        fit(sequential((5,), lambda: layers.Dense(2)), photographs, **options)
    (photographs / "bad.png").write_text("no image")
    with pytest.raises(InputError, match="not an image that can be read"):
        fit(model, photographs, batch_size=2, **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        fit(model, tmp_path / "empty", **options)


# On the command line.


def run_fit(*arguments):
    return run("patterns", "fit", *arguments)


def expected_on_photographs(folder, pattern_type="relu"):
    from rap_keras.models.loading import load_model

    loaded = load_model("embedded:vgg")
    pixels = [read_image(path, loaded.input_size) for path in sorted(folder.iterdir())]
    return fit(loaded.model, loaded.preprocess(np.stack(pixels)), pattern_type)


def test_patterns_of_images_on_the_command_line(photographs, tmp_path):
    out = tmp_path / "new" / "patterns.npz"
    result = run_fit(photographs, "--model", "embedded:vgg", "--type", "linear", "--out", out)
    assert result.exit_code == 0, result.output
    assert "5 images" in result.output
    found = Patterns.load(out)
    assert found.pattern_type == "linear"
    assert_equal_patterns(found, expected_on_photographs(photographs, "linear"), FLOAT32)
    assert [path.name for path in out.parent.iterdir()] == ["patterns.npz"]


def test_images_in_parts_on_the_command_line(photographs, tmp_path):
    files = {"--out": tmp_path / "patterns.npz", "--statistics": tmp_path / "statistics.npz"}
    options = ["--model", "embedded:vgg", *itertools.chain(*files.items())]
    for part in ("[01].png", "[234].png"):
        result = run_fit(photographs / part, *options)
        assert result.exit_code == 0, result.output
    assert Statistics.load(files["--statistics"]).samples == 5
    expected = expected_on_photographs(photographs)
    assert_equal_patterns(Patterns.load(files["--out"]), expected, FLOAT32)


def test_errors_on_the_command_line_leave_no_files(photographs, tmp_path):
    (tmp_path / "bad.npz").write_text("no statistics")
    before = sorted(tmp_path.rglob("*"))
    folder = tmp_path / "out"
    cases = [
        (["--type", "max"], "--type"),
        (["--statistics", tmp_path / "bad.npz"], "Expected a file with statistics"),
        (["--model", "no_such_model"], "no_such_model"),
        (["--mean", "a"], "--mean"),
    ]
    for arguments, message in cases:
        options = ["--model", "embedded:vgg", "--out", folder / "p.npz", *arguments]
        result = run_fit(photographs, *options)
        assert result.exit_code == 2
        assert message in result.output
        assert result.output.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
