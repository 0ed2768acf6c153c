"""Random networks, each made by its number: valid Keras models of every kind of layer, and samples.

A network is a few random steps from an input to a head. A step is a function of the builder and a tensor
that returns a tensor; `STEPS` has them by what they need. Whatever Keras itself cannot build or run is
drawn again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from rap_keras.tensors import ERRORS

SAMPLES = 3
VERSION = tuple(int(part) for part in keras.__version__.split(".")[:2])
ACTIVATIONS = (
    *("relu", "relu", "relu", "relu6", "tanh", "sigmoid", "elu", "selu", "gelu", "silu"),
    *("softplus", "softsign", "leaky_relu", "hard_sigmoid", "hard_silu", "mish", "exponential"),
)


@dataclass(frozen=True)
class RandomNetwork:
    """A model and samples of it.

    Attributes:
        model: One output of shape (batch, neurons), possibly after a softmax.
        logits: The same model without the softmax.
        x: An array of shape (samples, ...), or a list of them for several inputs.
    """

    model: keras.Model
    logits: keras.Model
    x: Any

    def __str__(self) -> str:
        """The layers, which identify a network in a failure."""
        return "\n".join(
            f"  {op.name}: {type(op).__name__} -> {_shapes(op)}" for op in self.model.operations
        )


def _shapes(op: Any) -> Any:
    try:
        return op.output.shape, op.output.dtype
    except (AttributeError, ValueError):
        return "several"


def random_network(number: int) -> RandomNetwork:
    """The network of a number, the same at every call."""
    keras.utils.set_random_seed(number)
    attempt = 0
    while True:
        rng = np.random.default_rng([number, attempt])
        try:
            return _Builder(rng).network()
        except (ValueError, TypeError, NotImplementedError, *ERRORS):
            attempt += 1  # Keras, or its backend on this machine, cannot run it
            if attempt == 100:
                raise


Step = Callable[["_Builder", Any], Any]
STEPS: list[tuple[float, Callable[[Any], bool], Step]] = []


def step(weight: float = 1.0, rank: int | tuple[int, ...] = (2, 3, 4, 5)) -> Callable[[Step], Step]:
    """Registers a step for tensors of some ranks (batch and channels included)."""
    ranks = (rank,) if isinstance(rank, int) else rank

    def register(function: Step) -> Step:
        STEPS.append((weight, lambda x: len(x.shape) in ranks, function))
        return function

    return register


class _Builder:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.dtype = self.pick(
            ["float32"] * 16 + ["float64"] * 2 + ["mixed_float16", "mixed_bfloat16"]
        )

    # Choices.

    def pick(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def layer(self, cls: Any, *args: Any, **options: Any) -> Any:
        """A layer in the network's dtype; some branches have another."""
        return cls(*args, **({"dtype": self.dtype} | options))

    def constant(self, shape: Any = ()) -> Any:
        """A number or an array of a shape, as the constant of an operation."""
        wide = "float64" if self.dtype == "float64" else "float32"
        value = self.rng.normal(0, 0.5, shape)
        return float(value) if np.ndim(value) == 0 else value.astype(wide)

    # Parts.

    def network(self) -> RandomNetwork:
        kind = self.pick(["image"] * 6 + ["sequence", "sequence", "vector", "tokens", "volume"])
        number = 2 if self.chance(0.12) else 1
        inputs = [self.input(kind) for _ in range(number)]
        tensors = [self.steps(self.start(kind, x), self.rng.integers(1, 6)) for x in inputs]
        vectors = [self.vector(t) for t in tensors]
        x = vectors[0] if number == 1 else self.layer(layers.Concatenate)(vectors)
        if self.chance(0.3):
            x = self.layer(layers.Dense, 5, activation=self.pick(ACTIVATIONS))(x)
        neurons = int(self.rng.integers(2, 5))
        activation = self.pick([None] * 4 + ["softmax"])
        head = self.layer(layers.Dense, neurons, activation=activation)
        linear = self.layer(layers.Dense, neurons)
        given = inputs if number > 1 else inputs[0]
        model, logits = (keras.Model(given, layer(x)) for layer in (head, linear))
        self.weights(model)
        linear.set_weights(head.get_weights())
        samples = [self.samples(kind, x) for x in inputs]
        samples = samples if number > 1 else samples[0]
        outputs = np.asarray(logits.predict_on_batch(samples), "float64")
        if not np.isfinite(outputs).all() or abs(outputs).max() > 1e4:
            raise ValueError("values overflow")
        return RandomNetwork(model, logits, samples)

    def input(self, kind: str) -> Any:
        channels = int(self.pick([1, 2, 3, 3, 4]))
        size = lambda low, high: int(self.rng.integers(low, high + 1))  # noqa: E731
        shapes = {
            "image": (size(6, 10), size(6, 10), channels),
            "volume": (size(3, 5), size(3, 5), size(3, 5), channels),
            "sequence": (size(5, 9), channels),
            "vector": (size(3, 8),),
            "tokens": (size(4, 8),),
        }
        if kind == "tokens":
            return keras.Input(shapes[kind], dtype="int32")
        dtype = None if "mixed" in self.dtype else self.dtype
        if kind == "image" and self.chance(0.05):
            return keras.Input((None, None, channels), dtype=dtype)
        return keras.Input(shapes[kind], dtype=dtype)

    def samples(self, kind: str, x: Any) -> np.ndarray:
        shape = [SAMPLES, *(8 if n is None else n for n in x.shape[1:])]
        if kind == "tokens":
            return self.rng.integers(0, 9, shape).astype("int32")
        values = self.rng.normal(0, 1, shape)
        if kind == "image":
            values = self.rng.uniform(self.pick([0, -1]), 1, shape)
            if self.chance(0.2):  # a border, as letterboxed photographs have
                values[:, :2] = values[:, -1:] = 0
        return values.astype(x.dtype)

    def start(self, kind: str, x: Any) -> Any:
        """Layers before the network."""
        if kind == "tokens":
            return self.layer(layers.Embedding, 9, 4)(x)
        if kind == "image" and self.chance(0.25):
            front = [
                lambda: self.layer(layers.Rescaling, 1 / 2.0, offset=-0.5),
                lambda: self.layer(
                    layers.Normalization, mean=[0.2] * x.shape[-1], variance=[0.5] * x.shape[-1]
                ),
                lambda: self.layer(layers.ZeroPadding2D, int(self.rng.integers(1, 3))),
                lambda: self.layer(layers.Resizing, 7, 6),
                lambda: self.augmentation(),
            ]
            return self.pick(front)()(x)
        return x

    def augmentation(self) -> Any:
        return self.pick([f for f in AUGMENTATIONS if hasattr(layers, f[0])])[1](self)

    def steps(self, x: Any, number: int) -> Any:
        """Some random steps in a row."""
        for _ in range(number):
            for _ in range(20):
                fitting = [(w, f) for w, fits, f in STEPS if fits(x)]
                weights = np.array([w for w, _ in fitting])
                function = fitting[self.rng.choice(len(fitting), p=weights / weights.sum())][1]
                try:
                    y = function(self, x)
                except (ValueError, TypeError, IndexError):
                    continue  # this step needs another size or dtype
                sizes = [n for n in y.shape[1:] if n is not None]
                if 0 < np.prod(sizes) < 2000 and y.dtype.startswith(("float", "bfloat")):
                    x = y
                    break
        return x

    def vector(self, x: Any) -> Any:
        """From features to a vector."""
        rank = len(x.shape) - 2
        if rank == 0:
            return x
        axes = list(range(1, rank + 1))
        ways = [
            lambda: self.layer(layers.Flatten)(x),
            lambda: self.layer(getattr(layers, f"GlobalAveragePooling{rank}D"))(x),
            lambda: self.layer(getattr(layers, f"GlobalMaxPooling{rank}D"))(x),
            lambda: ops.max(x, axis=axes),
            lambda: ops.mean(x, axis=axes),
        ]
        if None in x.shape[1:]:
            ways = ways[1:]
        return self.pick(ways)()

    def weights(self, model: keras.Model) -> None:
        """Random weights, because zeros hide errors. Some kernels have filters of 0."""
        for variable in model.weights:
            shape, name = variable.shape, variable.name
            if "seed" in variable.path or not str(variable.dtype).startswith(("float", "bfloat")):
                continue
            if any(part in name for part in ("variance", "gamma")) and "scale" not in name:
                variable.assign(self.rng.uniform(0.5, 1.5, shape))
            elif name in ("bias", "beta", "moving_mean"):
                variable.assign(self.rng.normal(0, 0.1, shape))
            elif "kernel" in name and shape[-1] > 1 and self.chance(0.1):
                value = np.array(keras.ops.convert_to_numpy(variable), "float32")
                value[..., 0] = 0
                variable.assign(value)

    def conv(self, x: Any, **options: Any) -> Any:
        """A convolution that keeps the spatial sizes of any rank."""
        rank = len(x.shape) - 2
        filters = options.pop("filters", int(self.rng.integers(2, 6)))
        if rank == 0:
            return self.layer(layers.Dense, filters, **options)
        return self.layer(
            getattr(layers, f"Conv{rank}D"),
            filters,
            self.pick([1, 2, 3]),
            padding="same",
            **options,
        )

    def same(self, x: Any) -> Any:
        """A branch with the shape of x."""
        y = x
        if self.chance(0.5):
            y = self.layer(layers.Activation, self.pick(ACTIVATIONS))(y)
        y = self.conv(y, filters=x.shape[-1])(y)
        return self.layer(layers.BatchNormalization)(y) if self.chance(0.3) else y


