"""`explain`: maps, logits and neurons from one forward pass."""

import base64
import dataclasses
import functools
import io
import re

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain
from helpers.streams import batched
from helpers.tensors import BACKEND, array
from helpers.thinned import pairwise_or_slow
from keras import layers
from PIL import Image
from scipy.special import softmax

import rap_keras
from rap_keras import InputError, create_analyzer
from rap_keras.analyzers.explanation import Explanation
from rap_keras.rules import gradient

METHODS = {
    "rap": {},
    "gradient": {"postprocess": "abs"},
    "input_t_gradient": {},
    "guided_backprop": {},
    "integrated_gradients": {"steps": 3},
    "smoothgrad": {"augment_by_n": 2},
    "lrp": {"composite": rap_keras.Composite({}, default=gradient.gradient)},
    "deep_taylor": {},
    "pattern.net": {"patterns": "fitted"},
    "input": {},
    "random": {"seed": 3},
}
TOLD = {"max_activation": None, "index": [3, 7, 0, 9, 3], "all": None}


@functools.cache
def network():
    return plain(head="softmax")


@functools.cache
def patterns():
    return rap_keras.patterns.fit(network(), samples())


def samples():
    return np.random.default_rng(1).normal(size=(5, 12, 12, 3)).astype("float32")


def made(method, **options):
    options = METHODS[method] | options
    if "patterns" in options:
        options["patterns"] = patterns()
    return create_analyzer(method, network(), batch_size=2, **options)


def logits_of(x):
    """What the softmax at the end of the network takes."""
    bare = plain()
    bare.set_weights(network().get_weights())
    return array(bare(x))


@pytest.mark.parametrize(("method", "mode"), pairwise_or_slow(list(METHODS), list(TOLD)))
def test_an_explanation_has_the_maps_of_analyze_and_their_targets(method, mode):
    x = samples()
    analyzer = made(method, neuron_selection_mode=mode)
    found = analyzer.explain(x, TOLD[mode])
    np.testing.assert_array_equal(found.relevance, analyzer.analyze(x, TOLD[mode]))
    np.testing.assert_allclose(found.logits, logits_of(x), rtol=1e-4, atol=1e-5)
    assert found.method == method
    if mode == "all":
        assert found.neurons is None
    else:
        expected = found.logits.argmax(1) if TOLD[mode] is None else TOLD[mode]
        np.testing.assert_array_equal(found.neurons, expected)
        assert found.neurons.dtype == np.int32


def test_the_neuron_is_that_whose_logit_rap_distributes():
    x = samples()
    found = made("rap").explain(x)
    sums = found.relevance.sum((1, 2, 3))
    np.testing.assert_allclose(sums, found.logits[np.arange(5), found.neurons], rtol=1e-4)
    again = made("rap").analyze(x, found.neurons)
    assert_same(again, found.relevance)


def test_one_number_is_the_target_of_all_samples():
    found = made("rap").explain(samples(), 4)
    np.testing.assert_array_equal(found.neurons, [4] * 5)


