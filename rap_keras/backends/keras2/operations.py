"""Layers of Keras 2 that compute the same as bare operations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.layers as klayers
import tensorflow.keras.utils as kutils


def layer_of(
    kind: str,
    operands: Sequence[Any],
    name: str,
    attributes: Any = None,
    shape: Sequence[int | None] = (),
) -> tuple[Any, list[Any]] | None:
    """A layer, with its weights, that computes the same as an operation, and the tensors that it takes.

    None if there is no such layer. `kind` is the operation's type in TensorFlow, which has attributes,
    or in `keras.ops`; `operands` are its tensors and constants, in order.
    """
    symbolic = [is_symbolic(operand) for operand in operands]
    tensors = [t for t in operands if is_symbolic(t)]
    if not tensors:
        return None
    options = {"name": name, "dtype": tensors[0].dtype.name}
    layer = None
    if kind in RESHAPES:
        layer = _reshape(tensors[0], shape, options) if symbolic[0] else None
        tensors = tensors[:1]
    elif kind in _MERGES and all(symbolic):
        same = len({t.shape.rank for t in tensors}) == 1
        layer = _MERGES[kind](**options) if same and len(tensors) > 1 else None
    elif kind in _UNARY and len(operands) == 1:
        layer = _UNARY[kind](**options)
    elif kind in _AFFINE and sorted(symbolic) == [False, True]:
        layer = _affine(kind, operands, options)
    elif kind in _OF_ONE and attributes and symbolic == [True, *[False] * (len(operands) - 1)]:
        layer = _OF_ONE[kind](tensors[0], operands[1:], options, attributes)
    elif kind in _OF_SEVERAL and attributes and symbolic[0]:
        layer = _OF_SEVERAL[kind](operands, options, attributes)
    return (layer, tensors) if layer else None


@kutils.register_keras_serializable("rap_keras")
class Einsum(klayers.Layer):
    """`tf.einsum` of two tensors."""

    def __init__(self, equation: str, **options: Any) -> None:
        super().__init__(**options)
        self.equation = equation

    def call(self, tensors: Any) -> Any:
        """The products."""
        return tf.einsum(self.equation, *tensors)

    def get_config(self) -> dict[str, Any]:
        """The options that recreate the layer."""
        return super().get_config() | {"equation": self.equation}


@kutils.register_keras_serializable("rap_keras")
class GetItem(klayers.Layer):
    """`tf.strided_slice`, which indices and slices in brackets become."""

    def __init__(self, bounds: Sequence[Any], masks: dict[str, int], **options: Any) -> None:
        super().__init__(**options)
        self.bounds, self.masks = bounds, masks

    def call(self, x: Any) -> Any:
        """The part."""
        return tf.strided_slice(x, *self.bounds, **self.masks)

    def get_config(self) -> dict[str, Any]:
        """The options that recreate the layer."""
        bounds = [list(each) for each in self.bounds]
        return super().get_config() | {"bounds": bounds, "masks": dict(self.masks)}


@kutils.register_keras_serializable("rap_keras")
def erf(x: tf.Tensor) -> tf.Tensor:
    """The error function, as an activation that can be saved by name."""
    return tf.math.erf(x)


@kutils.register_keras_serializable("rap_keras")
def erfc(x: tf.Tensor) -> tf.Tensor:
    """1 - erf(x), as an activation that can be saved by name."""
    return tf.math.erfc(x)


def is_symbolic(value: Any) -> bool:
    """Whether a value is a tensor of a model and not a constant."""
    return hasattr(value, "_keras_history")


# TensorFlow's operations of these types take the new shape as a second tensor.
RESHAPES = {"Reshape", "ExpandDims", "Squeeze"}
_MERGES = {
    **dict.fromkeys(("Add", "AddV2", "AddN"), klayers.Add),
    **dict.fromkeys(("Subtract", "Sub"), klayers.Subtract),
    **dict.fromkeys(("Multiply", "Mul"), klayers.Multiply),
    "Maximum": klayers.Maximum,
    "Minimum": klayers.Minimum,
}


def _activation(function: Any) -> Callable[..., Any]:
    return lambda **options: klayers.Activation(function, **options)


_UNARY = {
    "Relu": klayers.ReLU,
    "Relu6": lambda **options: klayers.ReLU(6.0, **options),
    **dict.fromkeys(("Negative", "Neg"), lambda **options: klayers.Rescaling(-1.0, **options)),
    **{kind: _activation(kind.lower()) for kind in ("Sigmoid", "Tanh", "Softmax", "Elu", "Selu")},
    **{kind: _activation(kind.lower()) for kind in ("Softplus", "Softsign")},
    "Erf": _activation(erf),
    "Erfc": _activation(erfc),
}
# A constant c and whether it comes first => scale and offset, or None where it is not affine.
_AFFINE: dict[str, Callable[[Any, bool], tuple[Any, Any] | None]] = {
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), lambda c, first: (1.0, c)),
    **dict.fromkeys(("Multiply", "Mul"), lambda c, first: (c, 0.0)),
    **dict.fromkeys(("Subtract", "Sub"), lambda c, first: (-1.0, c) if first else (1.0, -c)),
    **dict.fromkeys(
        ("Divide", "TrueDivide", "RealDiv"), lambda c, first: None if first else (1.0 / c, 0.0)
    ),
}


def _affine(kind: str, operands: Sequence[Any], options: Any) -> Any:
    first = not is_symbolic(operands[0])
    constant, tensor = operands if first else reversed(operands)
    if tf.is_tensor(constant):  # depends on the number of samples
        return None
    constant = np.asarray(constant)
    # At most one number for each element of a sample, so that the shape stays.
    sizes = zip(constant.shape[::-1], tensor.shape[::-1], strict=False)
    if constant.ndim > tensor.shape.rank or any(n not in (1, size) for n, size in sizes):
        return None
    terms = _AFFINE[kind](constant, first)
    if terms is None:
        return None
    return klayers.Rescaling(*(np.asarray(c).tolist() for c in terms), **options)


def _reshape(tensor: Any, shape: Sequence[int | None], options: Any) -> Any:
    """A reshape that keeps the elements of each sample together."""
    before, after = (tf.TensorShape(s[1:]).num_elements() for s in (tensor.shape, shape))
    if not len(shape) or shape[0] is not None or after is None or before != after:
        return None
    return klayers.Reshape(tuple(shape[1:]), **options)


def _transpose(x: Any, constants: Sequence[Any], options: Any, attributes: Any) -> Any:
    first, *axes = (int(axis) for axis in constants[0])
    return None if first else klayers.Permute(tuple(axes), **options)


def _pooling(kind: str) -> Callable[..., Any]:
    def make(x: Any, constants: Sequence[Any], options: Any, attributes: Any) -> Any:
        rank = x.shape.rank
        axes = sorted(int(axis) % rank for axis in np.ravel(constants[0]))
        if rank not in (3, 4, 5) or axes != list(range(1, rank - 1)):
            return None
        layer = getattr(klayers, f"Global{kind}Pooling{rank - 2}D")
        return layer("channels_last", keepdims=attributes["keep_dims"].b, **options)

    return make


def _padding(x: Any, constants: Sequence[Any], options: Any, attributes: Any) -> Any:
    (first, *pads, last), *values = constants
    if np.any([*first, *last, *values]) or len(pads) not in (1, 2, 3):
        return None
    pairs: Any = tuple(tuple(int(n) for n in pair) for pair in pads)
    if len(pairs) == 1:
        return klayers.ZeroPadding1D(pairs[0], **options)
    layer = klayers.ZeroPadding2D if len(pairs) == 2 else klayers.ZeroPadding3D
    return layer(pairs, "channels_last", **options)


def _get_item(x: Any, constants: Sequence[Any], options: Any, attributes: Any) -> Any:
    masks = {key: attributes[key].i for key in _SLICE_MASKS}
    bounds = [[int(n) for n in each] for each in constants]
    # The batch axis must not change.
    elided = masks["ellipsis_mask"] & 1 and len(bounds[0]) <= x.shape.rank
    whole = masks["begin_mask"] & masks["end_mask"] & 1 and bounds[2][0] == 1
    if not (elided or whole) or (masks["new_axis_mask"] | masks["shrink_axis_mask"]) & 1:
        return None
    return GetItem(bounds, masks, **options)


_SLICE_MASKS = [f"{name}_mask" for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")]


def _concatenate(operands: Sequence[Any], options: Any, attributes: Any) -> Any:
    *tensors, axis = operands
    if not all(map(is_symbolic, tensors)) or int(axis) % tensors[0].shape.rank == 0:
        return None
    return klayers.Concatenate(int(axis), **options)


def _product(operands: Sequence[Any], options: Any, attributes: Any) -> Any:
    """A matrix of weights after one tensor, or two tensors."""
    x, other = operands
    keys = ("transpose_a", "transpose_b") if "transpose_a" in attributes else ("adj_x", "adj_y")
    first, second = (attributes[key].b for key in keys)
    if is_symbolic(other):
        if x.shape.rank != other.shape.rank or x.shape.rank == 2:  # then it mixes the samples
            return None
        left, right = "ji" if first else "ij", "kj" if second else "jk"
        return Einsum(f"...{left},...{right}->...ik", **options)
    if first or np.ndim(other) != 2:
        return None
    kernel = other.T if second else other
    layer = klayers.Dense(kernel.shape[1], use_bias=False, **options)
    layer.build(x.shape)
    layer.set_weights([kernel])
    return layer


def _einsum(operands: Sequence[Any], options: Any, attributes: Any) -> Any:
    equation = attributes["equation"].s.decode()
    *taken, made = equation.replace("->", ",").split(",")
    # Samples must not be mixed.
    if sum(map(is_symbolic, operands)) != 2 or any(term[:1] != made[:1] for term in taken):
        return None
    return Einsum(equation, **options)


# Operations of one tensor, followed by constants.
_OF_ONE: dict[str, Callable[..., Any]] = {
    "LeakyRelu": lambda x, constants, options, a: klayers.LeakyReLU(a["alpha"].f, **options),
    "StridedSlice": _get_item,
    "Transpose": _transpose,
    "Mean": _pooling("Average"),
    "Max": _pooling("Max"),
    **dict.fromkeys(("Pad", "PadV2"), _padding),
}
_OF_SEVERAL: dict[str, Callable[..., Any]] = {
    "ConcatV2": _concatenate,
    "Einsum": _einsum,
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _product),
}
# The operations of `keras.ops` that can become layers.
OF_KERAS = RESHAPES | _MERGES.keys() | _UNARY.keys() | _AFFINE.keys()
