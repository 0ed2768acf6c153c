import contextlib

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain, residual
from helpers.tensors import array, graphed, tensor
from keras import layers, ops

import rap_keras
from rap_keras import InputError, UnknownLayerError
from rap_keras.backends.keras3.trace import trace
from rap_keras.propagate import forward


def explain(model, x, **options):
    return rap_keras.create_analyzer("rap", model, **options).analyze(x)


def logits_of(model, x):
    graph = trace(model)
    inputs = [x] if not isinstance(x, list) else x
    run = graphed(lambda values: forward(graph, values)[0])
    return array(run([tensor(v) for v in inputs]))


def copied(model, other):
    other.set_weights(model.get_weights())
    return other


@pytest.mark.parametrize("build", [plain, residual])
def test_forward_pass_equals_that_of_the_model(build, rng):
    model = build()
    x = rng.normal(size=(4, 12, 12, 3)).astype("float32")
    assert_same(logits_of(model, x), array(model(x)))


@pytest.mark.parametrize(
    "head",
    [
        lambda x: layers.Dense(5, activation="softmax", name="d")(x),
        lambda x: layers.Softmax()(layers.Dense(5, name="d")(x)),
        lambda x: layers.Activation("softmax")(layers.Dense(5, name="d")(x)),
        lambda x: ops.softmax(layers.Dense(5, name="d")(x)),
        lambda x: layers.Dense(5, activation="sigmoid", name="d")(x),
        lambda x: keras.Sequential(
            [keras.Input((6,)), layers.Dense(5, activation="softmax", name="d")]
        )(x),
    ],
    ids=["fused", "layer", "activation", "ops", "sigmoid", "nested"],
)
def test_heads_are_explained_at_their_logits(head, rng):
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu", name="hidden")(inputs)
    model = biased(keras.Model(inputs, head(hidden)))
    logits = copied(model, keras.Model(inputs, layers.Dense(5)(hidden)))
    x = rng.normal(size=(3, 4)).astype("float32")
    maps = explain(model, x)
    assert_same(maps, explain(logits, x))
    np.testing.assert_allclose(maps.sum(1), array(logits(x)).max(1), rtol=1e-4)


def test_nested_models_are_opened(rng):
    flat = plain()
    inputs = keras.Input((12, 12, 3))
    conv = keras.Sequential([keras.Input((12, 12, 3)), *flat.layers[1:3]], name="conv")
    inner = keras.Input((6, 6, 6))
    rest = keras.Model(inner, flat.layers[4](flat.layers[3](inner)), name="rest")
    nested = keras.Model(inputs, flat.layers[6](flat.layers[5](rest(conv(inputs)))))
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    assert_same(explain(nested, x), explain(flat, x))
    names = [node.name for node in trace(nested).nodes]
    assert names[:2] == [f"conv/{flat.layers[1].name}", f"conv/{flat.layers[2].name}"]


def test_sequential_equals_functional(rng):
    flat = plain()
    sequential = keras.Sequential([keras.Input((12, 12, 3)), *flat.layers[1:]])
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    assert_same(explain(sequential, x), explain(flat, x))


def test_shared_layers_are_explained_call_by_call(rng):
    a, b = keras.Input((6,)), keras.Input((6,))
    shared = layers.Dense(5, activation="relu", name="shared")
    out = layers.Dense(4, name="out")
    model = biased(
        keras.Model([a, b], out(layers.Concatenate(name="both")([shared(a), shared(b)])))
    )
    one, two = layers.Dense(5, activation="relu"), layers.Dense(5, activation="relu")
    twin_out = layers.Dense(4)
    twin = keras.Model([a, b], twin_out(layers.Concatenate()([one(a), two(b)])))
    for layer, weights in ((one, shared), (two, shared), (twin_out, out)):
        layer.set_weights(weights.get_weights())
    x = [rng.normal(size=(3, 6)).astype("float32") for _ in range(2)]
    maps = explain(model, x)
    for got, expected in zip(maps, explain(twin, x), strict=True):
        assert_same(got, expected)
    assert not np.allclose(maps[0], maps[1])
    assert [n.name for n in trace(model).nodes] == ["shared", "shared:1", "both", "out"]