def counting(calls):
    """The identity, which notes each time that it is computed."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return lambda x: (tf.py_function(lambda: calls.append(1), [], []), x)[1]
    if BACKEND == "jax":
        import jax

        return lambda x: jax.debug.callback(lambda: calls.append(1)) or x
    return lambda x: calls.append(1) or x


@pytest.mark.parametrize("method", ["rap", "input_t_gradient", "input"])
def test_explain_makes_one_forward_pass(method, monkeypatch):
    """A model that counts its calls: one per batch, and one that checks the graph."""
    monkeypatch.setattr(rap_keras.composites.composite, "_registered", {})
    calls = []
    counted = counting(calls)

    class Counting(layers.Layer):
        def call(self, x):
            return counted(x)

    inputs = keras.Input((4,))
    model = biased(keras.Model(inputs, layers.Dense(3)(Counting()(inputs))))
    rap_keras.register_rule(Counting, lambda layer, inputs, outputs, relevances: relevances)
    analyzer = create_analyzer(method, model)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")  # one part on JAX
    analyzer.explain(x)
    calls.clear()
    analyzer.explain(x)
    assert len(calls) == 1


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_has_an_empty_explanation(method):
    found = made(method).explain(samples()[:0])
    assert found.relevance.shape == (0, 12, 12, 3)
    assert found.logits.shape == (0, 10)
    assert found.neurons.shape == (0,)


@pytest.mark.parametrize("method", ["rap", "integrated_gradients", "random"])
def test_a_dataset_gives_an_explanation_per_batch(method):
    x = samples()
    analyzer = made(method)
    parts = list(analyzer.explain(batched(x, 3)))
    assert all(isinstance(part, Explanation) for part in parts)
    whole = analyzer.explain(x)
    assert_same(np.concatenate([part.logits for part in parts]), whole.logits)
    np.testing.assert_array_equal(np.concatenate([part.neurons for part in parts]), whole.neurons)
    assert_same(parts[0].relevance, analyzer.analyze(x[:3]))


@pytest.mark.tensorflow("tf.data")
@pytest.mark.parametrize("call", ["analyze", "explain"])
def test_a_dataset_of_single_samples_is_refused(call):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((samples(), np.arange(5)))
    with pytest.raises(InputError, match=r"\(12, 12, 3\): batch it, dataset\.batch\(32\)"):
        list(getattr(made("rap"), call)(data))


def test_several_inputs_and_outputs_that_are_not_vectors():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = biased(keras.Model({"a": a, "b": b}, layers.Dense(3)(layers.Add()([a, b]))))
    x = {"a": np.ones((2, 4), "float32"), "b": np.zeros((2, 4), "float32")}
    found = create_analyzer("rap", both).explain(x)
    assert set(found.relevance) == {"a", "b"}
    np.testing.assert_allclose(found.logits, array(both(x)), rtol=1e-5)
    image = keras.Input((8, 8, 1))
    model = biased(keras.Model(image, layers.Conv2D(2, 3)(image)))
    y = np.random.default_rng(2).normal(size=(2, 8, 8, 1)).astype("float32")
    every = create_analyzer("gradient", model, neuron_selection_mode="all").explain(y)
    np.testing.assert_allclose(every.logits, array(model(y)), rtol=1e-4, atol=1e-6)
    assert every.neurons is None


@pytest.mark.parametrize("dtype", ["mixed_float16", "float64"])
def test_logits_are_in_at_least_single_precision(dtype):
    found = create_analyzer("rap", plain(dtype)).explain(samples())
    assert found.logits.dtype == (np.float64 if dtype == "float64" else np.float32)


def test_random_maps_need_an_existing_neuron():
    with pytest.raises(InputError, match="from 0 to 9, got 10"):
        made("random").analyze(samples(), 10)
    with pytest.raises(InputError, match="got none: pass a class, or one per sample"):
        made("random", neuron_selection_mode="index").analyze(samples())


def test_an_analyzer_is_called_like_analyze():
    analyzer = made("gradient")
    np.testing.assert_array_equal(analyzer(samples(), 3), analyzer.analyze(samples(), 3))


@functools.cache
def explained():
    return made("rap").explain(samples(), TOLD["index"])


def shown(**changes):
    return dataclasses.replace(explained(), **changes)


def test_decisions_in_words():
    one = shown()
    logits = one.logits[np.arange(5), TOLD["index"]]
    chances = one.probabilities
    expected = [
        f"class {k}, logit {v:.4g}, probability {p:.1%}"
        for k, v, p in zip(TOLD["index"], logits, chances, strict=True)
    ]
    assert one.decisions == expected
    named = shown(labels=tuple(str(k) if k == 3 else f"class {k}" for k in range(10)))
    assert named.decisions[0] == expected[0]  # a number says it already
    assert named.decisions[1].startswith("class 7 (class 7), logit ")
    assert repr(one) == f"<rap of shape (5, 12, 12, 3): {'; '.join(expected)}>"
    together = made("gradient", neuron_selection_mode="all").explain(samples())
    assert together.decisions[0] == f"all outputs, logits {together.logits[0].sum():.4g}"
    regions = np.arange(10) < 4
    region = made("gradient").explain(samples(), regions)
    assert region.decisions[0] == f"4 outputs, logits {region.logits[0, :4].sum():.4g}"
    two = made("gradient").explain(samples(), [[1, 2]] * 5)
    assert [line.split(",")[0] for line in two.decisions] == ["class 1", "class 2"] * 5


def test_one_sample_of_an_explanation():
    images = np.zeros((5, 12, 12, 3), np.uint8)
    whole = shown(images=images, labels=tuple("abcdefghij"), model="net")
    assert len(whole) == 5
    assert [one.decisions for one in whole] == [[words] for words in whole.decisions]
    for one in (whole[3], whole[-2], whole[np.int64(3)]):
        np.testing.assert_array_equal(one.relevance, whole.relevance[3:4])
        assert one.images.shape == (1, 12, 12, 3)
        assert (one.neurons, one.model) == ([9], "net")
    assert whole[1:3].decisions == whole.decisions[1:3]
    several = shown(relevance={"a": whole.relevance, "b": whole.relevance[:, :4]})[2]
    np.testing.assert_array_equal(several.relevance["b"], whole.relevance[2:3, :4])
    with pytest.raises(IndexError, match="from 0 to 4, got 5"):
        whole[5]
    every = dataclasses.replace(whole, neurons=None)
    assert every[0].decisions == every.decisions[:1]


def test_the_target_is_json_serialisable():
    one = shown(labels=tuple("abcdefghij")).summaries()[1]
    logit = shown().logits[1, 7]
    assert one == {
        "neuron": 7,
        "class": "h",
        "logit": pytest.approx(logit),
        "probability": pytest.approx(softmax(shown().logits[1])[7]),
        "relevance_sum": pytest.approx(logit, rel=1e-4),
    }
    assert shown(neurons=None).summaries()[0]["neuron"] == "all"
    two = made("rap", neuron_selection_mode="index").explain(samples(), [[1, 2]] * 5).summaries()[0]
    assert (two["neuron"], two["class"]) == ([1, 2], [None, None])
    assert two["relevance_sum"] == pytest.approx(two["logit"], rel=1e-4)


def test_summaries_of_what_is_no_image(rng):
    features, series = keras.Input((6,)), keras.Input((7, 3))
    joined = layers.Concatenate()([features, layers.Flatten()(series)])
    model = keras.Model([features, series], layers.Dense(4, use_bias=False)(joined))
    x = [rng.normal(size=(2, *shape)).astype("float32") for shape in ((6,), (7, 3))]
    for target in (None, [[1, 2], [0, 3]]):
        found = create_analyzer("input_t_gradient", model).explain(x, target)
        for one in found.summaries():
            assert one["relevance_sum"] == pytest.approx(one["logit"], rel=1e-4)


def of_a_map(where, **changes):
    """An explanation of a map of four classes at 3 x 2 positions."""
    mask = np.zeros((1, 3, 2, 4), bool)
    mask[0][where] = True
    found = Explanation(np.ones((1, 6, 4, 3)), np.ones((1, 3, 2, 4)), mask, "rap")
    return dataclasses.replace(found, **changes)


@pytest.mark.parametrize(
    ("where", "words", "outlined"),
    [
        (np.s_[1, 0, 2], "output 2 at 1 position, logit 1", True),
        (np.s_[:2, :, 2], "output 2 at 4 positions, logit 4", True),
        (np.s_[..., 2], "output 2, logit 6", False),
        (np.s_[1], "all outputs at 2 positions, logits 8", True),
        (np.s_[:], "all outputs, logits 24", False),
        (np.s_[1, :, 1:3], "4 outputs, logits 4", True),
    ],
)
def test_regions_in_text_and_figures(where, words, outlined):
    found = of_a_map(where)
    assert found.decisions == [words]
    assert (found.regions[0] is not None) == outlined
    assert of_a_map(where, fit="crop").regions == [None]
    figure = found.plot(np.zeros((1, 6, 4, 3), np.uint8))
    assert bool(figure.axes[0].collections) == outlined
    assert of_a_map(where, against="softmax").decisions == [
        words.replace(", ", " against the others, ")
    ]


def maps_drawn(figure):
    """What the colours stand for, without photographs."""
    images = [ax.images[-1] for ax in figure.axes if ax.images]
    return [one.get_array() for one in images if one.get_array().ndim == 2 and one.norm.vmin < 0]


def test_plot_draws_every_sample():
    found = shown(model="net")
    figure = found.plot()
    assert figure.get_suptitle() == "net"
    for drawn, relevance in zip(maps_drawn(figure), found.relevance, strict=True):
        np.testing.assert_allclose(drawn, relevance.sum(-1), rtol=1e-6)
    assert [ax.get_ylabel().replace("\n", " ") for ax in figure.axes] == found.decisions
    images = np.zeros((5, 12, 12, 3), np.uint8)
    assert len(found.plot(images).axes) == 10
    assert len(found.plot(images, count=2).axes) == 4
    assert len(shown(images=images).plot(count=3).axes) == 6
    with pytest.raises(InputError, match="colour map"):
        found.plot(colormap="sismic")


def test_plot_of_one_sample_and_of_several_neurons():
    analyzer = made("gradient")
    one = analyzer.explain(samples()[:1], 3)
    titles = [ax.get_title() for ax in one.plot(np.zeros((1, 12, 12, 3))).axes]
    assert titles == ["image", "gradient", "map over image", ""]  # the last is the colour bar
    assert one.plot(np.zeros((1, 12, 12, 3))).get_suptitle() == one.decisions[0]
    several = analyzer.explain(samples(), [[1, 2]] * 5)
    figure = several.plot(count=2)
    drawn = np.stack(maps_drawn(figure)).reshape(2, 2, 12, 12)
    np.testing.assert_allclose(drawn, several.relevance[:2].sum(-1), rtol=1e-6)
    assert figure.axes[2].get_ylabel().replace("\n", " ") == " ".join(several.decisions[2:4])


def test_samples_that_are_not_images_are_not_drawn():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    found = create_analyzer("gradient", model).explain(np.ones((2, 4), np.float32))
    with pytest.raises(InputError, match=r"images \(height, width, channels\).*shape \(2, 4\)"):
        found.plot()
    page = found._repr_html_()
    assert "<img" not in page
    assert "No figure: Expected the relevance of images" in page
    assert found.decisions[0] in page


def test_a_notebook_shows_the_target_and_the_figure():
    whole = shown(model="<net>", method="<m>")
    three = {
        name: np.repeat(getattr(whole, name), 3, 0) for name in ("relevance", "logits", "neurons")
    }
    page = dataclasses.replace(whole, **three)._repr_html_()
    assert page.startswith("<b>&lt;m&gt;</b><br>class 3, logit ")
    found = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert picture.height > picture.width  # maps, one below the other
    assert "… and 7 more" in page


def test_save(tmp_path):
    images = np.zeros((5, 12, 12, 3), np.uint8)
    found = shown(images=images)
    assert found.save(tmp_path / "new" / "a.npz") == tmp_path / "new" / "a.npz"
    with np.load(tmp_path / "new" / "a.npz") as saved:
        for name in ("relevance", "logits", "neurons", "images"):
            np.testing.assert_array_equal(saved[name], getattr(found, name))
    for ending, start in {
        "png": b"\x89PNG",
        "pdf": b"%PDF",
        "jpg": b"\xff\xd8",
        "svg": b"<?xml",
    }.items():
        found[:2].save(tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").read_bytes().startswith(start)
    with pytest.raises(
        InputError, match=r"Expected a file .npz for the arrays or .jpg.*got '.*a.txt'"
    ):
        found.save(tmp_path / "a.txt")
    several = shown(relevance={"a": found.relevance, "b": found.relevance[:, :4]})
    several.save(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as saved:
        np.testing.assert_array_equal(saved["relevance[b]"], found.relevance[:, :4])
