"""Score-CAM: feature maps, weighted by the model's output for the image that they show."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from rap_keras import tensors as ops
from rap_keras.analyzers.masked import MaskedAnalyzer, explained_logits
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.target import Target, all_neurons
from rap_keras.network.feature_maps import read_layer
from rap_keras.propagate import forward


class ScoreCAMAnalyzer(MaskedAnalyzer):
    """Score-CAM (Wang et al., CVPR Workshops 2020, algorithm 1): no gradients.

    Each feature map of a layer, resized to the image and scaled to [0, 1], is a mask of the image. The
    weight of a map is the softmax, over the maps, of the logit of the masked image. The weighted sum,
    cut at 0, is resized to the image and divided among the channels. Each feature map takes one forward
    pass.

    Args:
        model: See `Analyzer`; with one input of images, channels last.
        layer: The name of the layer whose feature maps are weighted, as `rules()` lists it. None: the
            layer that Grad-CAM takes.
        value: What replaces the image where a mask is 0, in the units of the model's input: a number,
            or one per channel.
        **options: Options of `Analyzer`; `batch_size` counts masked images.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("score_cam", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self, model: keras.Model, layer: str | None = None, value: Any = 0, **options: Any
    ) -> None:
        super().__init__(model, value, **options)
        self.layer = layer
        self._of_features = self._graph  # also for class 0, whose graph may negate the layer
        (self._slot,) = read_layer(self._graph, layer, self.name).outputs

    def _feature_maps(self, inputs: list[ops.Tensor], target: Target) -> ops.Tensor:
        _, records = forward(self._of_features, inputs)
        made = {slot: y for r in records for slot, y in zip(r.node.outputs, r.outputs, strict=True)}
        return ops.cast(made[self._slot], "float32")

    def _masks(self, features: np.ndarray, image: np.ndarray) -> Iterator[np.ndarray]:
        for chunk in as_batches(features.shape[-1], self.batch_size):
            masks = _resized(features[..., chunk], image)
            low, high = (f(masks, (1, 2), keepdims=True) for f in (np.min, np.max))
            spread = np.where(high > low, high - low, 1)  # a constant map shows nothing
            yield (masks - low) / spread

    def _map(
        self, image: np.ndarray, position: int, logits: np.ndarray, neurons: np.ndarray | None
    ) -> np.ndarray:
        features = self._batches.run(self._feature_maps, [image[None]], all_neurons(1))
        seen = self._seen(image, self._masks(features, image))
        weights = softmax(np.concatenate([explained_logits(one, neurons) for _, one in seen]))
        return _resized(np.maximum(features @ weights, 0)[..., None], image)[0]


def _resized(maps: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Maps (1, rows, columns, n) at the size of the image, (n, height, width), float64."""
    resized = ops.to_numpy(ops.resize(ops.constant(maps), image.shape[:2]))[0]
    return np.moveaxis(resized, -1, 0).astype(np.float64)
