import functools
import json

import keras
import numpy as np
import pytest
from helpers import reference
from helpers.compare import assert_same
from helpers.tensors import array, slopes

import rap_keras
from rap_keras import InputError, bundled, create_analyzer
from rap_keras.analyzers.gradient import GradientAnalyzer
from rap_keras.datasets import cluttered_digits, preprocess

F64 = {"dtype": "float64"}
Conv, Dense, ReLU = (
    functools.partial(getattr(keras.layers, name), **F64) for name in ("Conv2D", "Dense", "ReLU")
)
MODES = ("max_activation", "index", "all")


def randomized(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) / weight.shape[-1] ** 0.5)
    return model


@functools.cache
def fused():
    """Activations inside of layers."""
    x = inputs = keras.Input((7, 6, 2), **F64)
    x = keras.layers.MaxPooling2D(2, **F64)(Conv(4, 3, activation="relu", padding="same")(x))
    x = Conv(3, 2, activation="relu")(x)
    x = Dense(6, activation="relu")(keras.layers.Flatten(**F64)(x))
    return randomized(keras.Model(inputs, Dense(4)(x)))


@functools.cache
def separate():
    """Activations as layers, one of them no ReLU, and a sum."""
    x = inputs = keras.Input((5, 6, 2), **F64)
    x = skip = ReLU()(Conv(3, 3, padding="same")(x))
    x = keras.layers.Add(**F64)([Conv(3, 3, padding="same")(x), skip])
    x = keras.layers.Activation("relu", **F64)(x)
    x = keras.layers.MaxPooling2D(2, **F64)(x)
    x = ReLU(max_value=1.5)(Conv(4, 2)(x))
    x = keras.layers.Activation("tanh", **F64)(Dense(5)(keras.layers.Flatten(**F64)(x)))
    return randomized(keras.Model(inputs, Dense(4)(x)), 1)


@functools.cache
def two_inputs():
    image, vector = keras.Input((4, 4, 1), name="image", **F64), keras.Input((3,), name="v", **F64)
    x = keras.layers.Flatten(**F64)(Conv(2, 2, activation="softplus")(image))
    x = keras.layers.Concatenate(**F64)([x, Dense(4, activation="tanh")(vector)])
    return randomized(keras.Model([image, vector], Dense(4)(Dense(5, activation="tanh")(x))), 2)


@functools.cache
def small():
    inputs = keras.Input((5,), **F64)
    return randomized(keras.Model(inputs, Dense(4)(Dense(4, activation="tanh")(inputs))), 3)


def samples(model, n=3, seed=3):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(n, *t.shape[1:])) for t in model.inputs]
    return arrays if len(arrays) > 1 else arrays[0]


def chosen(model, x, mode):
    """The neuron of each sample (None: all of them), and the target to pass to `analyze`."""
    logits = array(model(x))
    if mode == "max_activation":
        return logits.argmax(1), None
    if mode == "all":
        return [None] * len(logits), None
    index = np.arange(len(logits)) % logits.shape[1]
    return index, index


# --- Guided backpropagation and deconvolution ----------------------------------------------------


def relu_of(layer):
    """The maximum of a ReLU, and None for other activations."""
    if isinstance(layer, keras.layers.ReLU):
        return np.inf if layer.max_value is None else layer.max_value
    is_relu = getattr(layer, "activation", None) is keras.activations.relu
    return np.inf if is_relu else None