def test_several_inputs_keep_the_sum_and_their_structure(rng):
    a, b = keras.Input((6,), name="a"), keras.Input((8, 8, 1), name="b")
    image = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(b))
    joined = layers.Concatenate()([layers.Dense(4, activation="relu")(a), image])
    model = biased(keras.Model([a, b], layers.Dense(3)(joined)))
    xa = rng.normal(size=(2, 6)).astype("float32")
    xb = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    maps = explain(model, [xa, xb])
    assert isinstance(maps, list)
    total = maps[0].sum(1) + maps[1].sum((1, 2, 3))
    np.testing.assert_allclose(total, array(model([xa, xb])).max(1), rtol=1e-4)
    named = explain(model, {"a": xa, "b": xb})
    assert_same(named["b"], maps[1])


def test_raw_operations_equal_layers(rng):
    def network(relu, add, merge, mean):
        inputs = keras.Input((8, 8, 3))
        x = relu(layers.Conv2D(4, 3, padding="same", name="c1")(inputs))
        y = layers.Conv2D(4, 3, padding="same", name="c2")(x)
        x = relu(add(x, y))
        x = mean(merge(x, y))
        return keras.Model(inputs, layers.Dense(5, name="d")(x))

    raw = biased(
        network(
            ops.relu,
            lambda x, y: x + y,
            lambda x, y: ops.concatenate([x, y], -1),
            lambda x: ops.mean(x, axis=(1, 2)),
        )
    )
    built = network(
        lambda x: layers.ReLU()(x),
        lambda x, y: layers.Add()([x, y]),
        lambda x, y: layers.Concatenate()([x, y]),
        lambda x: layers.GlobalAveragePooling2D()(x),
    )
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    expected = explain(copied(raw, built), x)
    np.testing.assert_allclose(
        explain(raw, x), expected, rtol=1e-4, atol=1e-5 * abs(expected).max()
    )


def test_a_tensor_added_to_itself_gets_its_relevance_once(rng):
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, activation="relu")(inputs)
    out = layers.Dense(3)
    model = biased(keras.Model(inputs, out(layers.Add()([hidden, hidden]))))
    x = rng.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(explain(model, x).sum(1), array(model(x)).max(1), rtol=1e-4)


def test_preceding_layers_do_not_hide_the_first_linear_layer(rng):
    """Padding gets no relevance, and the box follows a normalization of each channel."""
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3, strides=2, name="conv")
    tail = layers.Dense(3)
    x = layers.ZeroPadding2D(((1, 1), (1, 1)))(layers.Rescaling(-2.0, 0.5)(inputs))
    front = biased(keras.Model(inputs, tail(layers.Flatten()(layers.ReLU()(conv(x))))))
    table = {n.name: r for n, r in rap_keras.create_analyzer("rap", front).rules().rows}
    assert table["conv"] is rap_keras.rules.rap.first

    image = rng.uniform(0, 1, size=(2, 8, 8, 3)).astype("float32")
    maps = rap_keras.create_analyzer("rap", front).analyze_layers(image)
    padded = maps[front.layers[2].name].copy()
    assert_same(padded[:, 1:-1, 1:-1], maps[front.layers[1].name])
    padded[:, 1:-1, 1:-1] = 0
    assert not padded.any()
    # The same network on the scaled image, with the bounds of the scaled image.
    scaled = keras.Input((8, 8, 3))
    bare = keras.Model(
        scaled,
        front.layers[-1](layers.Flatten()(layers.ReLU()(conv(layers.ZeroPadding2D(1)(scaled))))),
    )
    np.testing.assert_allclose(
        explain(bare, -2 * image + 0.5), explain(front, image), rtol=1e-4, atol=1e-6
    )


def test_given_bounds_are_used(rng):
    model = plain()
    x = rng.uniform(-1, 1, size=(2, 12, 12, 3)).astype("float32")
    x[:, 0, 0, 0], x[:, 0, 0, 1] = -1, 1
    assert_same(explain(model, x, bounds=(-1, 1)), explain(model, x))
    wider = explain(model, x, bounds=([-2, -1, -1], [1, 1, 3]))
    assert abs(wider - explain(model, x)).max() > 1e-3
    np.testing.assert_allclose(wider.sum((1, 2, 3)), array(model(x)).max(1), rtol=1e-4)


