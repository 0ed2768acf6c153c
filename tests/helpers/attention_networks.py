"""A tiny vision transformer, and a slow NumPy version of it, in double precision."""

import math

import keras
import numpy as np
from keras import layers

from rap_keras.models.architectures import ClassToken, PositionEmbedding

SIZE, GRID, PATCH = (6, 4), (3, 2), 2
WIDTH, HEADS, DEPTH, HIDDEN, CLASSES = 4, 2, 3, 5, 3
BLOCKS = ("a", "b")
gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))


def transformer(token=True, seed=1):
    """Patches of 2 x 2 pixels and two blocks, with a class token or with a mean over the tokens."""
    inputs = keras.Input((*SIZE, 3))
    x = layers.Conv2D(WIDTH, PATCH, strides=PATCH, name="patches")(inputs)
    x = layers.Reshape((-1, WIDTH))(x)
    if token:
        x = ClassToken(name="token")(x)
    x = PositionEmbedding(name="positions")(x)
    for block in BLOCKS:
        y = layers.LayerNormalization(name=f"{block}_norm1")(x)
        y = layers.MultiHeadAttention(HEADS, DEPTH, name=f"{block}_attention")(y, y)
        x = layers.Add(name=f"{block}_add1")([x, y])
        y = layers.LayerNormalization(name=f"{block}_norm2")(x)
        y = layers.Dense(HIDDEN, activation="gelu", name=f"{block}_mlp1")(y)
        y = layers.Dense(WIDTH, name=f"{block}_mlp2")(y)
        x = layers.Add(name=f"{block}_add2")([x, y])
    x = layers.LayerNormalization(name="norm")(x)
    x = x[:, 0] if token else layers.GlobalAveragePooling1D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x))
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(generator.normal(0.1, 0.6, variable.shape))
    return model


class Reference:
    """The same network in NumPy, for one image."""

    def __init__(self, model, token=True):
        self.token = token
        self.first = int(token)
        self._weights = {
            layer.name: [np.array(w, np.float64) for w in layer.get_weights()]
            for layer in model.layers
        }

    def weights(self, name):
        return self._weights[name]

    def patches(self, image):
        """The pixels of each patch, (patches, PATCH * PATCH * 3)."""
        rows, columns = GRID
        cut = image.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4)
        return np.float64(cut.reshape(rows * columns, -1))

    def tokens(self, image):
        kernel, bias = self.weights("patches")
        z = self.patches(image) @ kernel.reshape(-1, WIDTH) + bias
        if self.token:
            z = np.concatenate([self.weights("token")[0][0], z])
        return z + self.weights("positions")[0]

    def norm(self, name, z):
        gamma, beta = self.weights(name)
        mean, variance = z.mean(-1, keepdims=True), z.var(-1, keepdims=True)
        return (z - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def block(self, name, z, attention=None):
        """The output of a block, and all its values; `attention` replaces the weights (heads, t, t)."""
        made = {"x": z, "n1": self.norm(f"{name}_norm1", z)}
        wq, bq, wk, bk, wv, bv, wo, bo = self.weights(f"{name}_attention")
        for part, w, b in (("q", wq, bq), ("k", wk, bk), ("v", wv, bv)):
            made[part] = np.einsum("tw,whd->htd", made["n1"], w) + b[:, None]
        made["scores"] = np.einsum("htd,hsd->hts", made["q"], made["k"])
        scaled = made["scaled"] = made["scores"] / np.sqrt(DEPTH)
        e = np.exp(scaled - scaled.max(-1, keepdims=True))
        made["A"] = e / e.sum(-1, keepdims=True) if attention is None else attention
        made["o"] = np.einsum("hts,hsd->thd", made["A"], made["v"])
        made["y1"] = np.einsum("thd,hdw->tw", made["o"], wo) + bo
        made["x1"] = z + made["y1"]
        made["n2"] = self.norm(f"{name}_norm2", made["x1"])
        (w1, b1), (w2, b2) = self.weights(f"{name}_mlp1"), self.weights(f"{name}_mlp2")
        made["h"] = made["n2"] @ w1 + b1
        made["g"] = gelu(made["h"])
        made["y2"] = made["g"] @ w2 + b2
        made["x2"] = made["x1"] + made["y2"]
        return made["x2"], made

    def head(self, z):
        z = self.norm("norm", z)
        w, b = self.weights("logits")
        return (z[0] if self.token else z.mean(0)) @ w + b

    def blocks(self, image, attention=None):
        """The values of every block; `attention` replaces the weights of those that it names."""
        z, found = self.tokens(image), []
        for name in BLOCKS:
            z, made = self.block(name, z, (attention or {}).get(name))
            found.append(made)
        return found

    def logits(self, image, attention=None):
        return self.head(self.blocks(image, attention)[-1]["x2"])


def slope(function, values, step=1e-4):
    """The gradient of a function of an array by central differences."""
    result = np.zeros_like(values)
    for index in np.ndindex(*values.shape):
        ends = []
        for sign in (1, -1):
            changed = values.copy()
            changed[index] += sign * step
            ends.append(function(changed))
        result[index] = (ends[0] - ends[1]) / (2 * step)
    return result
