"""Class activation maps: a layer's feature maps, weighted by gradients and summed."""

from typing import Any

import keras
import tensorflow as tf

from rap_keras.analyzers.coarse import read_image_shape, spread
from rap_keras.analyzers.conservation import ConservationReport
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.gradient import gradient_composite
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import is_a
from rap_keras.propagate import relevance_dtype
from rap_keras.support.options import read_boolean
from rap_keras.support.text import did_you_mean

PLACES = (1, 2)  # the axes of height and width


class _CAMAnalyzer(PropagationAnalyzer):
    """A map of one layer, `(batch, rows, columns)`, resized to the image and divided among the channels.

    Args:
        model: See `Analyzer`; one input of images, channels last.
        layer: The name of the layer whose feature maps are weighted, as `rules()` lists it; its output
            is (rows, columns, channels). None: the last that is made of the image by layers that keep
            its axes, of more than one place, before the output.
        relu: Cut the map at 0, so that it shows only what speaks for the class.
        **options: Those of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
    """

    def __init__(
        self, model: keras.Model, layer: str | None = None, relu: bool = True, **options: Any
    ) -> None:
        self.relu = read_boolean("relu", relu)
        super().__init__(model, gradient_composite(), **options)
        read_image_shape(self._graph, self.name)
        self._node = self._find_layer(layer)
        self.layer = layer

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return super().options() | {"layer": self.layer, "relu": self.relu}

    def analyze_layers(self, x: Any, neuron_selection: Any = None) -> dict[str, Any]:
        """Not of this method."""
        raise self._no_layers()

    def conservation(self, x: Any, neuron_selection: Any = None) -> ConservationReport:
        """Not of this method."""
        raise self._no_layers()

    def _find_layer(self, name: str | None) -> Node:
        if name is None:
            found = _last_spatial(self._graph)
            if found is None:
                raise InputError(
                    f"Expected a model with a layer of feature maps for {self.name!r}, got one without, "
                    'or with one place only: tell a layer of output (rows, columns, channels), layer="'
                    '...", or use another method.',
                    "layer",
                )
            return found
        nodes = {node.name: node for node in self._graph.nodes}
        if name not in nodes:
            hint = did_you_mean(str(name), nodes) or "rules() lists them."
            raise InputError(
                f"Expected layer to be one of the model, got {name!r}: {hint}", "layer"
            )
        shapes = [self._graph.shapes[slot] for slot in nodes[name].outputs]
        first = getattr(nodes[name].layer, "data_format", None) == "channels_first"
        if len(shapes) != 1 or len(shapes[0]) != 4 or first:
            raise InputError(
                f"Expected a layer with one output of shape (batch, rows, columns, channels), got "
                f"{name!r} with {shapes}{', channels first' if first else ''}: tell another layer.",
                "layer",
            )
        return nodes[name]

    def _maps(self, inputs: list[tf.Tensor], index: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        logits, records, back = self._recorded(inputs)
        (slot,) = self._node.outputs
        (features,) = next(r.outputs for r in records if r.node is self._node)
        dtype = relevance_dtype(features.dtype)
        features = tf.cast(features, dtype)

        def mapped(neurons: tf.Tensor) -> tf.Tensor:
            gradients, _ = back(neurons)
            gradient = gradients.get(slot)
            gradient = tf.zeros_like(features) if gradient is None else tf.cast(gradient, dtype)
            summed = tf.reduce_sum(self._weights(features, gradient) * features, -1)
            kept = tf.nn.relu(summed) if self.relu else summed
            return spread(kept, inputs[0], relevance_dtype(inputs[0].dtype))

        if index.dtype.is_bool or index.shape.rank == 1:
            return [mapped(index)], logits
        return [tf.stack([mapped(neuron) for neuron in tf.unstack(index, axis=1)], 1)], logits

    def _start(self, logits: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
        return selected

    def _weights(self, features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """The weight of each feature at each place, or of each map, of the gradient of the logit."""
        raise NotImplementedError


class GradCAMAnalyzer(_CAMAnalyzer):
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): the weight of a map is its mean gradient.

    See `_CAMAnalyzer` for the options: `layer`, and `relu`, True in the paper.
    """

    def _weights(self, features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(gradient, PLACES, keepdims=True)


class GradCAMPlusPlusAnalyzer(_CAMAnalyzer):
    """Grad-CAM++ (Chattopadhay et al., WACV 2018, eq. 5 and 19), of the score exp(logit).

    With the gradient g of the logit the weight of a map is the sum of a relu(g) over its places, where
    a = g^2 / (2 g^2 + g^3 sum(map)) = 1 / (2 + g sum(map)). The paper's factor exp(logit), the same for
    all places, is left out, for it overflows. Options: `layer`, and `relu`, True in the paper.
    """

    def _weights(self, features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(features, PLACES, keepdims=True)
        alpha = tf.math.divide_no_nan(tf.ones_like(gradient), 2 + gradient * total)
        return tf.reduce_sum(alpha * tf.nn.relu(gradient), PLACES, keepdims=True)


class HiResCAMAnalyzer(_CAMAnalyzer):
    """HiResCAM (Draelos and Carin, 2020, arXiv 2011.08891): the gradient of each place is its weight.

    Of a layer that only one linear layer follows, the map sums to the logit without the bias. Options:
    `layer`, and `relu`, False in the paper's equation.
    """

    def __init__(
        self, model: keras.Model, layer: str | None = None, relu: bool = False, **options: Any
    ) -> None:
        super().__init__(model, layer, relu, **options)

    def _weights(self, features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return gradient


class LayerCAMAnalyzer(_CAMAnalyzer):
    """LayerCAM (Jiang et al., IEEE TIP 2021, eq. 6 to 8): a place's weight is its positive gradient.

    Options: `layer`, and `relu`, True in the paper.
    """

    def _weights(self, features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(gradient)


def _last_spatial(graph: Graph) -> Node | None:
    """The last node whose output has the axes of the image, and more than one place.

    Axes are followed from the image, for tensors of attention have four axes, too.
    """
    spatial = set(graph.inputs)
    found = None
    for node in graph.nodes:
        first = getattr(node.layer, "data_format", None) == "channels_first"
        moves = first or is_a(node.layer, {"Permute", "Transpose", "Reshape"})
        if moves or len(node.outputs) != 1 or spatial.isdisjoint(node.inputs):
            continue
        (slot,) = node.outputs
        shape = graph.shapes[slot]
        if len(shape) == 4 and slot not in graph.booleans:
            spatial.add(slot)
            if shape[1:3] != (1, 1) and slot != graph.output:
                found = node
    return found
