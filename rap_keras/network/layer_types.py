"""Properties of Keras' layer and operation types, by class name.

The names are the same in Keras 2 and 3. Most `keras.ops` operations have the name of the layer that
computes the same, so one table of names serves both backends.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from rap_keras.network.operations import KernelOperation

Entry = TypeVar("Entry")


def _numbered(name: str, ranks: Iterable[int] = (1, 2, 3)) -> set[str]:
    return {f"{name}{rank}D" for rank in ranks}


# Each of these has a record in `rap_keras.network.kernels`.
CONVOLUTION = _numbered("Conv")
DEPTHWISE = _numbered("DepthwiseConv", (1, 2))
SEPARABLE = _numbered("SeparableConv", (1, 2))
TRANSPOSED = {f"Conv{rank}DTranspose" for rank in (1, 2, 3)}
# Layers that are a linear map of their input plus bias and, perhaps, a fused activation.
KERNEL: set[str | type] = (
    CONVOLUTION | DEPTHWISE | SEPARABLE | TRANSPOSED | {"Dense", "EinsumDense"} | {KernelOperation}
)
# Matrix products: of a tensor and weights (a kernel layer), or of two tensors (linear in each).
CONTRACTION = {"Matmul", "Dot", "Einsum", "Tensordot"}
WEIGHTED = CONTRACTION | {"Conv", "DepthwiseConv", "ConvTranspose"}

# Element by element, one input: relevance is passed on unchanged.
ACTIVATION = {
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU", "Softmax"),
    # keras.ops
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "Swish", "Celu"),
    *("Sigmoid", "HardSigmoid", "HardSilu", "HardSwish", "HardTanh", "LogSigmoid", "LogSoftmax"),
    *("Tanh", "TanhShrink", "SoftShrink", "HardShrink", "Softplus", "Softsign", "Threshold"),
    *("Squareplus", "SparsePlus", "Clip", "Abs", "Absolute", "Exp", "Log", "Sqrt", "Square"),
    *("Rsqrt", "Reciprocal", "Power", "Erf", "Log1p", "Expm1", "Sin", "Cos", "Sign"),
}
# The identity at inference, or a fixed affine map of each element.
ELEMENTWISE = {
    *("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
    *_numbered("SpatialDropout"),
    *("Identity", "InputLayer", "Rescaling", "Normalization", "Cast", "StochasticDepth"),
    *("Negative", "StopGradient", "Copy", "Array", "ConvertToTensor"),
    # keras.ops, with statistics that are constants of the sample
    *("LayerNorm", "RMSNorm", "Normalize", "BatchNorm"),
    # Augmentation, which does nothing at inference; RandomCrop if the image has its size.
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomShear"),
    *("RandomPerspective", "RandomElasticTransform", "RandomCrop", "RandomErasing"),
    *("RandomContrast", "RandomBrightness", "RandomHue", "RandomSaturation", "RandomSharpness"),
    *("RandomColorJitter", "RandomColorDegeneration", "RandomGrayscale", "RandomInvert"),
    *("RandomPosterization", "RandomGaussianBlur", "Solarization", "MixUp", "CutMix"),
    *("RandAugment", "AugMix", "MaxNumBoundingBoxes"),
}
# Changes each pixel by a curve that depends on the sample's values.
TONE = {"AutoContrast", "Equalization", "ContrastLimitedAdaptiveHistogramEqualization"}
BATCH_NORMALIZATION = {"BatchNormalization"}
# Normalizes by the sample's own statistics, which are constants of the sample.
NORMALIZATION = {
    *("LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization")
}
# Operations of such statistics, if a model computes them itself.
STATISTICS = {"Mean", "Var", "Std", "Moments", "Norm", "Sum"}
# Every output element is an input element or zero: relevance goes to the source of the value.
ROUTING = {
    *("Flatten", "Reshape", "Permute", "RepeatVector", "Masking", "CenterCrop"),
    *_numbered("Cropping"),
    *_numbered("ZeroPadding"),
    # keras.ops
    *("Transpose", "Squeeze", "ExpandDims", "Moveaxis", "Swapaxes", "Ravel", "Pad", "GetItem"),
    *("Split", "Stack", "Take", "Flip", "Roll", "Repeat", "Tile", "BroadcastTo", "Slice"),
    *("Unstack", "Rot90", "Rearrange", "DepthToSpace", "SpaceToDepth"),
}
# Those of them that add zeros or other constants.
PADDING = _numbered("ZeroPadding") | {"Pad"}
CONCATENATION = {"Concatenate"}
# Each output element comes from one of the inputs, by a condition.
SELECTION = {"Where", "Select"}
# Those that may join a constant with tensors.
JOINS = CONCATENATION | SELECTION | {"Stack"}
MAX_POOLING = _numbered("MaxPooling") | {"MaxPool"}
# The largest (or smallest) element gets all relevance.
WINNER = MAX_POOLING | {
    *_numbered("GlobalMaxPooling"),
    *_numbered("AdaptiveMaxPooling"),
    *("AdaptiveMaxPool", "Max", "Min", "Amax", "Amin", "Maximum", "Minimum"),
}
# The same map at another size.
RESAMPLING = {*_numbered("UpSampling"), "Resizing", "Resize"}
# Outputs are weighted sums of one input, with fixed non-negative weights.
AVERAGING = RESAMPLING | {
    *_numbered("AveragePooling"),
    *_numbered("GlobalAveragePooling"),
    *_numbered("AdaptiveAveragePooling"),
    *("AdaptiveAveragePool", "AveragePool", "Mean", "Sum"),
}
# Layers that Keras computes differently if the size is unknown: a smaller image is then cut to nothing
# instead of being resized.
SIZED = {"CenterCrop", "RandomCrop"}
# Weighted or plain sums of several inputs; with one tensor and a constant, a bias.
ADDITION = {"Add", "Average", "Subtract"}
SCALED_ADDITION = {"CustomScaleLayer"}  # x + scale y, in keras.applications' InceptionResNetV2
MULTIPLICATION = {"Multiply"}
DIVISION = {"Divide", "TrueDivide"}
EMBEDDING = {"Embedding"}

# A layer of another type is opened.
KNOWN = (
    KERNEL
    | ACTIVATION
    | ELEMENTWISE
    | BATCH_NORMALIZATION
    | NORMALIZATION
    | TONE
    | ROUTING
    | CONCATENATION
    | SELECTION
    | WINNER
    | AVERAGING
    | ADDITION
    | SCALED_ADDITION
    | MULTIPLICATION
    | EMBEDDING
)

# The names of all types that have rules.
NAMED = KNOWN | CONTRACTION | DIVISION

# Types that keep the order of values, or reverse it, channel by channel, so that a box pushed through
# them still bounds the values.
MONOTONE = (
    ELEMENTWISE
    | BATCH_NORMALIZATION
    | ROUTING
    | CONCATENATION
    | WINNER
    | AVERAGING
    | {"Relu", "ReLU", "Relu6", "Clip", "Sigmoid", "Tanh"}
)
# Types whose outputs are non-negative if all inputs are.
KEEPS_SIGN = (
    ROUTING
    | CONCATENATION
    | SELECTION
    | WINNER
    | AVERAGING
    | {"Dropout", "AlphaDropout", "Identity", "ActivityRegularization", "StochasticDepth", "Cast"}
    | _numbered("SpatialDropout")
    | {"Add", "Average", "Multiply", "Sqrt"}
) - {
    "Pad",
    "AlphaDropout",
    "UpSampling2D",
    "Resizing",
    "Resize",
}  # padding and bicubic weights may be < 0
NONNEGATIVE_ACTIVATIONS = {
    *("relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "softmax", "exponential", "exp"),
    *("squareplus", "sparse_plus", "abs", "absolute", "square"),
}
# Activations that turn logits into probabilities.
HEADS = ("softmax", "log_softmax", "sigmoid")
RELUS = ("relu", "relu6")
BOUNDED_ACTIVATIONS = {"sigmoid", "hard_sigmoid", "softmax", "relu6"}


_LIBRARIES = ("keras", "tf_keras", "tensorflow")


def is_library_class(cls: type) -> bool:
    """Whether Keras or this package defines the class; only then its name shows what it computes."""
    return cls.__module__.partition(".")[0] in ("keras", "tf_keras", "rap_keras")


def lookup(layer: Any, table: Mapping[Any, Entry]) -> Entry | None:
    """The entry of a layer or operation in a table keyed by class, or by the name of a Keras class.

    The class and its bases are tried in order. A class that defines its `call` (or a method that Keras'
    `call` uses) and is not in the table ends the search, because it does not compute what its bases do.
    """
    for cls in type(layer).__mro__:
        if cls in table:
            return table[cls]
        if is_library_class(cls) and cls.__name__ in table:
            return table[cls.__name__]
        if _COMPUTES & vars(cls).keys():
            return None
    return None


# A subclass that overrides one of these computes something other than its base.
_COMPUTES = {"call", "__call__", "convolution_op", "_merge_function", "transform_images"}


def is_layer(layer: Any) -> bool:
    """Whether this is a layer, and not a `keras.ops` operation."""
    return any(cls.__name__ == "Layer" for cls in type(layer).__mro__)


def is_a(layer: Any, names: Iterable[Any]) -> bool:
    """Whether a layer computes the same as one of the named Keras types."""
    return lookup(layer, dict.fromkeys(names, True)) is not None


def head_of(layer: Any) -> str | None:
    """The head that a layer is: "softmax" (or its logarithm), "sigmoid", or None."""
    name = activation_name(layer)
    return name.removeprefix("log_") if name in HEADS else None


def activation_name(layer: Any) -> str | None:
    """The name of the activation that ends a layer, or None if there is none.

    A fused activation (`Dense(..., activation="relu")`), an activation layer and an activation
    operation have the same name: "relu", "softmax", ... "linear" counts as none. A function that Keras
    does not define is "custom".
    """
    if is_a(layer, {"ReLU"}):
        slope = getattr(layer, "negative_slope", 0.0)
        threshold = getattr(layer, "threshold", 0.0)
        if slope or threshold < 0:
            return "leaky_relu"
        return "relu6" if layer.max_value is not None else "relu"
    if is_a(layer, {"Softmax"}):
        return "softmax"
    function = getattr(layer, "activation", None)
    if function is not None and is_a(layer, KERNEL | {"Activation"}):
        if hasattr(function, "call"):  # a layer as activation
            return activation_name(function)
        name = getattr(function, "__name__", "custom").removesuffix("_v2")
        if getattr(function, "__module__", "").partition(".")[0] not in _LIBRARIES:
            return "custom"
        return None if name == "linear" else name
    if is_a(layer, ACTIVATION):
        return "".join(
            "_" * (c.isupper() and i > 0) + c.lower() for i, c in enumerate(type(layer).__name__)
        )
    return None
