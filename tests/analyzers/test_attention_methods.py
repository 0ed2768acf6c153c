"""Methods that use gradients by attention weights, against slow versions of their papers' equations."""

import keras
import numpy as np
import pytest
from helpers.attention_networks import (
    BLOCKS,
    CLASSES,
    GRID,
    SIZE,
    WIDTH,
    Reference,
    slope,
    transformer,
)
from helpers.compare import assert_same
from helpers.networks import plain
from helpers.thinned import pairwise_or_slow, slow_unless
from keras import layers

from rap_keras import InputError, create_analyzer

METHODS = ("generic_attention", "transformer_attribution", "legrad")
every_method = pytest.mark.parametrize("method", METHODS)
both = pytest.mark.parametrize("token", [True, False], ids=["class token", "mean"])


@pytest.fixture
def images(rng):
    return rng.normal(size=(2, *SIZE, 3)).astype(np.float32)


def resized(patches):
    """Pixel by pixel, between the centres of the patches."""
    (rows, columns), image = patches.shape, np.zeros(SIZE)
    for y, x in np.ndindex(*SIZE):
        v = np.clip((y + 0.5) * rows / SIZE[0] - 0.5, 0, rows - 1)
        u = np.clip((x + 0.5) * columns / SIZE[1] - 0.5, 0, columns - 1)
        i, j = min(int(v), rows - 2), min(int(u), columns - 2)
        a, b = v - i, u - j
        top = (1 - b) * patches[i, j] + b * patches[i, j + 1]
        image[y, x] = (1 - a) * top + a * ((1 - b) * patches[i + 1, j] + b * patches[i + 1, j + 1])
    return image


def image_of(reference, seen):
    return resized(seen[reference.first :].reshape(GRID))


def gradient(reference, image, name, made, target):
    """Of a logit by the weights of a block; later blocks compute theirs again."""
    return slope(lambda a: reference.logits(image, {name: a})[target], made["A"])


def positive_mean(values):
    return np.maximum(values, 0).sum(0) / len(values)


def seen_by_output(reference, matrix):
    return matrix[0] if reference.token else (matrix - np.eye(len(matrix))).mean(0)


def generic_attention(reference, image, target):
    blocks = reference.blocks(image)
    r = np.eye(len(blocks[0]["x"]))
    for name, made in zip(BLOCKS, blocks, strict=True):
        weights = gradient(reference, image, name, made, target)
        r = r + positive_mean(weights * made["A"]) @ r
    return seen_by_output(reference, r)


def positive(x, w, r):
    """Linear layers: only positive contributions count."""
    found = np.zeros_like(x)
    for t, j in np.ndindex(*r.shape):
        z = np.maximum(x[t] * w[:, j], 0)
        if z.sum() > 0:
            found[t] += z / z.sum() * r[t, j]
    return found


def normalized(parts, r):
    """Shares of two tensors, each rescaled as a whole."""
    shares = [part * r for part in parts]
    sums = [share.sum() for share in shares]
    size = sum(map(abs, sums))
    if not size:  # no contribution to the class is positive
        return shares
    return [share * abs(s) / size * r.sum() / s for share, s in zip(shares, sums, strict=True)]


def summed(x, y, r):
    return normalized([x / (x + y), y / (x + y)], r)


def product(a, v, r):
    of_a, of_v = np.zeros_like(a), np.zeros_like(v)
    for h, t, d in np.ndindex(*r.shape):
        z = a[h, t] * v[h, :, d]
        of_a[h, t] += z / z.sum() * r[h, t, d]
        of_v[h, :, d] += z / z.sum() * r[h, t, d]
    size = abs(of_a.sum()) + abs(of_v.sum())
    if not size:
        return of_a, of_v
    return [of * abs(of.sum()) / size * r.sum() / of.sum() for of in (of_a, of_v)]


def relevance_of_weights(reference, image, target):
    """Of every block, from 1 at the class."""
    blocks = reference.blocks(image)
    last = reference.norm("norm", blocks[-1]["x2"])
    w, _ = reference.weights("logits")
    start = np.eye(CLASSES)[[target]]
    if reference.token:
        r = np.zeros_like(last)
        r[:1] = positive(last[:1], w, start)
    else:
        mean = last.mean(0, keepdims=True)
        r = last / len(last) * positive(mean, w, start) / mean
    found = {}
    for name, made in zip(BLOCKS[::-1], blocks[::-1], strict=True):
        of_x1, of_y2 = summed(made["x1"], made["y2"], r)
        of_g = positive(made["g"], reference.weights(f"{name}_mlp2")[0], of_y2)
        of_x1 = of_x1 + positive(made["n2"], reference.weights(f"{name}_mlp1")[0], of_g)
        of_x, of_y1 = summed(made["x"], made["y1"], of_x1)
        wq, _, wk, _, wv, _, wo, _ = reference.weights(f"{name}_attention")
        tokens, heads, depth = made["o"].shape
        of_o = positive(made["o"].reshape(tokens, -1), wo.reshape(-1, WIDTH), of_y1)
        of_o = of_o.reshape(tokens, heads, depth).transpose(1, 0, 2)
        found[name], of_v = product(made["A"], made["v"], of_o)
        of_q, of_k = product(made["q"], made["k"].transpose(0, 2, 1), found[name])
        r = of_x
        for kernel, part in ((wq, of_q), (wk, of_k.transpose(0, 2, 1)), (wv, of_v)):
            flat = part.transpose(1, 0, 2).reshape(tokens, -1)
            r = r + positive(made["n1"], kernel.reshape(WIDTH, -1), flat)
    return found