def by_hand(model, x, neuron, guided):
    """One sample, layer by layer: forward, then back."""
    values, before = {id(model.inputs[0]): x}, {}
    for layer in model.layers[1:]:
        taken = [values[id(t)] for t in keras.tree.flatten(layer.input)]
        if layer.get_weights():
            (matrix,), (_, shape) = reference.connections(layer, taken[0].shape)
            z = (taken[0].ravel() @ matrix).reshape(shape) + reference.bias_of(layer, shape)
        elif isinstance(layer, keras.layers.MaxPooling2D):
            shape, places = reference.windows(taken[0].shape, (2, 2), (2, 2), "valid")
            z = np.array([max(taken[0][p] for p in places[i]) for i in np.ndindex(*shape)])
            z = z.reshape(shape)
        elif isinstance(layer, keras.layers.Flatten):
            z = taken[0].ravel()
        else:
            z = sum(taken)
        before[layer.name] = z
        limit = relu_of(layer)
        value = z if limit is None else np.clip(z, 0, limit)
        tanh = getattr(layer, "activation", None) is keras.activations.tanh
        values[id(layer.output)] = np.tanh(z) if tanh else value
    logits = values[id(model.outputs[0])]
    start = logits if neuron is None else logits * (np.arange(len(logits)) == neuron)
    relevance = {id(model.outputs[0]): start}
    for layer in reversed(model.layers[1:]):
        r, z = relevance[id(layer.output)], before[layer.name]
        inputs = keras.tree.flatten(layer.input)
        x = values[id(inputs[0])]
        limit = relu_of(layer)
        if limit is not None:
            r = np.maximum(r, 0)
            r = r * ((z > 0) & (z < limit)) if guided else r
        elif getattr(layer, "activation", None) is keras.activations.tanh:
            r = r * (1 - np.tanh(z) ** 2)
        if layer.get_weights():
            r = reference.connections(layer, x.shape)[0][0] @ r.ravel()
        elif isinstance(layer, keras.layers.MaxPooling2D):
            r = reference.winners(x, reference.windows(x.shape, (2, 2), (2, 2), "valid")[1], r)
        for t in inputs:
            relevance[id(t)] = relevance.get(id(t), 0) + r.reshape(x.shape)
    return relevance[id(model.inputs[0])]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("network", [fused, separate])
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.quick(
    "guided_backprop-fused-index",
    "guided_backprop-separate-all",
    "deconvnet-fused-max_activation",
    "deconvnet-separate-index",
)
def test_relus_on_the_way_back(method, network, mode):
    model = network()
    x = samples(model)
    neurons, target = chosen(model, x, mode)
    analyzer = create_analyzer(method, model, neuron_selection_mode=mode, batch_size=2)
    guided = method == "guided_backprop"
    expected, other = (
        np.stack([by_hand(model, a, n, how) for a, n in zip(x, neurons, strict=True)])
        for how in (guided, not guided)
    )
    assert_same(analyzer.analyze(x, target), expected, 1e-10)
    assert abs(expected - other).max() > 0.1 * abs(expected).max()


# --- Integrated gradients and SmoothGrad ---------------------------------------------------------


def gradients(model, xs, neuron):
    """The gradients of one neuron, or of the sum of all, with respect to each input."""

    def explained(*xs):
        logits = model(list(xs) if len(xs) > 1 else xs[0])
        return logits if neuron is None else logits[:, neuron]

    return slopes(explained, xs)


def as_list(x):
    return x if isinstance(x, list) else [x]


def integrated(model, sample, references, neuron, integration, steps, change=lambda g: g):
    """The mean of the gradient on the way, times the way."""
    count = steps - (integration == "trapezoid")
    points = [
        np.stack([r + k / count * (x - r) for k in range(steps)])
        for x, r in zip(sample, references, strict=True)
    ]
    slopes = [change(g) for g in gradients(model, points, neuron)]
    if integration == "trapezoid":
        slopes = [(g[1:] + g[:-1]) / 2 for g in slopes]
    return [g.mean(0) * (x - r) for g, x, r in zip(slopes, sample, references, strict=True)]


def check_integrated(model, mode, reference_inputs, integration, postprocess=None):
    x = samples(model)
    neurons, target = chosen(model, x, mode)
    options = {"integration": integration, "steps": 7, "postprocess": postprocess}
    options |= {"neuron_selection_mode": mode, "reference_inputs": reference_inputs}
    found = create_analyzer("integrated_gradients", model, **options).analyze(x, target)
    several = isinstance(reference_inputs, list)
    references = reference_inputs if several else [reference_inputs] * len(as_list(x))
    change = {"abs": np.abs, "square": np.square}.get(postprocess, lambda g: g)
    for k, neuron in enumerate(neurons):
        sample = [a[k] for a in as_list(x)]
        wide = [np.broadcast_to(r, a.shape) for r, a in zip(references, sample, strict=True)]
        expected = integrated(model, sample, wide, neuron, integration, 7, change)
        for a, b in zip(as_list(found), expected, strict=True):
            assert_same(a[k], b, 1e-10)