def _image(name: str, *args: Any, **options: Any) -> tuple[str, Callable[[Any], Any]]:
    return name, lambda b: b.layer(getattr(layers, name), *args, **options)


AUGMENTATIONS = [
    _image("RandomFlip"),
    _image("RandomRotation", 0.1),
    _image("RandomZoom", 0.1),
    _image("RandomTranslation", 0.1, 0.1),
    _image("RandomContrast", 0.2),
    _image("RandomBrightness", 0.2, value_range=(0, 1)),
    _image("RandomCrop", 8, 8),
    _image("RandAugment", value_range=(0, 1)),
    _image("AugMix", value_range=(0, 1)),
    _image("MixUp"),
    _image("CutMix"),
    _image("RandomErasing", value_range=(0, 1)),
    _image("RandomHue", 0.2, value_range=(0, 1)),
    _image("RandomSaturation", 0.3, value_range=(0, 1)),
    _image("RandomSharpness", 0.3, value_range=(0, 1)),
    _image("RandomColorJitter", value_range=(0, 1)),
    _image("RandomColorDegeneration", 0.3, value_range=(0, 1)),
    _image("RandomGaussianBlur", value_range=(0, 1)),
    _image("RandomShear", 0.1, 0.1),
    _image("RandomPerspective", 0.2),
    _image("RandomElasticTransform", value_range=(0, 1)),
    _image("RandomGrayscale", 0.5),
    _image("RandomInvert", value_range=(0, 1)),
    _image("RandomPosterization", 4, value_range=(0, 1)),
    _image("Solarization", value_range=(0, 1)),
    _image("AutoContrast", value_range=(0, 1)),
    _image("Equalization", value_range=(0, 1)),
    (
        "Pipeline",
        lambda b: layers.Pipeline([layers.RandomFlip(), layers.RandomContrast(0.2)]),
    ),
]


