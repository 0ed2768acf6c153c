"""`lrp.attnlrp` against a slow version of the equations of AttnLRP (Achtibat et al. 2024)."""

import keras
import numpy as np
import pytest
from helpers.attention_networks import BLOCKS, GRID, PATCH, WIDTH, Reference, transformer
from helpers.compare import assert_same
from helpers.networks import plain
from keras import layers

from rap_keras import InputError, create_analyzer
from rap_keras.network.attention import projections
from rap_keras.rules import name_of


def outward(z, epsilon):
    return z + (epsilon if z >= 0 else -epsilon)


def by_epsilon(x, w, b, r, epsilon=1e-6):
    """Eq. 8, token by token: the bias takes a share."""
    found = np.zeros_like(x)
    for t, j in np.ndindex(*r.shape):
        z = x[t] @ w[:, j] + b[j]
        found[t] += x[t] * w[:, j] * r[t, j] / outward(z, epsilon)
    return found


def by_gamma(x, w, b, r, gamma):
    """Eq. 24 for outputs of both signs: contributions with the sign of the output are favoured."""
    found = np.zeros_like(x)
    for t, j in np.ndindex(*r.shape):
        z = x[t] * w[:, j]
        sign = 1 if z.sum() + b[j] >= 0 else -1
        favoured = z + gamma * np.where(z * sign > 0, z, 0)
        total = favoured.sum() + b[j] + gamma * (b[j] if b[j] * sign > 0 else 0)
        found[t] += favoured * r[t, j] / total
    return found


def product(a, v, r, epsilon=1e-6):
    """Eq. 15: the product a @ v gives half of its relevance to each factor."""
    of_a, of_v = np.zeros_like(a), np.zeros_like(v)
    for t, d in np.ndindex(*r.shape):
        s = r[t, d] / outward(2 * (a[t] @ v[:, d]), epsilon)
        of_a[t] += a[t] * v[:, d] * s
        of_v[:, d] += a[t] * v[:, d] * s
    return of_a, of_v


def attended(reference, name, made, r):
    """From the output of an attention to its input."""
    wq, bq, wk, bk, wv, bv, wo, bo = reference.weights(f"{name}_attention")
    tokens, heads, depth = made["o"].shape
    flat = made["o"].reshape(tokens, -1)
    r = by_epsilon(flat, wo.reshape(-1, WIDTH), bo, r).reshape(tokens, heads, depth)
    found = np.zeros_like(made["n1"])
    for h in range(heads):
        of_a, of_v = product(made["A"][h], made["v"][h], r[:, h])
        of_s = np.zeros_like(of_a)
        for t, i in np.ndindex(*of_a.shape):  # eq. 13
            share = of_a[t, i] - made["A"][h, t, i] * of_a[t].sum()
            of_s[t, i] = made["scaled"][h, t, i] * share
        # The division by sqrt(depth) passes relevance on. Keras applies it after the product.
        of_q, of_k = product(made["q"][h], made["k"][h].T, of_s)
        for w, b, part in ((wq, bq, of_q), (wk, bk, of_k.T), (wv, bv, of_v)):
            found += by_epsilon(made["n1"], w[:, h], b[h], part)
    return found


def relevance(reference, image, target):
    """The map of a class, with the identity for normalizations and activations."""
    blocks = reference.blocks(image)
    last = reference.norm("norm", blocks[-1]["x2"])
    w, b = reference.weights("logits")
    start = np.zeros((1, len(b)))
    start[0, target] = reference.head(blocks[-1]["x2"])[target]
    r = np.zeros_like(last)
    if reference.token:
        r[:1] = by_gamma(last[:1], w, b, start, 0.05)
    else:
        mean = last.mean(0, keepdims=True)
        r = last / len(last) * (by_gamma(mean, w, b, start, 0.05) / mean)
    for name, made in zip(BLOCKS[::-1], blocks[::-1], strict=True):
        of_y = made["y2"] / made["x2"] * r
        of_g = by_gamma(made["g"], *reference.weights(f"{name}_mlp2"), of_y, 0.05)
        of_n = by_gamma(made["n2"], *reference.weights(f"{name}_mlp1"), of_g, 0.05)
        r = made["x1"] / made["x2"] * r + of_n
        r = made["x"] / made["x1"] * r + attended(
            reference, name, made, made["y1"] / made["x1"] * r
        )
    kernel, bias = reference.weights("patches")
    of_patches, tokens = r[reference.first :], reference.tokens(image)[reference.first :]
    # The class token's relevance is spread over the patches, as docs/rules.md says.
    if reference.token:
        of_patches = of_patches + r[0].sum() / tokens.size
    pixels = by_gamma(reference.patches(image), kernel.reshape(-1, WIDTH), bias, of_patches, 0.25)
    rows, columns = GRID
    return pixels.reshape(rows, columns, PATCH, PATCH, 3).transpose(0, 2, 1, 3, 4)


