"""Relevance of channels, neurons and heads, and maps of relevance that passes through some of them."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased
from keras import layers

import rap_keras
from rap_keras import InputError, create_analyzer


def images(rng, count=2, size=8, channels=3):
    return rng.normal(size=(count, size, size, channels)).astype("float32")


def convolutional():
    """Convolutions with normalization, a sum of two branches, and dense layers."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="first")(inputs)
    y = layers.BatchNormalization(name="norm")(
        layers.Conv2D(5, 3, padding="same", name="branch")(x)
    )
    y = layers.Add(name="sum")([x, y])
    y = layers.Conv2D(6, 3, strides=2, activation="relu", name="second")(y)
    y = layers.Dense(7, activation="relu", name="dense")(layers.Flatten()(y))
    return biased(keras.Model(inputs, layers.Dense(4, name="logits")(y)))


def transformer():
    """One block of attention with three heads, without other paths around it."""
    inputs = keras.Input((6, 9))
    x = layers.MultiHeadAttention(3, 4, name="attention")(inputs, inputs)
    x = layers.Dense(8, activation="relu", name="mlp")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return biased(keras.Model(inputs, layers.Dense(4, name="logits")(x)))


def sums_to(analyzer, x, layer, target=1):
    """The sum of the maps of all units, the whole map, and sum |R| of each sample."""
    found = analyzer.concepts(x, layer, target)
    count = found.relevance.shape[1]
    maps = analyzer.analyze(x, target, concepts={layer: range(count)})
    assert maps.shape == (len(x), count, *x.shape[1:])
    whole = analyzer.analyze(x, target)
    sizes = abs(whole).sum(tuple(range(1, whole.ndim)), keepdims=True, dtype=np.float64)
    return maps, whole, sizes, found


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        *(("rap", layer) for layer in ("first", "sum", "dense")),
        *(("lrp.epsilon", layer) for layer in ("second", "logits")),
        *((method, "first") for method in ("lrp.alpha_2_beta_1", "deep_taylor")),
    ],
)
def test_maps_of_all_channels_sum_to_the_map(method, layer, rng):
    analyzer = create_analyzer(method, convolutional())
    maps, whole, sizes, found = sums_to(analyzer, images(rng), layer)
    if layer == "first":  # all relevance passes it, through both branches
        assert found.kind == "channel"
    assert (abs(maps.sum(1, dtype=np.float64) - whole) <= 1e-5 * sizes).all()


@pytest.mark.parametrize(
    ("method", "layer", "kind", "count"),
    [
        ("rap", "attention", "head", 3),
        ("lrp.epsilon", "attention", "head", 3),
        ("lrp.epsilon", "mlp", "channel", 8),
        ("lrp.epsilon", "attention/attention_output", "channel", 9),
    ],
)
def test_maps_of_all_heads_sum_to_the_map(method, layer, kind, count, rng):
    analyzer = create_analyzer(method, transformer())
    x = rng.normal(size=(2, 6, 9)).astype("float32")
    maps, whole, sizes, found = sums_to(analyzer, x, layer)
    assert (found.kind, found.relevance.shape) == (kind, (2, count))
    assert (abs(maps.sum(1, dtype=np.float64) - whole) <= 1e-5 * sizes).all()


@pytest.mark.parametrize("method", [pytest.param("rap", marks=pytest.mark.slow), "lrp.epsilon"])
def test_channels_of_a_branch_have_its_part_only(method, rng):
    """The parts of both terms of a sum make the map; each alone does not."""
    inputs = keras.Input((8, 8, 3))
    left = layers.Conv2D(4, 3, padding="same", activation="relu", name="left")(inputs)
    right = layers.Conv2D(4, 3, padding="same", activation="relu", name="right")(inputs)
    x = layers.Flatten()(layers.Add(name="sum")([left, right]))
    analyzer = create_analyzer(
        method, biased(keras.Model(inputs, layers.Dense(3, name="logits")(x)))
    )
    x = images(rng)
    parts = [sums_to(analyzer, x, name)[0].sum(1, dtype=np.float64) for name in ("left", "right")]
    _, whole, sizes, _ = sums_to(analyzer, x, "sum")
    assert (abs(parts[0] + parts[1] - whole) <= 1e-5 * sizes).all()
    assert all(abs(part - whole).sum() > 0.1 * sizes.sum() for part in parts)
    shares = [analyzer.concepts(x, name, 1).relevance.sum(1) for name in ("left", "right")]
    assert_same(shares[0] + shares[1], analyzer.concepts(x, "sum", 1).relevance.sum(1))