# Kernel layers.


@step(5)
def convolution(b: _Builder, x: Any) -> Any:
    return b.conv(x, activation=b.pick([None, "relu", "relu", b.pick(ACTIVATIONS)]))(x)


@step(3, (3, 4, 5))
def odd_convolution(b: _Builder, x: Any) -> Any:
    rank = len(x.shape) - 2
    options: dict[str, Any] = {"padding": b.pick(["same", "valid"])}
    options |= b.pick([{}, {"strides": 2}, {"dilation_rate": 2}])
    if rank == 1 and b.chance(0.3):
        options["padding"] = "causal"
    channels = x.shape[-1]
    groups = b.pick([g for g in range(1, channels + 1) if channels % g == 0])
    filters = groups * int(b.rng.integers(1, 4))
    cls = getattr(layers, f"Conv{rank}D")
    return b.layer(
        cls, filters, b.pick([1, 2, 3]), groups=groups, use_bias=b.chance(0.7), **options
    )(x)


@step(2, (3, 4))
def depthwise(b: _Builder, x: Any) -> Any:
    rank = len(x.shape) - 2
    kind = b.pick(["DepthwiseConv", "SeparableConv"])
    args = (3,) if kind == "DepthwiseConv" else (int(b.rng.integers(2, 5)), 3)
    options = {"padding": b.pick(["same", "valid"]), "strides": b.pick([1, 1, 2])}
    multiplier = b.pick([1, 2])
    return b.layer(
        getattr(layers, f"{kind}{rank}D"), *args, depth_multiplier=multiplier, **options
    )(x)


