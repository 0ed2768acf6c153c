"""xplique (Fel et al., 2022, arXiv 2206.04394): its explainers as methods, and methods as explainers.

An explainer of xplique is made from a model. It explains inputs for targets, which are one-hot rows
over the classes: `Explainer(model)(inputs, targets)`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.interop.explainers import explainer_for


def method(explainer: Callable[..., Any], **settings: Any) -> Callable[..., np.ndarray]:
    """Turns an explainer of xplique into a method, for `register_method` or a `FILE.py:function`.

    Args:
        explainer: The class, such as `xplique.attributions.Rise`.
        **settings: Its arguments other than the model.

    Returns:
        A function of a model, samples and classes that returns maps.

    Example:
        >>> class Brightness:  # stands for a class of xplique.attributions
        ...     def __init__(self, model):
        ...         self.model = model
        ...     def __call__(self, inputs, targets):
        ...         return inputs.mean(-1)
        >>> brightness = rap_keras.interop.xplique.method(Brightness)
        >>> _ = rap_keras.register_method("brightness", brightness, signed=False)
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = np.ones((1, 64, 64, 3), "float32")
        >>> rap_keras.create_analyzer("brightness", model).analyze(x).shape
        (1, 64, 64, 3)
    """
    made = functools.lru_cache(1)(functools.partial(explainer, **settings))

    def explain(model: Any, x: np.ndarray, classes: np.ndarray) -> np.ndarray:
        targets = np.eye(model.outputs[0].shape[-1], dtype=np.float32)[classes]
        return np.asarray(made(model)(x, targets))

    return explain


class Explainer:
    """A method as an explainer of xplique, to use with its metrics, such as AverageStability.

    Args:
        model: The Keras 3 model.
        method: A method of `rap_keras.create_analyzer`.
        **options: Options of the method.

    Example:
        >>> explainer = rap_keras.interop.xplique.Explainer(rap_keras.bundled.load("vgg"), "gradient")
        >>> explainer(np.ones((2, 64, 64, 3), "float32"), np.eye(10)[[7, 3]]).shape
        (2, 64, 64, 1)
    """

    def __init__(self, model: Any, method: str = "rap", **options: Any) -> None:
        self.model = model
        self._method, self._options = method, options

    def explain(self, inputs: Any, targets: Any) -> np.ndarray:
        """Explains samples.

        Args:
            inputs: Samples as the model takes them, such as `(batch, height, width, channels)`.
            targets: A row over the classes for each sample, `(batch, classes)`. The largest entry is
                explained.

        Returns:
            np.ndarray: for images `(batch, height, width, 1)`, the relevance summed over the channels;
            for other inputs in their shape, as xplique's explainers return it.

        Raises:
            InputError: The targets are not such rows, or as in `create_analyzer`.
        """
        rows = np.asarray(targets)
        if rows.ndim != 2 or len(rows) != len(inputs):
            raise InputError(
                f"Expected targets of shape (batch, classes), one row for each of {len(inputs)} inputs, "
                f"got {rows.shape}: use one-hot rows."
            )
        explainer = explainer_for(self.model, self._method, self._options)
        # With one output, a row has a single entry: explain the output itself.
        classes = rows.argmax(1).astype(np.int32) if rows.shape[1] > 1 else None
        maps = explainer.explain(np.asarray(inputs), classes).relevance
        return maps.sum(-1, keepdims=True) if maps.ndim == 4 else maps

    __call__ = explain