def test_relevance_of_channels_is_that_of_the_layer(rng):
    x, model = images(rng), convolutional()
    analyzer = create_analyzer("rap", model)
    of_layers = analyzer.analyze_layers(x, [3, 0])
    for layer in ("first", "second"):
        found = analyzer.concepts(x, layer, [3, 0])
        assert_same(found.relevance, of_layers[layer].sum((1, 2)))
        assert_same(found.largest, of_layers[layer].max((1, 2)))
        for sample, unit in np.ndindex(found.largest.shape):
            row, column = found.positions[sample, unit]
            assert_same(of_layers[layer][sample, row, column, unit], found.largest[sample, unit])
    found = analyzer.concepts(x, "dense", [3, 0])
    assert (found.kind, found.positions.shape) == ("neuron", (2, 7, 0))
    assert_same(found.relevance, of_layers["dense"])
    np.testing.assert_array_equal(found.explanation.neurons, [3, 0])
    logits = model.predict(x, verbose=0)[[0, 1], [3, 0]]
    assert_same(found.shares, found.relevance / logits[:, None])


def by_hand(analyzer, x, target, masks):
    """The definition, with one analyzer for each part: the rules run on a model cut at each layer."""
    from rap_keras import tensors as ops
    from rap_keras.propagate import backward, forward

    graph, rows = analyzer._graph, analyzer.rules().rows
    logits, records = forward(graph, [ops.constant(x)])
    hot = np.eye(logits.shape[-1], dtype="float32")[target]
    relevance, last = {graph.output: logits * ops.constant(hot)}, len(rows)
    for name, axis, unit in masks:
        place = next(k for k, (node, _) in enumerate(rows) if node.name == name)
        part = slice(place + 1, last)
        found, _ = backward(graph, rows[part], records[part], {}, relevance)
        (slot,) = rows[place][0].outputs
        at = keras.ops.convert_to_numpy(found[slot])
        mask = np.zeros(at.shape, "float32")
        mask.swapaxes(0, axis)[unit] = 1
        relevance, last = {slot: ops.constant(at * mask)}, place + 1
    found, _ = backward(graph, rows[:last], records[:last], {}, relevance)
    return keras.ops.convert_to_numpy(found[graph.inputs[0]])


def test_several_layers_in_turn(rng):
    analyzer = create_analyzer("lrp.epsilon", convolutional())
    x = images(rng)
    found = analyzer.analyze(x, 2, concepts={"first": [3, 1], "second": [5, 4]})
    for k, (first, second) in enumerate([(3, 5), (1, 4)]):
        masks = [("second", 3, second), ("first", 3, first)]
        assert_same(found[:, k], by_hand(analyzer, x, 2, masks))
    # One number of a layer is for all of another; the order of the layers makes no difference.
    again = analyzer.analyze(x, 2, concepts={"second": 5, "first": [3, 1, 0, 2, 4]})
    assert_same(again[:, 0], found[:, 0])
    one = analyzer.analyze(x, 2, concepts={"second": [5]})
    sizes = abs(one).sum((1, 2, 3, 4), dtype=np.float64).reshape(-1, 1, 1, 1)
    assert (abs(again.sum(1, dtype=np.float64) - one[:, 0]) <= 1e-5 * sizes).all()
    # A path around the later layer is left out: the sum also takes from "first" itself.
    through = analyzer.analyze(x, 2, concepts={"branch": [2], "first": [3]})
    assert_same(through[:, 0], by_hand(analyzer, x, 2, [("branch", 3, 2), ("first", 3, 3)]))


def test_heads_and_channels_in_turn(rng):
    analyzer = create_analyzer("lrp.epsilon", transformer())
    x = rng.normal(size=(2, 6, 9)).astype("float32")
    product = "attention/dot_product_attention/einsum:1"
    found = analyzer.analyze(x, 1, concepts={"mlp": [6, 2], product: [2, 0]})
    for k, (channel, head) in enumerate([(6, 2), (2, 0)]):
        masks = [("mlp", 2, channel), (product, 2, head)]
        assert_same(found[:, k], by_hand(analyzer, x, 1, masks))