@step(1, (3, 4, 5))
def transposed(b: _Builder, x: Any) -> Any:
    cls = getattr(layers, f"Conv{len(x.shape) - 2}DTranspose")
    options = {"padding": b.pick(["same", "valid"]), "strides": b.pick([1, 2])}
    return b.layer(cls, int(b.rng.integers(2, 4)), b.pick([2, 3]), **options)(x)


@step(1, (2, 3, 4))
def dense(b: _Builder, x: Any) -> Any:
    return b.layer(layers.Dense, int(b.rng.integers(2, 7)), activation=b.pick(ACTIVATIONS))(x)


@step(1, 3)
def einsum_dense(b: _Builder, x: Any) -> Any:
    return b.layer(
        layers.EinsumDense,
        *b.pick(
            [
                ("abc,cd->abd", (None, 4)),
                ("abc,bcd->abd", (x.shape[1], 3)),
                ("abc,cde->abde", (None, 2, 3)),
            ]
        ),
    )(x)


@step(0.5, 4)
def channels_first(b: _Builder, x: Any) -> Any:
    y = b.layer(layers.Permute, (3, 1, 2))(x)
    y = b.layer(layers.DepthwiseConv2D, 2, data_format="channels_first")(y)
    return b.layer(layers.Permute, (2, 3, 1))(y)


@step(0.5, (3, 4))
def shared(b: _Builder, x: Any) -> Any:
    layer = b.conv(x, filters=x.shape[-1], activation="relu")
    return layer(layer(x))


@step(0.7)
def nested(b: _Builder, x: Any) -> Any:
    inner = keras.Input(x.shape[1:], dtype=x.dtype)
    model = keras.Model(inner, b.steps(inner, 2))
    if b.chance(0.3) and model.output_shape == (None, *x.shape[1:]):
        return model(model(x))
    return model(x)


# Element by element.


@step(4)
def activation(b: _Builder, x: Any) -> Any:
    kinds = [
        lambda: b.layer(layers.Activation, b.pick(ACTIVATIONS)),
        lambda: b.layer(layers.ReLU),
        lambda: b.layer(layers.ReLU, max_value=2.0, negative_slope=0.1),
        lambda: b.layer(layers.LeakyReLU),
        lambda: b.layer(layers.PReLU),
        lambda: b.layer(layers.ELU),
        lambda: b.layer(layers.Softmax),
    ]
    return b.pick(kinds)()(x)


@step(2)
def activation_operation(b: _Builder, x: Any) -> Any:
    return b.pick(
        [
            *(ops.relu, ops.relu6, ops.tanh, ops.sigmoid, ops.silu, ops.gelu, ops.softplus),
            *(ops.leaky_relu, ops.elu, ops.abs, ops.softsign, ops.hard_sigmoid, ops.negative),
            *(ops.square, ops.exp, ops.log_softmax, ops.softmax),
            lambda x: ops.clip(x, -0.5, 1.0),
            lambda x: ops.sqrt(ops.relu(x) + 0.1),
        ]
    )(x)


@step(2)
def batch_normalization(b: _Builder, x: Any) -> Any:
    return b.layer(layers.BatchNormalization, scale=b.chance(0.8), center=b.chance(0.8))(x)


@step(1.5)
def other_normalization(b: _Builder, x: Any) -> Any:
    kinds = [
        lambda: b.layer(layers.LayerNormalization),
        lambda: b.layer(layers.UnitNormalization),
        lambda: b.layer(layers.GroupNormalization, groups=1),
        lambda: b.layer(layers.RMSNormalization),
    ]
    return b.pick(kinds[: 4 if hasattr(layers, "RMSNormalization") else 3])()(x)


@step(1.5)
def nothing_at_inference(b: _Builder, x: Any) -> Any:
    kinds = [
        lambda: b.layer(layers.Dropout, 0.3),
        lambda: b.layer(layers.GaussianNoise, 0.3),
        lambda: b.layer(layers.GaussianDropout, 0.3),
        lambda: b.layer(layers.AlphaDropout, 0.3),
        lambda: b.layer(layers.ActivityRegularization, l2=0.01),
        lambda: b.layer(layers.Identity),
        lambda: b.layer(layers.Rescaling, 0.5, offset=0.1),
    ]
    return b.pick(kinds)()(x)


