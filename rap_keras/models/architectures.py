"""The architectures of the bundled models, with random weights."""

from typing import Any

import keras
from keras import layers

from rap_keras.datasets.drawing import SIZE
from rap_keras.errors import InputError
from rap_keras.network.bundled_layers import ClassToken, LayerScale, PositionEmbedding

CLASSES = 10


def build_vgg(normalised: bool = False) -> keras.Model:
    """Builds a plain stack of convolutions and poolings with dense layers at the end.

    For training, batch normalisation can follow each convolution except the first, where it would be
    most expensive.
    """
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = inputs
    for block, filters in enumerate([(16,), (32,), (48, 48), (64, 64)], start=1):
        for k, width in enumerate(filters, start=1):
            name = f"block{block}_conv{k}"
            if normalised and x is not inputs:
                x = layers.Conv2D(width, 3, padding="same", name=name)(x)
                x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
            else:
                x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="fc1")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name="cluttered_digits_vgg")


def build_residual() -> keras.Model:
    """Builds residual blocks with batch normalisation and global average pooling."""
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.ReLU(name="stem_relu")(_conv(inputs, "stem", 16, 3, stride=2))
    for block, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
        name = f"block{block}"
        # A block that changes the shape needs a projection in its skip connection.
        skip = x if stride == 1 else _conv(x, f"{name}_skip", width, 1, stride)
        x = layers.ReLU(name=f"{name}_relu1")(_conv(x, f"{name}_1", width, 3, stride))
        x = layers.Add(name=f"{name}_add")([_conv(x, f"{name}_2", width, 3), skip])
        x = layers.ReLU(name=f"{name}_relu2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(
        inputs, layers.Dense(CLASSES, name="logits")(x), name="cluttered_digits_residual"
    )


def _conv(x: Any, name: str, width: int, size: int, stride: int = 1, number: str = "") -> Any:
    """A convolution without a bias, and its batch normalisation."""
    x = layers.Conv2D(
        width, size, strides=stride, padding="same", use_bias=False, name=f"{name}_conv{number}"
    )(x)
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn{number}")(x)


def build_vit() -> keras.Model:
    """Builds a vision transformer with 64 patches of 8 x 8 pixels and a class token.

    It has four blocks as in Dosovitskiy et al. 2021 (arXiv 2010.11929), with normalization first. Three
    convolutions of stride 2 embed the patches, because small transformers then train better (Xiao et
    al. 2021, arXiv 2106.14881).
    """
    if not keras.__version__.startswith("3"):
        raise InputError(
            f"Expected Keras 3 to build the vision transformer, got Keras {keras.__version__}: "
            "install Keras 3 or load another model."
        )
    width, heads, blocks = 96, 4, 4
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = inputs
    for k, filters in enumerate([32, 64], start=1):
        x = layers.ReLU(name=f"stem{k}_relu")(_conv(x, f"stem{k}", filters, 3, stride=2))
    x = layers.Conv2D(width, 2, strides=2, name="patches")(x)
    x = layers.Reshape((-1, width), name="tokens")(x)
    x = ClassToken(name="class_token")(x)
    x = PositionEmbedding(name="positions")(x)
    for block in range(1, blocks + 1):
        name = f"block{block}"
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
        y = layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")(y, y)
        x = layers.Add(name=f"{name}_add1")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
        x = layers.Add(name=f"{name}_add2")([x, _mlp(y, name, 3 * width)])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    outputs = layers.Dense(CLASSES, name="logits")(x[:, 0])
    return keras.Model(inputs, outputs, name="cluttered_digits_vit")


def _mlp(x: Any, name: str, hidden: int) -> Any:
    y = layers.Dense(hidden, activation="gelu", name=f"{name}_mlp1")(x)
    return layers.Dense(x.shape[-1], name=f"{name}_mlp2")(y)


def build_convnext() -> keras.Model:
    """Builds a small ConvNeXt (Liu et al. 2022, arXiv 2201.03545) with two stages."""
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = inputs
    for stage, (width, size, blocks) in enumerate([(48, 4, 3), (96, 2, 4)], start=1):
        if stage > 1:
            x = layers.LayerNormalization(epsilon=1e-6, name=f"stage{stage}_norm")(x)
        x = layers.Conv2D(width, size, strides=size, name=f"stage{stage}_conv")(x)
        if stage == 1:
            x = layers.LayerNormalization(epsilon=1e-6, name="stage1_norm")(x)
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(x)
            y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(y)
            y = LayerScale(name=f"{name}_scale")(_mlp(y, name, 4 * width))
            x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    outputs = layers.Dense(CLASSES, name="logits")(x)
    return keras.Model(inputs, outputs, name="cluttered_digits_convnext")


def build_segmentation() -> keras.Model:
    """Builds a small U-Net (Ronneberger et al. 2015, arXiv 1505.04597), which classifies each pixel."""

    def double_conv(x: Any, name: str, width: int) -> Any:
        for k in (1, 2):
            x = layers.ReLU(name=f"{name}_relu{k}")(_conv(x, name, width, 3, number=f"{k}"))
        return x

    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x, skips, widths = inputs, [], (12, 24, 48)
    for level, width in enumerate(widths, start=1):
        x = double_conv(x, f"down{level}", width)
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
    x = double_conv(x, "middle", 72)
    for level, width in reversed(list(enumerate(widths, start=1))):
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"up{level}_transpose")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level - 1], x])
        x = double_conv(x, f"up{level}", width)
    outputs = layers.Conv2D(1 + CLASSES, 1, name="logits")(x)
    return keras.Model(inputs, outputs, name="cluttered_digits_segmentation")