@pytest.mark.parametrize("token", [True, False], ids=["class token", "mean"])
@pytest.mark.quick("class token")
def test_maps_are_those_of_the_equations(token, rng):
    model = transformer(token)
    reference = Reference(model, token)
    x = rng.normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    found = create_analyzer("lrp.attnlrp", model).explain(x, target=[1, 2])
    for k, target in enumerate([1, 2]):
        np.testing.assert_allclose(found.logits[k], reference.logits(x[k]), rtol=1e-4, atol=1e-5)
        expected = relevance(reference, x[k], target).reshape(x[k].shape)
        assert_same(found.relevance[k], expected, 2e-3)


def test_gamma_is_outside_attention_only():
    table = create_analyzer("lrp.attnlrp", transformer(), gamma=0.5, dense_gamma=2, epsilon=0.1)
    rules = {node.name: name_of(rule) for node, rule in table.rules().rows}
    for part in ("query", "key", "value", "attention_output"):
        assert rules[f"a_attention/{part}"] == "lrp.epsilon(epsilon=0.1, bias=True)"
    for name in ("a_mlp1", "b_mlp2", "logits"):
        assert rules[name] == "lrp.gamma(gamma=2.0, signed=True)"
    assert rules["patches"] == "lrp.gamma(gamma=0.5, signed=True)"
    assert rules["a_norm1"] == rules["norm"] == "routing.pass_on"
    assert rules["a_add1"] == "routing.share_sum(by='signed')"


def test_constant_attention_takes_nothing_and_its_values_follow_epsilon():
    analyzer = create_analyzer("lrp.attnlrp", transformer(), attention="constant")
    named = [name_of(rule) for _, rule in analyzer.rules().rows]
    assert not [name for name in named if "bilinear" in name or "contraction.softmax" in name]
    products = [name for name in named if name.startswith("contraction.contraction")]
    assert len(products) == 4
    assert all("lrp.epsilon(epsilon=1e-06" in name for name in products)


def test_a_softmax_written_as_an_activation_gets_the_rule_of_softmax(rng):
    tokens = keras.Input((4, 3))
    scores = layers.Dot((2, 2))([layers.Dense(2)(tokens), layers.Dense(2)(tokens)])
    models = []
    for softmax in (layers.Softmax(), layers.Activation("softmax")):
        y = layers.Dot((2, 1))([softmax(scores), layers.Dense(3, activation="tanh")(tokens)])
        models.append(keras.Model(tokens, layers.Dense(2)(layers.Flatten()(y))))
    models[1].set_weights(models[0].get_weights())
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    maps = [create_analyzer("lrp.attnlrp", model).analyze(x, 0) for model in models]
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-4, atol=1e-6)


def test_the_layers_of_an_attention_are_found_by_its_products():
    graph = create_analyzer("rap", transformer())._graph
    parts = ("query", "key", "value", "attention_output")
    expected = {f"{block}_attention/{part}" for block in BLOCKS for part in parts}
    assert projections(graph) == expected
    x = inputs = keras.Input((4, 3))
    for name in ("one", "two"):  # without projections
        x = x + layers.Attention()([x, x])
        x = x + layers.Dense(3, name=name)(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    assert projections(create_analyzer("rap", model)._graph) == set()
    assert projections(create_analyzer("rap", plain())._graph) == set()


def test_it_is_not_a_method_of_innvestigate():
    with pytest.raises(InputError, match=r"got it for 'lrp\.attnlrp': leave it out"):
        create_analyzer("lrp.attnlrp", transformer(), innvestigate_compat=True)
    with pytest.raises(InputError, match="dense_gamma"):
        create_analyzer("lrp.attnlrp", transformer(), dense_gamma=-1)