@step(2.5)
def with_constant(b: _Builder, x: Any) -> Any:
    channels = x.shape[-1]
    constant = b.constant(b.pick([(), (), (channels,), (1,) * (len(x.shape) - 1) + (channels,)]))
    return b.pick(
        [
            *(ops.maximum, ops.minimum, ops.add, ops.subtract, ops.multiply),
            lambda x, c: ops.divide(x, ops.abs(c) + 1.0),
            lambda x, c: ops.subtract(c, x),
            lambda x, c: ops.maximum(c, x),
            lambda x, c: ops.where(x > c, x, 0.1 * x),
            lambda x, c: ops.where(x > c, x, c),
        ]
    )(x, constant)


@step(1.5)
def where(b: _Builder, x: Any) -> Any:
    other = b.same(x)
    return ops.where(b.pick([x, other]) > 0, x, other)


# Moves.


@step(2, (3, 4, 5))
def moving(b: _Builder, x: Any) -> Any:
    rank = len(x.shape) - 2
    kinds = [
        lambda x: b.layer(getattr(layers, f"ZeroPadding{rank}D"), 1)(x),
        lambda x: b.layer(getattr(layers, f"Cropping{rank}D"), 1)(x),
        lambda x: b.layer(getattr(layers, f"UpSampling{rank}D"), 2)(x),
        lambda x: ops.flip(x, axis=1),
        lambda x: ops.roll(x, 1, axis=1),
        lambda x: x[:, 1:],
        lambda x: x[..., ::2],
        lambda x: ops.transpose(x, [0, 2, 1, *range(3, rank + 2)]),
        lambda x: b.layer(layers.Permute, (*range(2, rank + 2), 1))(x),
        lambda x: ops.pad(x, [[0, 0], [1, 0], *[[0, 0]] * rank]),
        lambda x: ops.pad(x, [[0, 0], [0, 1], *[[0, 0]] * rank], constant_values=0.5),
        lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=1),
        lambda x: ops.max(ops.stack([x, b.same(x)], axis=-1), axis=-1),
        lambda x: ops.repeat(x, 2, axis=1),
        lambda x: ops.tile(x, [1, 2, *[1] * rank]),
        lambda x: ops.swapaxes(x, 1, -1),
        lambda x: ops.moveaxis(x, 1, -1),
        lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
        lambda x: ops.take(x, [0, 2, 1], axis=1),
    ]
    return b.pick(kinds)(x)


@step(1, (3, 4, 5))
def reshaping(b: _Builder, x: Any) -> Any:
    *spatial, channels = x.shape[1:]
    target = b.pick([(-1, channels), (*spatial[::-1], channels), (int(np.prod(spatial)), channels)])
    if b.chance(0.5):
        return (
            ops.reshape(x, (-1, *target))
            if -1 not in target
            else b.layer(layers.Reshape, target)(x)
        )
    return b.layer(layers.Reshape, target)(x)


@step(0.7, 2)
def to_sequence(b: _Builder, x: Any) -> Any:
    if b.chance(0.5):
        return b.layer(layers.RepeatVector, 3)(x)
    return b.layer(layers.Reshape, (x.shape[-1], 1))(x)


# Pooling.


@step(4, (3, 4, 5))
def pooling(b: _Builder, x: Any) -> Any:
    rank = len(x.shape) - 2
    kind = b.pick(["MaxPooling", "MaxPooling", "AveragePooling"])
    options = {"padding": b.pick(["valid", "same"]), "strides": b.pick([None, 1, 2])}
    return b.layer(getattr(layers, f"{kind}{rank}D"), b.pick([2, 3]), **options)(x)


@step(0.7 if hasattr(layers, "AdaptiveMaxPooling1D") else 0.0, (3, 4, 5))
def adaptive_pooling(b: _Builder, x: Any) -> Any:
    kind = b.pick(["AdaptiveMaxPooling", "AdaptiveAveragePooling"])
    return b.layer(getattr(layers, f"{kind}{len(x.shape) - 2}D"), b.pick([2, 3]))(x)


@step(1, (3, 4, 5))
def reduction(b: _Builder, x: Any) -> Any:
    axis = b.pick([1, -1, [1, 2]]) if len(x.shape) > 3 else b.pick([1, -1])
    return b.pick([ops.max, ops.mean, ops.sum, ops.min, ops.amax])(
        x, axis=axis, keepdims=b.chance(0.7)
    )