def transformer_attribution(reference, image, target):
    relevance = relevance_of_weights(reference, image, target)
    blocks = reference.blocks(image)
    rolled = np.eye(len(blocks[0]["x"]))
    for name, made in zip(BLOCKS, blocks, strict=True):
        weights = gradient(reference, image, name, made, target)
        rolled = (np.eye(len(rolled)) + positive_mean(weights * relevance[name])) @ rolled
    return seen_by_output(reference, rolled)


def legrad(reference, image, target, tokens="mean"):
    total = 0
    for name, made in zip(BLOCKS, reference.blocks(image), strict=True):

        def score(a, name=name, made=made):
            z, _ = reference.block(name, made["x"], a)
            return reference.head(np.tile(z.mean(0), (len(z), 1)) if tokens == "mean" else z)[
                target
            ]

        slopes = np.maximum(slope(score, made["A"]), 0)
        heads, queries, _ = slopes.shape
        total = total + slopes.sum((0, 1)) / (heads * queries)
    return total / len(BLOCKS)


@pytest.mark.parametrize(
    ("definition", "token"),
    pairwise_or_slow([generic_attention, transformer_attribution, legrad], [True, False]),
)
def test_maps_are_those_of_the_definition(definition, token, images):
    model = transformer(token)
    reference, targets = Reference(model, token), [0, 2]
    found = create_analyzer(definition.__name__, model).analyze(images, targets)
    expected = [
        image_of(reference, definition(reference, image, target))
        for image, target in zip(images, targets, strict=True)
    ]
    assert np.std(expected) > 1e-5
    assert_same(found.sum(-1), np.stack(expected), 2e-3)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])


@both
@pytest.mark.quick("class token")
def test_legrad_of_the_tokens_that_the_model_uses(token, images):
    model = transformer(token)
    reference = Reference(model, token)
    analyzer = create_analyzer("legrad", model, tokens="output")
    expected = image_of(reference, legrad(reference, images[0], 1, "output"))
    assert_same(analyzer.analyze(images[:1], 1)[0].sum(-1), expected, 2e-3)
    assert analyzer.options()["tokens"] == "output"
    assert np.std(expected - image_of(reference, legrad(reference, images[0], 1))) > 1e-4


@pytest.mark.parametrize("method", slow_unless(lambda p: p.values[0] == "legrad", METHODS))
def test_maps_depend_on_the_class_and_not_on_other_samples(method, images):
    model = transformer()
    analyzer = create_analyzer(method, model)
    found = analyzer.explain(images, [0, 1])
    assert found.relevance.min() >= 0
    assert_same(found.logits, model(images))
    assert_same(analyzer.analyze(images[1:2], 1), found.relevance[1:2])
    assert abs(analyzer.analyze(images, 0)[1] - found.relevance[1]).max() > 1e-6
    with pytest.raises(InputError, match="has no relevance of layers"):
        analyzer.analyze_layers(images)


@pytest.mark.parametrize(
    "method", [pytest.param("generic_attention", marks=pytest.mark.slow), "legrad"]
)
def test_a_contrast_is_that_of_the_difference_of_the_logits(method, images):
    """As the logit f_0 of a model whose last layer computes f_0 - f_1 there."""
    model = transformer()
    found = create_analyzer(method, model).analyze(images, 0, against=1)
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[:, 0] -= kernel[:, 1]
    bias[0] -= bias[1]
    model.get_layer("logits").set_weights([kernel, bias])
    assert_same(found, create_analyzer(method, model).analyze(images, 0), 1e-3)


@every_method
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (plain, "Expected a model with attention, .* got one without: use another method"),
        (lambda: windows(), "got a model without known patches"),
    ],
)
def test_other_networks_are_refused_in_one_sentence(method, build, message):
    with pytest.raises(InputError, match=message) as error:
        create_analyzer(method, build())
    assert "\n" not in str(error.value)


def windows():
    """Attention between patches of windows, whose order is not that of a map."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape((4, 16, 3))(x)
    x = layers.Reshape((32, 6))(x)
    x = x + layers.MultiHeadAttention(1, 3)(x, x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def test_legrad_needs_blocks_with_a_skip_connection():
    inputs = keras.Input((4, 4, 3))
    x = layers.Reshape((-1, 3))(inputs)
    x = layers.MultiHeadAttention(1, 3)(x, x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    with pytest.raises(InputError, match=r"Expected blocks that end in a sum .* for 'legrad'"):
        create_analyzer("legrad", model)
    create_analyzer("generic_attention", model).analyze(np.ones((1, 4, 4, 3), np.float32))


@pytest.mark.slow
def test_both_classes_of_a_sigmoid(images):
    inputs = keras.Input((*SIZE, 3))
    trunk = transformer()
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(trunk(inputs)))
    model.layers[-1].kernel.assign([[1.0], [-2.0], [0.5]])
    analyzer = create_analyzer("transformer_attribution", model)
    maps = [analyzer.analyze(images, k) for k in (0, 1)]
    assert min(m.min() for m in maps) >= 0
    assert abs(maps[0] - maps[1]).max() > 1e-6
