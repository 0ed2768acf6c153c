"""Class activation maps: a layer's feature maps, weighted by gradients and summed."""

from collections.abc import Mapping
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Maps
from rap_keras.analyzers.coarse import spread
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.analyzers.zero_maps import warn_of_inputs
from rap_keras.inputs.target import Target
from rap_keras.network.feature_maps import read_layer
from rap_keras.network.receptive_fields import Axes, centres
from rap_keras.propagate import relevance_dtype
from rap_keras.propagation import started, values_of
from rap_keras.support.options import choose, read_boolean

ALIGNMENTS = ("image", "receptive_field")


class _CAMAnalyzer(PropagationAnalyzer):
    """A map of one layer, `(batch, rows, columns)`, resized to the image and divided among the channels.

    Images may also be series, volumes or videos. Inputs that the layer does not look at get zeros.

    Args:
        model: See `Analyzer`; with an input of images, channels last, of series `(steps, channels)`,
            of volumes or videos `(planes, rows, columns, channels)`, or of embedded tokens.
        layer: The name of the layer whose feature maps are weighted, as `rules()` lists it. Its output
            has the axes of the input, such as (rows, columns, channels). "layer:0" is the first call of
            a layer that is called several times. The name of a `TimeDistributed` layer or of a nested
            model is that of its last feature maps. None: the last layer that keeps the axes of the
            image, has more than one position, and lies on every path from the image to the output.
        relu: Cut the map at 0, so that it shows only evidence for the class.
        align: How the map is resized. "image": stretched over the image, as is usual.
            "receptive_field": each cell is put at the centre of its receptive field, which strides and
            padding shift.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
    """

    _has_layers = False
    _from_logit = False
    _signed = True  # whether its weights have both signs

    def __init__(
        self,
        model: keras.Model,
        layer: str | None = None,
        relu: bool = True,
        align: str = "image",
        **options: Any,
    ) -> None:
        self.relu = read_boolean("relu", relu)
        if not self._signed:
            self._one_sided = 'use "hires_cam", or "grad_cam" with relu=False,'
        elif self.relu:
            self._one_sided = "pass relu=False"
        choose("align", align, ALIGNMENTS)
        self.align = align
        super().__init__(model, **options)
        self._layer = read_layer(self._graph, layer, self.name)
        self.layer = layer
        if align != "image":
            for image in self._layer.images:  # raises an error if the centres are unknown
                self._centres(image, {})

    def _use_graph(self) -> None:
        super()._use_graph()
        if hasattr(self, "_layer"):
            self._layer = self._layer.found_in(self._graph)

    def _check_call(self, x: Any) -> None:
        named = zip(self._graph.inputs, self._graph.input_names, strict=True)
        left = [name for slot, name in named if slot not in self._layer.images]
        warn_of_inputs(self.name, left, f"whose positions layer {self._layer.name!r} does not keep")

    def _centres(self, image: int, values: Mapping[int, ops.Tensor]) -> Axes:
        """The centres of receptive fields; `values` give the sizes that are not fixed in the model."""

        def size_of(slot: int) -> list[Any]:
            size = self._graph.shapes[slot][1:-1]
            if None not in size or slot not in values:
                return [n or 1 for n in size]
            return [ops.shape(values[slot])[k] for k in range(1, 1 + len(size))]

        return centres(self._graph, self._layer.slots[0], size_of, image)

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        logits, records = self._propagation.forward(inputs)
        values = dict(zip(self._graph.inputs, inputs, strict=True)) | values_of(records)
        features = self._layer.values(values)
        dtype = relevance_dtype(features.dtype)
        features = ops.cast(features, dtype)

        start = started(logits, target, self._start(target))
        gradients, _ = self._propagation.backward(records, inputs, start)
        zeros = {slot: ops.zeros_like(values[slot]) for slot in self._layer.slots}
        gradient = ops.cast(self._layer.values(zeros | dict(gradients)), dtype)
        summed = ops.sum(self._weights(features, gradient) * features, -1)
        kept = ops.relu(summed) if self.relu else summed
        maps = []
        for slot, x in zip(self._graph.inputs, inputs, strict=True):
            own = relevance_dtype(x.dtype)
            if slot in self._layer.images:
                placed = None if self.align == "image" else self._centres(slot, values)
                maps.append(spread(kept, x, own, placed))
            else:
                maps.append(ops.zeros_like(x, dtype=own))
        return maps, logits

    def _weights(self, features: ops.Tensor, gradient: ops.Tensor) -> ops.Tensor:
        """The weight of each map, or of each feature at each position."""
        raise NotImplementedError


def _places(features: ops.Tensor) -> tuple[int, ...]:
    """The axes of positions, such as height and width."""
    return tuple(range(1, len(features.shape) - 1))


class GradCAMAnalyzer(_CAMAnalyzer):
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): the weight of a map is its mean gradient.

    Options (docs/baselines.md): `layer`, whose feature maps are weighted; `align`, "image" or
    "receptive_field", how the map is placed; `relu`, True as in the paper, cuts negative relevance.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("grad_cam", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def _weights(self, features: ops.Tensor, gradient: ops.Tensor) -> ops.Tensor:
        return ops.mean(gradient, _places(gradient), keepdims=True)


class GradCAMPlusPlusAnalyzer(_CAMAnalyzer):
    """Grad-CAM++ (Chattopadhay et al., WACV 2018, eq. 5 and 19), of the score exp(logit).

    With the gradient g of the logit, the weight of a map is the sum of a relu(g) over its positions,
    where a = g^2 / (2 g^2 + g^3 sum(map)) = 1 / (2 + g sum(map)). The paper's factor exp(logit), the
    same for all positions, is left out because it overflows.

    Options (docs/baselines.md): `layer`, whose feature maps are weighted; `align`, "image" or
    "receptive_field", how the map is placed; `relu`, True as in the paper, cuts negative relevance.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("grad_cam_plus_plus", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    _signed = False

    def _weights(self, features: ops.Tensor, gradient: ops.Tensor) -> ops.Tensor:
        total = ops.sum(features, _places(features), keepdims=True)
        alpha = ops.divide_no_nan(ops.ones_like(gradient), 2 + gradient * total)
        return ops.sum(alpha * ops.relu(gradient), _places(features), keepdims=True)


class HiResCAMAnalyzer(_CAMAnalyzer):
    """HiResCAM (Draelos and Carin, 2020, arXiv 2011.08891): each gradient is a weight at its position.

    If only one linear layer follows the layer, the map sums to the logit minus the bias.

    Options (docs/baselines.md): `layer`, whose feature maps are weighted; `align`, "image" or
    "receptive_field", how the map is placed; `relu`, False as in the paper, cuts negative relevance.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("hires_cam", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self, model: keras.Model, layer: str | None = None, relu: bool = False, **options: Any
    ) -> None:
        super().__init__(model, layer, relu, **options)

    def _weights(self, features: ops.Tensor, gradient: ops.Tensor) -> ops.Tensor:
        return gradient


class LayerCAMAnalyzer(_CAMAnalyzer):
    """LayerCAM (Jiang et al., IEEE TIP 2021, eq. 6 to 8): a position's weight is its positive gradient.

    Options (docs/baselines.md): `layer`, whose feature maps are weighted; `align`, "image" or
    "receptive_field", how the map is placed; `relu`, True as in the paper, cuts negative relevance.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("layer_cam", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    _signed = False

    def _weights(self, features: ops.Tensor, gradient: ops.Tensor) -> ops.Tensor:
        return ops.relu(gradient)