@step(0.5, 4)
def pooling_operation(b: _Builder, x: Any) -> Any:
    return b.pick([ops.max_pool, ops.average_pool])(x, 2, padding=b.pick(["valid", "same"]))


# Several tensors.


@step(4)
def residual(b: _Builder, x: Any) -> Any:
    other = b.same(x)
    kinds = [
        *(lambda x, y: b.layer(layers.Add)([x, y]),) * 3,
        lambda x, y: b.layer(layers.Average)([x, y]),
        lambda x, y: b.layer(layers.Subtract)([x, y]),
        lambda x, y: b.layer(layers.Maximum)([x, y]),
        lambda x, y: b.layer(layers.Minimum)([x, y]),
        lambda x, y: b.layer(layers.Multiply)([x, y]),
        lambda x, y: b.layer(layers.Concatenate)([x, y]),
        lambda x, y: b.layer(layers.Concatenate, axis=1)([x, y]),
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        ops.maximum,
        ops.minimum,
        lambda x, y: x / (ops.abs(y) + 1.0),
        lambda x, y: ops.concatenate([x, y], axis=-1),
    ]
    return b.pick(kinds)(*b.pick([(x, other), (other, x)]))


@step(2)
def gated(b: _Builder, x: Any) -> Any:
    gate = b.layer(layers.Activation, "sigmoid")(b.same(x))
    return b.pick([lambda x, y: x * y, lambda x, y: b.layer(layers.Multiply)([x, y])])(x, gate)


@step(2, (3, 4, 5))
def squeeze_and_excite(b: _Builder, x: Any) -> Any:
    rank, channels = len(x.shape) - 2, x.shape[-1]
    y = b.layer(getattr(layers, f"GlobalAveragePooling{rank}D"), keepdims=True)(x)
    y = b.layer(layers.Dense, 2, activation="relu")(y)
    y = b.layer(layers.Dense, channels, activation="sigmoid")(y)
    return b.layer(layers.Multiply)([x, y])


@step(1.5)
def branches(b: _Builder, x: Any) -> Any:
    parts = [b.conv(x, filters=int(b.rng.integers(1, 4)))(x) for _ in range(int(b.pick([2, 3])))]
    return b.layer(layers.Concatenate)([*parts, x])


@step(1.5)
def branch_of_another_dtype(b: _Builder, x: Any) -> Any:
    before, b.dtype = b.dtype, b.pick(["float32", "float64", "float32", "float16"])
    y = b.same(x)
    b.dtype = before
    return b.layer(b.pick([layers.Add, layers.Concatenate, layers.Maximum, layers.Multiply]))(
        [x, y]
    )


@step(0.7, (3, 4))
def broadcast(b: _Builder, x: Any) -> Any:
    small = b.pick([ops.mean, ops.max])(x, axis=1, keepdims=True)
    return b.pick([ops.add, ops.multiply, ops.maximum, ops.subtract])(x, small)


@step(1, (3, 4))
def einsum(b: _Builder, x: Any) -> Any:
    letters = "bhwc" if len(x.shape) == 4 else "bhc"
    kernel = b.constant((x.shape[-1], 3))
    return b.pick(
        [
            lambda x: ops.einsum(f"{letters},cd->{letters[:-1]}d", x, kernel),
            lambda x: ops.matmul(x, kernel),
            lambda x: ops.einsum(f"{letters}->bc{letters[1:-1]}", x),
            lambda x: ops.einsum(f"{letters},{letters}->{letters}", x, b.same(x)),
        ]
    )(x)


@step(0.5, (3, 4))
def attention(b: _Builder, x: Any) -> Any:
    if len(x.shape) == 4:
        x = b.layer(layers.Reshape, (-1, x.shape[-1]))(x)
    kinds = [
        lambda x: b.layer(layers.MultiHeadAttention, 2, 3)(x, x),
        lambda x: b.layer(layers.Attention)([x, x]),
        lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2))), x),
    ]
    return x + b.pick(kinds)(x)


# Wrappers.


@step(0.7, (3, 4, 5))
def time_distributed(b: _Builder, x: Any) -> Any:
    inner = b.conv(x[:, 0], activation="relu")
    return b.layer(layers.TimeDistributed, inner)(x)


@step(0.5, (2, 3, 4))
def spectral_normalization(b: _Builder, x: Any) -> Any:
    return b.layer(layers.SpectralNormalization, b.conv(x))(x)