@pytest.mark.parametrize("integration", ["trapezoid", "left"])
@pytest.mark.parametrize(
    "reference_inputs",
    [0, -0.7, np.array([0.4, -1.0]), np.random.default_rng(5).normal(size=(5, 6, 2))],
    ids=["zero", "number", "channels", "image"],
)
@pytest.mark.quick("zero-left", "number-trapezoid", "channels-trapezoid", "image-left")
def test_integrated_gradients(reference_inputs, integration):
    check_integrated(separate(), "max_activation", reference_inputs, integration)


@pytest.mark.parametrize(
    ("reference_inputs", "mode"),
    [
        (0.5, "max_activation"),
        ([-1, np.array([1.0, 0.0, 2.0])], "index"),
        ([np.ones((4, 4, 1)), 0.2], "all"),
    ],
    ids=["number", "vector", "image"],
)
def test_integrated_gradients_of_several_inputs(reference_inputs, mode):
    check_integrated(two_inputs(), mode, reference_inputs, "trapezoid")


@pytest.mark.parametrize("postprocess", ["abs", "square"])
def test_integrated_gradients_after_postprocessing(postprocess):
    check_integrated(fused(), "index", 0, "left", postprocess)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg", "residual"])
def test_integrated_gradients_are_complete(name):
    model = bundled.load(name)
    x = preprocess(cluttered_digits(4).images)
    analyzer = create_analyzer("integrated_gradients", model, reference_inputs=-1)
    logits, base = array(model(x)), array(model(np.full_like(x, -1)))
    top = logits.argmax(1)
    difference = (logits - base)[np.arange(4), top]
    found = analyzer.analyze(x).sum((1, 2, 3), dtype=np.float64)
    assert (abs(found - difference) <= 0.01 * abs(difference)).all()
    np.testing.assert_allclose(analyzer.convergence_delta(x), found - difference, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("network", [separate, two_inputs])
def test_convergence_delta(network, mode):
    """With few steps it is large. It is the part that the sums of the maps lack."""
    model = network()
    x = samples(model)
    neurons, target = chosen(model, x, mode)
    options = {"neuron_selection_mode": mode, "reference_inputs": 0.3, "steps": 3}
    analyzer = create_analyzer("integrated_gradients", model, integration="left", **options)
    maps = as_list(analyzer.analyze(x, target))
    ends = [x, [np.full_like(a, 0.3) for a in x] if isinstance(x, list) else np.full_like(x, 0.3)]
    differences = np.subtract(*(array(model(end)) for end in ends))
    if mode == "all":
        differences = differences.sum(1)
    else:
        differences = differences[np.arange(len(differences)), neurons]
    expected = sum(m.reshape(len(m), -1).sum(1) for m in maps) - differences
    assert abs(expected).max() > 1e-2
    assert_same(analyzer.convergence_delta(x, target), expected, 1e-10)


def noisy(x, position, n, scale, seed):
    rng = np.random.default_rng([seed, position])
    return [a + rng.normal(0, scale, (n, *a.shape)) for a in x]


@pytest.mark.parametrize(
    ("network", "mode", "postprocess"),
    [
        *((separate, mode, None) for mode in MODES),
        (two_inputs, "max_activation", None),
        (two_inputs, "index", "abs"),
        (separate, "all", "square"),
    ],
)
def test_smoothgrad(network, mode, postprocess):
    """The neuron is that of the sample, not of its noisy copies."""
    model = network()
    x = samples(model)
    neurons, target = chosen(model, x, mode)
    options = {"augment_by_n": 6, "noise_scale": 0.4, "seed": 7, "postprocess": postprocess}
    options |= {"neuron_selection_mode": mode}
    found = create_analyzer("smoothgrad", model, **options).analyze(x, target)
    change = {"abs": np.abs, "square": np.square}.get(postprocess, lambda g: g)
    favoured = set()
    for k, neuron in enumerate(neurons):
        copies = noisy([a[k] for a in as_list(x)], k, 6, 0.4, 7)
        logits = array(model(copies if len(copies) > 1 else copies[0]))
        favoured.update((k, n) for n in logits.argmax(1).tolist())
        for a, g in zip(as_list(found), gradients(model, copies, neuron), strict=True):
            assert_same(a[k], change(g).mean(0), 1e-10)
    assert len(favoured) > len(neurons)


def test_the_number_of_copies_is_the_attribute_at_the_call():
    model = small()
    x = samples(model)
    analyzer = create_analyzer("smoothgrad", model, augment_by_n=5)
    analyzer.augment_by_n = 3
    expected = create_analyzer("smoothgrad", model, augment_by_n=3).analyze(x)
    assert_same(analyzer.analyze(x), expected, 1e-12)


def test_gradients_take_no_composite():
    with pytest.raises(TypeError, match="composite"):
        GradientAnalyzer(separate(), composite=rap_keras.Composite({}))


def test_smoothgrad_is_reproducible_and_independent_of_the_batch():
    model = small()
    x = samples(model)
    smooth = functools.partial(create_analyzer, "smoothgrad", model, augment_by_n=5)
    first = smooth().analyze(x)
    assert_same(smooth().analyze(x), first, 1e-12)
    again = smooth(batch_size=2)
    assert_same(again.analyze(x), first, 1e-12)
    assert_same(again.analyze(x[:2]), first[:2], 1e-12)
    assert abs(first - smooth(seed=1).analyze(x)).max() > 1e-2
    new = smooth(seed=None)
    assert abs(new.analyze(x) - new.analyze(x)).max() > 1e-2


@pytest.mark.parametrize("level", [None, 0.3])
def test_smoothgrad_noise_is_relative_to_the_range_of_each_sample_and_input(level):
    model = two_inputs()
    x = samples(model)
    x[0][1] *= 10
    x[1][2] = x[1][2] * 5 + 100
    options = {"augment_by_n": 4, "seed": 7} | ({} if level is None else {"noise_level": level})
    found = create_analyzer("smoothgrad", model, **options).analyze(x)
    neurons, _ = chosen(model, x, "max_activation")
    for k, neuron in enumerate(neurons):
        rng = np.random.default_rng([7, k])
        scales = [(level or 0.15) * (a[k].max() - a[k].min()) for a in x]
        copies = [a[k] + rng.normal(0, s, (4, *a[k].shape)) for a, s in zip(x, scales, strict=True)]
        for a, g in zip(found, gradients(model, copies, neuron), strict=True):
            assert_same(a[k], g.mean(0), 1e-9)


def test_smoothgrad_does_not_depend_on_the_units_of_the_input():
    """A network of x / 255 on images in [0, 255] has the maps of one of x on images in [0, 1], / 255."""
    model = separate()
    inputs = keras.Input(model.input_shape[1:], **F64)
    wide = keras.Model(inputs, model(keras.layers.Rescaling(1 / 255, **F64)(inputs)))
    x = samples(model)
    narrow = create_analyzer("smoothgrad", model, augment_by_n=4).analyze(x)
    assert_same(
        255 * create_analyzer("smoothgrad", wide, augment_by_n=4).analyze(255 * x), narrow, 1e-6
    )
    absolute = create_analyzer("smoothgrad", wide, augment_by_n=4, noise_scale=1.0).analyze(255 * x)
    assert abs(255 * absolute - narrow).max() > 1e-2 * abs(narrow).max()


def test_smoothgrad_saved_with_absolute_noise_keeps_its_maps(tmp_path):
    """analyzer.json as it was written before noise could be relative."""
    model = separate()
    x = samples(model)
    create_analyzer("smoothgrad", model).save(tmp_path)
    saved = json.loads((tmp_path / "analyzer.json").read_text())
    assert saved["options"]["noise_level"] == 0.15
    saved["options"] = {
        **{"neuron_selection_mode": "max_activation", "batch_size": 32, "check_finite": True},
        **{"postprocess": None, "augment_by_n": 3, "noise_scale": 1.0, "seed": 0},
    }
    (tmp_path / "analyzer.json").write_text(json.dumps(saved))
    found = rap_keras.load_analyzer(tmp_path).analyze(x)
    neurons, _ = chosen(model, x, "max_activation")
    for k, neuron in enumerate(neurons):
        (g,) = gradients(model, noisy([x[k]], k, 3, 1.0, 0), neuron)
        assert_same(found[k], g.mean(0), 1e-10)


@pytest.mark.parametrize("network", [separate, two_inputs])
def test_smoothgrad_without_noise_is_the_gradient(network):
    model = network()
    x = samples(model)
    smooth = create_analyzer("smoothgrad", model, noise_scale=0, augment_by_n=3).analyze(x)
    plain = create_analyzer("gradient", model).analyze(x)
    for a, b in zip(as_list(smooth), as_list(plain), strict=True):
        assert_same(a, b, 1e-12)


# --- Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("integrated_gradients", {"steps": 1}, "steps .* got 1"),
        ("integrated_gradients", {"steps": 2.5}, "steps .* got 2.5"),
        ("integrated_gradients", {"integration": "simpson"}, "'left', got 'simpson'"),
        ("integrated_gradients", {"postprocess": "log"}, "postprocess .* got 'log'"),
        ("integrated_gradients", {"reference_inputs": np.zeros(3)}, "reference_inputs"),
        ("integrated_gradients", {"reference_inputs": np.zeros((2, 5, 6, 2))}, "reference_inputs"),
        ("integrated_gradients", {"reference_inputs": np.nan}, "finite reference_inputs"),
        ("integrated_gradients", {"reference_inputs": "black"}, "reference_inputs"),
        ("integrated_gradients", {"reference_inputs": [[0, 1], [0]]}, "reference_inputs"),
        ("smoothgrad", {"noise_scale": -0.1}, "noise_scale >= 0, got -0.1"),
        ("smoothgrad", {"noise_scale": np.inf}, "noise_scale"),
        ("smoothgrad", {"noise_scale": "much"}, "noise_scale"),
        ("smoothgrad", {"noise_level": True}, "noise_level >= 0, got True"),
        (
            "smoothgrad",
            {"noise_level": 0.1, "noise_scale": 1},
            "noise_level or noise_scale, got both",
        ),
        ("integrated_gradients", {"reference_inputs": True}, "reference_inputs"),
        ("smoothgrad", {"augment_by_n": True}, "augment_by_n .* got True"),
        ("smoothgrad", {"augment_by_n": 0}, "augment_by_n .* got 0"),
        ("smoothgrad", {"seed": -1}, "seed"),
        ("smoothgrad", {"postprocess": "log"}, "postprocess"),
        ("guided_backprop", {"postprocess": "abs"}, "postprocess"),
        ("deconvnet", {"neuron_selection_mode": "first"}, "neuron_selection_mode"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused_in_one_sentence(method, options, message):
    with pytest.raises(InputError, match=message) as caught:
        create_analyzer(method, separate(), **options).analyze(samples(separate()))
    text = str(caught.value)
    assert text.startswith("Expected ")
    assert ". " not in text
    assert "(5, 6, 2)" in text or "black" in text or "reference_inputs" not in options


@pytest.mark.parametrize("given", [[0], [0, 1, 2], [0, np.zeros(2)]], ids=repr)
def test_references_that_do_not_fit_several_inputs_are_refused(given):
    with pytest.raises(InputError, match="reference_inputs"):
        create_analyzer("integrated_gradients", two_inputs(), reference_inputs=given)


@pytest.mark.parametrize(
    ("network", "method", "options"),
    [
        (fused, "guided_backprop", {"neuron_selection_mode": "all"}),
        (fused, "deconvnet", {"batch_size": 2}),
        (fused, "integrated_gradients", {"steps": 3, "integration": "left", "postprocess": "abs"}),
        (fused, "integrated_gradients", {"steps": 3, "reference_inputs": "arrays"}),
        (two_inputs, "integrated_gradients", {"steps": 4, "reference_inputs": 0.5}),
        (two_inputs, "integrated_gradients", {"steps": 3, "reference_inputs": "arrays"}),
        (fused, "smoothgrad", {"augment_by_n": 3, "seed": 5, "postprocess": "square"}),
        (
            two_inputs,
            "smoothgrad",
            {"augment_by_n": 3, "noise_scale": 0.2, "neuron_selection_mode": "all"},
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_saved_and_loaded(network, method, options, tmp_path):
    model = network()
    if options.get("reference_inputs") == "arrays":
        arrays = [np.full(t.shape[1:], 0.1 + k) for k, t in enumerate(model.inputs)]
        options = options | {"reference_inputs": arrays if len(arrays) > 1 else arrays[0]}
    analyzer = create_analyzer(method, model, **options)
    analyzer.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    assert type(again) is type(analyzer)
    assert again.options() == analyzer.options()
    x = samples(model)
    for a, b in zip(as_list(again.analyze(x)), as_list(analyzer.analyze(x)), strict=True):
        assert_same(a, b, 1e-10)
