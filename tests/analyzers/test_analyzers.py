import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from compare import FLOAT32, assert_same
from keras import layers
from networks import biased, plain, residual

import rap_keras
from rap_keras import InputError, UnknownLayerError, create_analyzer
from rap_keras.analyzers import registry
from rap_keras.rules import gradient

NONE: dict = {}
METHODS = {
    **dict.fromkeys(["rap", "gradient", "input_t_gradient", "guided_backprop", "deconvnet"], NONE),
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"augment_by_n": 3},
    **dict.fromkeys(["input", "random"], NONE),
    "lrp": {"composite": rap_keras.Composite({}, default=gradient.gradient)},
    **dict.fromkeys((m.name for m in registry.METHODS if m.composite), NONE),
    "lrp.alpha_beta": {"alpha": 1.5},
}


@pytest.fixture
def images(rng):
    return rng.normal(size=(5, 12, 12, 3)).astype("float32")


def neuron_gradient(model, x, neuron):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.gather(model(x), neuron, axis=1, batch_dims=1)
    return tape.gradient(y, x).numpy()


def test_all_methods_are_listed_and_give_finite_maps(images):
    assert set(rap_keras.analyzer_names()) - {"pattern.net", "pattern.attribution"} == set(METHODS)
    model = residual()
    for name, options in METHODS.items():
        maps = create_analyzer(name, model, **options).analyze(images)
        assert maps.shape == images.shape
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all()


@pytest.mark.parametrize("build", [plain, residual])
def test_relevance_sums_to_the_selected_logit(build, images):
    model = build()
    logits = model(images).numpy()
    top = create_analyzer("rap", model).analyze(images)
    np.testing.assert_allclose(top.sum((1, 2, 3)), logits.max(1), rtol=1e-4, atol=1e-5)
    index = create_analyzer("rap", model, neuron_selection_mode="index")
    chosen = index.analyze(images, [3, 7, 0, 9, 3])
    picked = logits[np.arange(5), [3, 7, 0, 9, 3]]
    np.testing.assert_allclose(chosen.sum((1, 2, 3)), picked, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        index.analyze(images, 3).sum((1, 2, 3)), logits[:, 3], rtol=1e-3, atol=1e-5
    )
    everything = create_analyzer("rap", model, neuron_selection_mode="all").analyze(images)
    np.testing.assert_allclose(everything.sum((1, 2, 3)), logits.sum(1), rtol=1e-3, atol=1e-4)


def test_index_of_the_largest_logit_is_max_activation(images):
    model = plain()
    index = create_analyzer("rap", model, neuron_selection_mode="index")
    expected = create_analyzer("rap", model).analyze(images)
    found = index.analyze(images, model(images).numpy().argmax(1))
    assert_same(found, expected)


@pytest.mark.parametrize("method", ["rap", "gradient", "input_t_gradient"])
@pytest.mark.parametrize("build", [plain, residual])
def test_a_batch_equals_single_calls_and_any_batch_size(method, build, images):
    model = build()
    whole = create_analyzer(method, model).analyze(images)
    single = create_analyzer(method, model)
    for k in range(len(images)):
        one = single.analyze(images[k : k + 1])
        assert_same(one[0], whole[k])
    split = create_analyzer(method, model, batch_size=2).analyze(images)
    assert_same(split, whole)


def test_gradient_is_tensorflows(images):
    model = residual()
    top = model(images).numpy().argmax(1)
    expected = neuron_gradient(model, images, top)
    kwargs = {"rtol": 1e-4, "atol": 1e-5 * abs(expected).max()}
    np.testing.assert_allclose(
        create_analyzer("gradient", model).analyze(images), expected, **kwargs
    )
    times_input = create_analyzer("input_t_gradient", model).analyze(images)
    np.testing.assert_allclose(times_input, images * expected, **kwargs)
    index = create_analyzer("gradient", model, neuron_selection_mode="index", postprocess="abs")
    chosen = abs(neuron_gradient(model, images, [4] * 5))
    np.testing.assert_allclose(index.analyze(images, 4), chosen, **kwargs)


def test_gradient_at_a_layer(images):
    model = plain()
    maps = create_analyzer("gradient", model).analyze_layers(images)
    head = model.layers[-1].kernel.numpy()
    top = model(images).numpy().argmax(1)
    np.testing.assert_allclose(maps[model.layers[-2].name], head[:, top].T, rtol=1e-6)