def test_a_subclass_with_its_own_call_is_opened(rng):
    class Named(layers.Dense):
        pass

    class Doubled(layers.Dense):
        def call(self, x):
            return 2 * super().call(x)

    inputs = keras.Input((4,))
    x = rng.normal(size=(2, 4)).astype("float32")
    doubled, named = Doubled(3, name="doubled"), Named(3, name="named")
    for layer in (doubled, named):
        model = biased(keras.Model(inputs, layers.Dense(2)(layer(inputs))))
        analyzer = rap_keras.create_analyzer("rap", model)
        np.testing.assert_allclose(analyzer.analyze(x).sum(1), array(model(x)).max(1), rtol=1e-4)
        names = [node.name for node, _ in analyzer.rules().rows]
        assert names[0] == ("named" if layer is named else "doubled/matmul")


def test_a_call_that_needs_values_is_refused_with_its_line():
    class Branching(layers.Dense):
        def call(self, x):
            return super().call(x) if ops.max(x) > 0 else x

    inputs = keras.Input((4,))
    # Keras itself cannot trace such a call and needs its output shape.
    Branching.compute_output_spec = lambda self, x: keras.KerasTensor((None, 3))
    model = keras.Model(inputs, layers.Dense(2)(Branching(3, name="mine")(inputs)))
    with pytest.raises(UnknownLayerError) as error:
        rap_keras.create_analyzer("rap", model)
    message = str(error.value)
    assert "Layer 'mine' cannot be opened: line " in message
    assert "test_trace.py, `return super().call(x) if ops.max(x) > 0 else x`" in message
    assert "rap_keras.register_rule(Branching, my_rule)" in message


def test_models_that_cannot_be_followed_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    inputs = keras.Input((4,))
    dense = layers.Dense(3)(inputs)
    cases = {
        "was never called": Own(),
        "has 2 outputs, got none": keras.Model(inputs, [dense, layers.Dense(2)(dense)]),
        "unbuilt Sequential": keras.Sequential([layers.Dense(2)]),
        "Expected a Keras 3 model, got builtins.str: load the model": "model",
    }
    for message, model in cases.items():
        with pytest.raises(InputError, match=message):
            rap_keras.create_analyzer("rap", model)


@pytest.mark.parametrize("value", [0.0, -1.5, 0.1])
def test_a_mask_of_values_that_attention_loses_is_noticed(value, rng):
    inputs = keras.Input((6, 8))
    x = layers.Masking(value)(inputs)
    x = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(x, x))
    analyzer = rap_keras.create_analyzer("rap", keras.Model(inputs, layers.Dense(3)(x)))
    steps = rng.normal(size=(2, 6, 8)).astype("float32")
    steps[0, :, :4] = value  # no step is masked
    analyzer.analyze(steps)
    steps[1, 3:] = value
    with pytest.raises(InputError, match="masks"):
        analyzer.analyze(steps)


def test_a_mask_that_attention_loses_is_noticed_in_any_batch(rng):
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True)(inputs)
    x = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(x, x))
    model = biased(keras.Model(inputs, layers.Dense(3)(x)))
    analyzer = rap_keras.create_analyzer("rap", model)
    full, padded = np.array([[4, 5, 6, 7, 8, 8]] * 2), np.array([[1, 2, 3, 0, 0, 0]])
    analyzer.analyze(full, 1)
    for tokens in (padded, np.concatenate([full, padded])):
        with contextlib.suppress(InputError):  # a mask that is lost is refused
            logits = analyzer.explain(tokens, 1).logits
            np.testing.assert_allclose(logits, array(model(tokens)), rtol=1e-4, atol=1e-6)


def test_a_mask_reaches_the_pooling(rng):
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 5, mask_zero=True)(inputs)
    x = layers.Dense(4, name="inside")(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = biased(keras.Model(inputs, layers.Dense(3)(x)))
    tokens = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 1]], "int32")
    maps = rap_keras.create_analyzer("rap", model).analyze_layers(tokens)
    assert maps["inside"][0, :3].all()
    assert not maps["inside"][0, 3:].any()
    at_tokens = maps[model.layers[0].name]
    assert at_tokens.shape == tokens.shape
    np.testing.assert_allclose(at_tokens.sum(1), array(model(tokens)).max(1), rtol=1e-4)
