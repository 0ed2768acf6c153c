"""Score-CAM: feature maps, weighted by the model's output for the image that they show."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from rap_keras import tensors as ops
from rap_keras.analyzers.coarse import resized
from rap_keras.analyzers.masking import MaskedAnalyzer, Sample
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.target import Target, all_neurons
from rap_keras.network.feature_maps import read_layer
from rap_keras.propagate import forward
from rap_keras.propagation import values_of


class ScoreCAMAnalyzer(MaskedAnalyzer):
    """Score-CAM (Wang et al., CVPR Workshops 2020, algorithm 1): no gradients.

    Each feature map of a layer, resized to the image and scaled to [0, 1], is a mask of the image. The
    weight of a map is the softmax, over the maps, of the logit of the masked image. The weighted sum,
    cut at 0, is resized to the image and divided among the channels. Each feature map takes one forward
    pass. Inputs that the layer does not look at stay as they are and get zeros.

    Args:
        model: See `Analyzer`; with an input of images, series, volumes or videos, channels last.
        layer: The name of the layer whose feature maps are weighted, as for Grad-CAM. None: the layer
            that Grad-CAM takes.
        value: What replaces the image where a mask is 0, in the units of the model's input: a number,
            or one per channel. For several inputs a number for all, or a list with one of these per
            input.
        **options: Options of `Analyzer`; `batch_size` counts masked samples.

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
        self.layer = layer
        super().__init__(model, value, **options)
        self._of_features = self._graph  # also for class 0, whose graph may negate the layer

    def _masked_inputs(self) -> list[int]:
        self._layer = read_layer(self._graph, self.layer, self.name)
        places = [self._graph.inputs.index(slot) for slot in self._layer.images]
        if not all(self._has_channels(place) for place in places):
            raise InputError(
                f"Expected inputs that can be masked in part for {self.name!r}, got tokens: use "
                '"grad_cam" or "occlusion".'
            )
        return places

    def _left_out(self) -> str:
        return f"whose positions layer {self._layer.name!r} does not keep"

    def _feature_maps(self, inputs: list[ops.Tensor], target: Target) -> ops.Tensor:
        _, records = forward(self._of_features, inputs)
        return ops.cast(self._layer.values(values_of(records)), "float32")

    def _masks(self, features: np.ndarray, size: Sequence[int]) -> Iterator[np.ndarray]:
        for chunk in as_batches(features.shape[-1], self.batch_size):
            masks = _resized(features[..., chunk], size)
            places = tuple(range(1, masks.ndim))
            low, high = (f(masks, places, keepdims=True) for f in (np.min, np.max))
            spread = np.where(high > low, high - low, 1)  # a constant map shows nothing
            yield (masks - low) / spread

    def _map(self, sample: Sample, place: int) -> np.ndarray:
        size = self._size(sample, place)
        (features,) = self._batches.run(
            self._feature_maps, [a[None] for a in sample.inputs], all_neurons(1)
        )
        seen = self._seen(sample, place, self._masks(features, size))
        weights = softmax(np.concatenate([sample.explained(one) for _, one in seen]))
        return _resized(np.maximum(features @ weights, 0)[..., None], size)[0]


def _resized(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Maps (cells ..., n) at the size of the input, (n, positions ...), float64."""
    whole = resized(ops.constant(np.moveaxis(maps, -1, 0)), size)
    return ops.to_numpy(whole).astype(np.float64)