def test_baselines(images):
    model = plain()
    np.testing.assert_array_equal(create_analyzer("input", model).analyze(images), images)
    noise = create_analyzer("random", model, seed=1, stddev=2.0).analyze(images)
    np.testing.assert_array_equal(
        create_analyzer("random", model, seed=1, stddev=2.0, batch_size=2).analyze(images), noise
    )
    assert 1.8 < noise.std() < 2.2
    assert abs(create_analyzer("random", model, seed=2).analyze(images) - noise).max() > 0.1


def test_analyze_layers_goes_from_the_input_to_the_logits(images):
    model = residual()
    analyzer = create_analyzer("rap", model)
    maps = analyzer.analyze_layers(images)
    assert list(maps) == [layer.name for layer in model.layers]
    assert_same(maps[model.layers[0].name], analyzer.analyze(images))
    logits = model(images).numpy()
    np.testing.assert_allclose(maps[model.layers[-1].name].max(1), logits.max(1), rtol=1e-4)
    for layer in model.layers[1:]:
        assert maps[layer.name].shape == (5, *layer.output.shape[1:])


def test_conservation_report_is_right_where_sums_are_kept_and_where_not(images):
    analyzer = create_analyzer("rap", plain())
    report = analyzer.conservation(images)
    assert report.max_error < 1e-5
    assert [row.name for row in report.layers] == [
        layer.name for layer in reversed(analyzer.model.layers[1:])
    ]
    maps = analyzer.analyze_layers(images)
    last = report.layers[-1]
    np.testing.assert_allclose(last.inputs, analyzer.analyze(images).sum((1, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(
        last.outputs, maps[last.name].sum((1, 2, 3), dtype=np.float64), rtol=1e-6
    )
    assert "model" in repr(report)
    assert create_analyzer("gradient", plain()).conservation(images).max_error > 0.1


def test_the_model_is_not_changed_and_eager_stays_on(rng):
    inputs = keras.Input((6,))
    x = layers.GaussianNoise(0.5, seed=1)(inputs)
    x = layers.Dense(5, activation="relu", kernel_regularizer="l2", activity_regularizer="l2")(x)
    x = layers.BatchNormalization()(layers.Dropout(0.5, seed=1)(x))
    x = layers.ActivityRegularization(0.1)(x)
    model = biased(keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x)))
    model.compile("sgd", "categorical_crossentropy")

    def state():
        nodes = [(len(i._inbound_nodes), len(i._outbound_nodes)) for i in model.layers]
        flags = [layer.trainable for layer in model.layers]
        losses = [float(loss) for loss in model.losses]
        return json.dumps([model.get_config(), nodes, flags, losses, model.compiled], default=str)

    before, weights = state(), model.get_weights()
    random_states = [v.numpy().copy() for v in model.non_trainable_variables]
    samples = rng.normal(size=(2, 6)).astype("float32")
    kept = samples.copy()
    for method, options in METHODS.items():
        analyzer = create_analyzer(method, model, **options)
        analyzer.analyze(samples)
    assert state() == before
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(random_states, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    np.testing.assert_array_equal(samples, kept)
    assert tf.executing_eagerly()
    assert model.get_layer("head").activation is keras.activations.softmax


def test_new_weights_are_seen(images):
    model = plain()
    analyzer = create_analyzer("rap", model)
    before = analyzer.analyze(images)
    model.set_weights([0.5 * w for w in model.get_weights()])
    after = analyzer.analyze(images)
    assert_same(after, create_analyzer("rap", model).analyze(images))
    assert abs(after - before).max() > 1e-3


def test_any_image_size(rng):
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = biased(keras.Model(inputs, layers.Dense(3)(x)))
    analyzer = create_analyzer("rap", model)
    for size in ((8, 10), (13, 9)):
        x = rng.normal(size=(2, *size, 3)).astype("float32")
        np.testing.assert_allclose(
            analyzer.analyze(x).sum((1, 2, 3)), model(x).numpy().max(1), rtol=1e-4, atol=1e-6
        )


def test_datasets_are_explained_batch_by_batch(images):
    analyzer = create_analyzer("rap", plain())
    expected = analyzer.analyze(images)
    data = tf.data.Dataset.from_tensor_slices(images)
    batches = list(analyzer.analyze(data.batch(2)))
    assert [len(b) for b in batches] == [2, 2, 1]
    np.testing.assert_allclose(np.concatenate(batches), expected, atol=1e-5 * abs(expected).max())
    pairs = tf.data.Dataset.from_tensor_slices((images, np.arange(5))).batch(5)
    assert_same(next(iter(analyzer.analyze(pairs))), expected)


def test_tensors_integers_and_doubles_are_taken(images):
    analyzer = create_analyzer("rap", plain())
    expected = analyzer.analyze(images)
    assert_same(analyzer.analyze(tf.constant(images)), expected)
    assert_same(analyzer.analyze(images.astype("float64")), expected)
    assert_same(analyzer.analyze([images]), [expected])
    bytes_ = (images * 20 + 128).astype("uint8")
    assert_same(analyzer.analyze(bytes_), analyzer.analyze(bytes_.astype("float32")))


@pytest.mark.parametrize("build", [plain, residual])
def test_precisions(build, images):
    double = build("float64")
    exact = create_analyzer("rap", double)
    reference = exact.analyze(images.astype("float64"))
    assert reference.dtype == np.float64
    assert exact.conservation(images.astype("float64")).max_error < 1e-10
    assert create_analyzer("rap", build()).conservation(images).max_error < 1e-5
    for dtype in ("float32", "mixed_float16", "float16", "mixed_bfloat16"):
        model = build(dtype)
        model.set_weights(double.get_weights())
        analyzer = create_analyzer("rap", model)
        maps = analyzer.analyze(images)
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all()
        # A half-precision model has other activations, but explains the same.
        assert_same(maps, reference, 10 * FLOAT32 if dtype == "float32" else 0.05)
        assert analyzer.conservation(images).max_error < 1e-5


def test_options_reach_the_rules(images):
    model = residual()
    maps = {
        (variant, add): create_analyzer("rap", model, variant=variant, add=add).analyze(images)
        for variant in ("paper", "released")
        for add in (None, "absolute", "positive", "signed")
    }
    assert_same(maps["paper", None], maps["paper", "absolute"])
    assert_same(maps["released", None], maps["released", "signed"])
    scale = abs(maps["paper", None]).max()
    distinct = [
        ("paper", "absolute"),
        ("paper", "positive"),
        ("paper", "signed"),
        ("released", None),
    ]
    for a in distinct:
        for b in distinct:
            assert (a == b) == (abs(maps[a] - maps[b]).max() < 1e-3 * scale)


def test_saved_analyzers_come_back(tmp_path, images):
    analyzer = create_analyzer(
        "rap", residual(), neuron_selection_mode="index", add="positive", bounds=(-5, [5, 5, 6])
    )
    analyzer.save(tmp_path / "new" / "folder")
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "analyzer.json",
        "model.keras",
    ]
    loaded = rap_keras.load_analyzer(tmp_path / "new" / "folder")
    assert loaded.options() == analyzer.options()
    assert_same(loaded.analyze(images, 2), analyzer.analyze(images, 2))
    with pytest.raises(InputError, match=r"analyzer\.json and model\.keras"):
        rap_keras.load_analyzer(tmp_path)


def test_rules_table_prints_every_layer():
    analyzer = create_analyzer("rap", residual())
    lines = repr(analyzer.rules()).splitlines()
    assert len(lines) == len(analyzer.model.layers)  # a heading for the input layer
    assert "rap.first" in lines[2]
    assert "rap.head" in lines[-1]
    assert "share_sum(by='absolute')" in repr(analyzer.rules())


def test_registered_rules_are_used_and_an_unknown_layer_tells_how(rng, monkeypatch):
    monkeypatch.setattr(rap_keras.composites.composite, "_registered", {})

    class Scaled(layers.Layer):
        def call(self, x):
            return 3.0 * x

    inputs = keras.Input((4,))
    hidden = Scaled(name="mine")(layers.Dense(5, activation="relu", name="hidden")(inputs))
    model = biased(keras.Model(inputs, layers.Dense(2)(hidden)))
    with pytest.raises(UnknownLayerError) as error:
        create_analyzer("rap", model)
    text = str(error.value)
    assert "    rap_keras.register_rule(Scaled, my_rule)\n" in text
    assert "subclass" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["mine", "Scaled", "???", "none"] in rows
    assert ["hidden", "Dense", "rap.inner"] in rows
    create_analyzer("gradient", model)  # needs no rule

    def my_rule(layer, inputs, outputs, relevances):
        return [tf.gradients(outputs, inputs, [r / 3.0 for r in relevances])[0]]

    rap_keras.register_rule(Scaled, my_rule)
    x = rng.normal(size=(3, 4)).astype("float32")
    maps = create_analyzer("rap", model).analyze(x)
    np.testing.assert_allclose(maps.sum(1), model(x).numpy().max(1), rtol=1e-4)

    rap_keras.register_rule(Scaled, lambda layer, inputs, outputs, relevances: [])
    with pytest.raises(InputError, match=r"one per input, of shapes \[\(None, 5\)\], got \[\]"):
        create_analyzer("rap", model).analyze(x)
    for wrong, message in (((layers.Dense(2), my_rule), "layer class"), ((Scaled, 3), "a rule")):
        with pytest.raises(InputError, match=message):
            rap_keras.register_rule(*wrong)


BAD_OPTIONS = {
    "did you mean 'rap'": ("rpa", {}),
    "did you mean 'gradient' or 'input_t_gradient'": ("gradients", {}),
    "choose one of them": ("xyzzy", {}),
    "did you mean 'variant'": ("rap", {"varient": "paper"}),
    "variant to be one of 'paper', 'released', got 'x'": ("rap", {"variant": "x"}),
    "add to be one of": ("rap", {"add": "x"}),
    "input_rule to be one of": ("rap", {"input_rule": "x"}),
    "neuron_selection_mode to be one of": ("rap", {"neuron_selection_mode": "x"}),
    "positive integer, got 0": ("rap", {"batch_size": 0}),
    "postprocess to be one of": ("gradient", {"postprocess": "x"}),
    r"Expected bounds=\(low, high\)": ("rap", {"bounds": 3}),
    "low <= high": ("rap", {"bounds": (1, 0)}),
    "finite bounds": ("rap", {"bounds": (0, np.inf)}),
}


@pytest.mark.parametrize("message", BAD_OPTIONS)
def test_wrong_options_are_refused(message):
    name, options = BAD_OPTIONS[message]
    with pytest.raises(InputError, match=message) as error:
        create_analyzer(name, plain(), **options)
    assert "\n" not in str(error.value)


def test_inputs_outside_the_given_bounds_are_refused(images):
    with pytest.raises(InputError, match=r"within the bounds, got [0-9]+ values outside: widen"):
        create_analyzer("rap", plain(), bounds=(0, 1)).analyze(images)
    with pytest.raises(InputError, match=r"broadcast to a sample of shape \(12, 12, 3\)"):
        create_analyzer("rap", plain(), bounds=([0, 0], [9, 9])).analyze(images)


@pytest.mark.parametrize("merge", [layers.Add, layers.Multiply])
@pytest.mark.parametrize("batch", [2, 4])
def test_merges_of_different_ranks_follow_keras(merge, batch, rng):
    """A vector added to an image lies along its last axis, whatever the size of the batch."""
    image, vector = keras.Input((4, 4, 3)), keras.Input((3,))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(image)
    y = layers.Dense(3, activation="softplus")(vector)
    out = layers.Dense(2)(layers.Flatten()(merge()([x, y])))
    model = biased(keras.Model([image, vector], out))
    data = [rng.normal(size=(batch, *s)).astype("float32") for s in ((4, 4, 3), (3,))]
    maps = create_analyzer("rap", model).analyze(data)
    for k in range(batch):
        single = create_analyzer("rap", model).analyze([d[k : k + 1] for d in data])
        for one, many in zip(single, maps, strict=True):
            np.testing.assert_allclose(one[0], many[k], rtol=1e-4, atol=1e-6)
    total = maps[0].sum((1, 2, 3)) + maps[1].sum(1)
    np.testing.assert_allclose(total, model(data).numpy().max(1), rtol=1e-3)


def test_a_neuron_is_selected_only_among_neurons():
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    with pytest.raises(InputError, match='use neuron_selection_mode="all"'):
        create_analyzer("rap", model)
    x = np.ones((2, 8, 8, 1), "float32")
    maps = create_analyzer("rap", model, neuron_selection_mode="all").analyze(x)
    np.testing.assert_allclose(maps.sum((1, 2, 3)), model(x).numpy().sum((1, 2, 3)), rtol=1e-4)