def test_known_detectors(rng):
    """Channels that each see one colour, and classes that each count one of them."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(3, 1, use_bias=False, activation="relu", name="colours")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, use_bias=False, name="logits")(x))
    order = [2, 0, 1]  # class c is colour order[c]
    model.set_weights([np.eye(3).reshape(1, 1, 3, 3), np.eye(3)[order].T])
    x = rng.uniform(0.5, 1, (2, 6, 6, 3)).astype("float32")
    for method in ("rap", "lrp.epsilon"):
        analyzer = create_analyzer(method, model)
        for target, colour in enumerate(order):
            found = analyzer.concepts(x, "colours", target)
            assert [units[0].unit for units in found.strongest(1)] == [colour, colour]
            assert_same(found.shares, np.eye(3)[[colour] * 2])
            maps = analyzer.analyze(x, target, concepts={"colours": found.order[:, :2]})
            assert_same(maps[:, 0], analyzer.analyze(x, target))
            assert not maps[:, 1].any()
            largest = x[..., colour].reshape(2, -1).argmax(1)
            np.testing.assert_array_equal(
                found.positions[:, colour], np.stack(np.unravel_index(largest, (6, 6)), 1)
            )


def test_one_forward_pass(rng, monkeypatch):
    """The layers run once for any number of channels; only what is below the layer is repeated."""
    analyzer = create_analyzer("rap", convolutional())
    calls, forward = [], analyzer._propagation.forward
    monkeypatch.setattr(analyzer._propagation, "forward", lambda xs: calls.append(1) or forward(xs))
    x = images(rng)
    analyzer.analyze(x, 1, concepts={"second": range(6)})
    assert len(calls) == 1
    found = analyzer.analyze(x, [2, 0], concepts={"second": [4, 5]})
    assert len(analyzer._batches._runs) == 1
    assert_same(found[1, 1], analyzer.analyze(x[1:], 0, concepts={"second": [5]})[0, 0])


def test_batches_and_channels_of_each_sample(rng):
    x, model = images(rng, 3), convolutional()
    whole = create_analyzer("lrp.epsilon", model).analyze(
        x, 1, concepts={"second": [[0, 4], [2, 2], [5, 1]]}
    )
    for size in (1, 2):
        parts = create_analyzer("lrp.epsilon", model, batch_size=size)
        each = parts.analyze(x, 1, concepts={"second": [[0, 4], [2, 2], [5, 1]]})
        assert_same(each, whole)
    analyzer = create_analyzer("lrp.epsilon", model)
    for k, unit in ((0, 0), (1, 2), (2, 5)):
        assert_same(analyzer.analyze(x[k:][:1], 1, concepts={"second": unit})[0, 0], whole[k, 0])
    stream = analyzer.analyze((x[k:][:1] for k in range(3)), 1, concepts={"second": [2]})
    assert_same(np.concatenate(list(stream))[1], whole[1, :1])
    assert analyzer.analyze(x[:0], concepts={"second": [2, 3]}).shape == (0, 2, 8, 8, 3)
    assert analyzer.concepts(x[:0], "second").relevance.shape == (0, 6)


def test_targets_and_concepts_of_each_sample_need_one_batch(rng):
    x, analyzer = images(rng, 4), create_analyzer("lrp.epsilon", convolutional())
    parts = {
        "one target for all samples": ([0, 1, 2, 3], {"second": [2]}),
        "same concepts of 'second' for all samples": (1, {"second": [[0], [1]]}),
    }
    for message, (target, concepts) in parts.items():
        with pytest.raises(InputError, match=message):
            analyzer.analyze(iter([x[:2], x[2:]]), target, concepts=concepts)
    maps = analyzer.analyze(iter([x[:2], x[2:]]), 1, concepts={"second": [0, 1]})
    assert [part.shape[:2] for part in maps] == [(2, 2), (2, 2)]


def test_contrast_and_regions(rng):
    x = images(rng)
    analyzer = create_analyzer("rap", convolutional(), contrast="softmax")
    maps, whole, sizes, found = sums_to(analyzer, x, "second")
    assert (abs(maps.sum(1, dtype=np.float64) - whole) <= 1e-5 * sizes).all()
    assert (abs(found.relevance.sum(1)) < 1e-4 * abs(found.relevance).sum(1)).all()
    every = create_analyzer("lrp.epsilon", convolutional()).concepts(x, "second", "all")
    assert every.explanation.neurons is None


def test_both_classes_of_a_sigmoid(rng):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    model = biased(keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.Flatten()(x))))
    analyzer, x = create_analyzer("lrp.epsilon", model), images(rng)
    for which in (0, 1):
        found = analyzer.concepts(x, "conv", which)
        np.testing.assert_array_equal(found.explanation.neurons, [which] * 2)
        explained = analyzer.explain(x, which)
        assert_same(found.explanation.logits, explained.logits)
        assert_same(found.explanation.explained_logits, explained.explained_logits)
        maps = analyzer.analyze(x, which, concepts={"conv": range(4)})
        assert_same(maps.sum(1), explained.relevance)


def test_several_inputs(rng):
    inputs = [keras.Input((3,), name="a"), keras.Input((2,), name="b")]
    joined = layers.Concatenate()([layers.Dense(4, "relu", name="of a")(inputs[0]), inputs[1]])
    model = biased(keras.Model(inputs, layers.Dense(3)(joined)))
    x = {"a": rng.normal(size=(2, 3)).astype("f"), "b": rng.normal(size=(2, 2)).astype("f")}
    maps = create_analyzer("rap", model).analyze(x, 1, concepts={"of a": [0, 3]})
    assert (maps["a"].shape, maps["b"].shape) == ((2, 2, 3), (2, 2, 2))
    assert not maps["b"].any()  # it does not pass through this layer


@pytest.mark.tensorflow("pooling with channels first on a CPU")
def test_channels_first(rng):
    inputs = keras.Input((8, 8, 3))
    x = layers.Permute((3, 1, 2))(layers.Conv2D(4, 3, activation="relu")(inputs))
    x = layers.MaxPooling2D(2, data_format="channels_first", name="pool")(x)
    model = biased(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    analyzer, x = create_analyzer("rap", model), images(rng)
    of_layer = analyzer.analyze_layers(x, 1)["pool"]
    assert of_layer.shape == (2, 4, 3, 3)
    found = analyzer.concepts(x, "pool", 1)
    assert_same(found.relevance, of_layer.sum((2, 3)))
    maps = analyzer.analyze(x, 1, concepts={"pool": range(4)})
    assert_same(maps.sum(1), analyzer.analyze(x, 1))


def test_what_is_printed(rng):
    found = create_analyzer("rap", convolutional()).concepts(images(rng), "second", [3, 0])
    lines = repr(found).splitlines()
    assert lines[0] == "<channels of second, rap>"
    assert lines[1].startswith("output 3, logit ")
    assert lines[1].count("%") == 5
    strongest = found.strongest()
    for k, units in enumerate(strongest):
        assert len(units) == 6
        relevance = [one.relevance for one in units]
        assert relevance == sorted(relevance, reverse=True)
        np.testing.assert_array_equal([one.unit for one in units], found.order[k])
        assert repr(found[k]).splitlines()[1] == lines[k + 1]
    assert [part.relevance.shape for part in found] == [(1, 6), (1, 6)]
    assert found[:1].positions.shape == (1, 6, 2)


def test_the_share_of_a_logit_of_zero():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(2, use_bias=False)(inputs))
    model.set_weights([np.eye(2)])
    x = np.array([[0.0, 1.0]], "f")
    found = create_analyzer("lrp.z", model).concepts(x, model.layers[-1].name, 0)
    assert np.isnan(found.shares).all()


@pytest.mark.parametrize(
    ("concepts", "message"),
    [
        ({}, "concepts as a dict from layers"),
        (["second"], "concepts as a dict from layers"),
        ({"secnd": [1]}, "to be a layer of the model, got 'secnd': did you mean 'second'"),
        ({"second": [6]}, r"from 0 to 5, got \[6\]: the layer has 6 channels"),
        ({"second": [-1]}, "from 0 to 5"),
        ({"second": []}, "the number of a channel"),
        ({"second": [1.5]}, "the number of a channel"),
        ({"second": [[1], [2], [3]]}, r"an array of shape \(2, k\)"),
        ({"second": [[1, 2], [3]]}, "the number of a channel"),
        ({"dense": [7]}, "the layer has 7 neurons"),
        ({"second": [1, 2], "first": [1, 2, 3]}, "the same number of concepts of each layer"),
        ({"branch": [1], "norm": [2], "sum": [0], "flatten": [1, 2]}, None),
    ],
)
def test_refused(concepts, message, rng):
    analyzer = create_analyzer("rap", convolutional())
    if message is None:
        names = {node.name for node, _ in analyzer.rules().rows}
        concepts = {k: v for k, v in concepts.items() if k in names}
        assert analyzer.analyze(images(rng), 0, concepts=concepts).shape[1] == 1
        return
    with pytest.raises(InputError, match=message) as error:
        analyzer.analyze(images(rng), 0, concepts=concepts)
    assert "\n" not in str(error.value)


def test_parallel_layers_are_refused(rng):
    inputs = keras.Input((4,))
    branches = [layers.Dense(3, "relu", name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, layers.Dense(2)(layers.Add()(branches)))
    x = rng.normal(size=(1, 4)).astype("f")
    with pytest.raises(InputError, match="layers that follow one another"):
        create_analyzer("rap", model).analyze(x, concepts={"a": [0], "b": [1]})


def test_targets_and_methods_that_are_refused(rng):
    x, model = images(rng), convolutional()
    analyzer = create_analyzer("rap", model)
    with pytest.raises(InputError, match="Expected one target of each sample"):
        analyzer.analyze(x, [[0, 1], [2, 3]], concepts={"second": [1]})
    with pytest.raises(InputError, match="Expected one target of each sample"):
        analyzer.concepts(x, "second", rap_keras.TopK(2))
    for method, message in (
        ("gradient", "it does not distribute the logit"),
        ("input_t_gradient", "it does not distribute the logit"),
        ("grad_cam", "has no relevance of layers"),
        ("deep_lift", "has no relevance of layers"),
        ("occlusion", "has no relevance of layers"),
    ):
        other = create_analyzer(method, model)
        with pytest.raises(InputError, match=message):
            other.concepts(x, "second")
        with pytest.raises(InputError, match=message):
            other.analyze(x, concepts={"second": [1]})


@pytest.mark.slow
def test_the_released_variant_is_not_linear(rng):
    """Its channels have relevance and maps, but these do not sum to the map."""
    x, model = images(rng), convolutional()
    analyzer = create_analyzer("rap", model, variant="released")
    maps, whole, sizes, found = sums_to(analyzer, x, "second")
    assert_same(found.relevance, analyzer.analyze_layers(x, 1)["second"].sum((1, 2)))
    assert (abs(maps.sum(1, dtype=np.float64) - whole) > 1e-3 * sizes).any()


@pytest.mark.slow
def test_samples_on_another_axis(rng):
    """Time first, then samples, and windows that are joined to the samples."""
    inputs = keras.Input((4, 6))
    x = keras.ops.transpose(layers.Dense(5, activation="relu")(inputs), (1, 0, 2))
    x = layers.Dense(3, activation="relu", name="time first")(x)
    x = keras.ops.reshape(keras.ops.transpose(x, (1, 0, 2)), (-1, 2, 3))
    x = layers.Dense(4, activation="relu", name="windows")(x)
    model = biased(keras.Model(inputs, layers.Dense(3)(keras.ops.reshape(x, (-1, 16)))))
    analyzer = create_analyzer("lrp.epsilon", model)
    x = rng.normal(size=(3, 4, 6)).astype("f")
    of_each = [analyzer.analyze_layers(x[k : k + 1], 1) for k in range(3)]
    for layer, count in (("time first", 3), ("windows", 4)):
        maps, whole, sizes, found = sums_to(analyzer, x, layer)
        assert (abs(maps.sum(1, dtype=np.float64) - whole) <= 1e-5 * sizes).all()
        relevance = [one[layer].reshape(-1, count).sum(0) for one in of_each]
        assert_same(found.relevance, relevance)
        one = analyzer.analyze(x[1:2], 1, concepts={layer: [2]})
        assert_same(one[0, 0], maps[1, 2], 1e-4)


def test_images_of_any_size(rng):
    inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(3, 3, activation="relu", name="conv")(inputs)
    model = biased(keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))))
    analyzer = create_analyzer("rap", model)
    for size in ((6, 7), (9, 5)):
        x = rng.normal(size=(1, *size, 2)).astype("f")
        found = analyzer.concepts(x, "conv", 1)
        of_layer = analyzer.analyze_layers(x, 1)["conv"]
        for unit in range(3):
            assert_same(of_layer[(0, *found.positions[0, unit], unit)], found.largest[0, unit])
        maps = analyzer.analyze(x, 1, concepts={"conv": range(3)})
        assert_same(maps.sum(1), analyzer.analyze(x, 1))
