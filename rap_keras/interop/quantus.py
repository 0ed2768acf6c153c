"""Quantus (Hedström et al., JMLR 2023, arXiv 2202.06861): its metrics for our maps.

`explain_func` is the argument of that name of Quantus' metrics. The other direction needs no adapter: a
function of Quantus' form, `(model, inputs, targets) -> maps`, is already a method of the benchmark.
"""

from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.interop.explainers import explainer_for


def explain_func(
    model: Any,
    inputs: Any,
    targets: Any,
    *,
    method: str = "rap",
    device: Any = None,
    **options: Any,
) -> np.ndarray:
    """Explains samples for a metric of Quantus.

    Pass it as `metric(..., explain_func=explain_func, explain_func_kwargs={"method": "rap"})`.

    Args:
        model: The Keras 3 model.
        inputs: Samples as the model takes them, `(batch, height, width, channels)`, or with the
            channels first, `(batch, channels, height, width)`, as Quantus' metrics pass them. Inputs
            that already fit the model stay unchanged.
        targets: The class of each sample, `(batch,)`; 0 or 1 for one output with a sigmoid.
        method: A method of `rap_keras.create_analyzer`.
        device: An argument of Quantus that is not used.
        **options: Options of the method.

    Returns:
        np.ndarray: The relevance of each pixel, `(batch, height, width)`, summed over the channels
        because Quantus compares maps with inputs whose channels it has moved. For inputs without
        channels, the relevance in their shape.

    Raises:
        InputError: The inputs do not fit the model in either layout, or as in `create_analyzer`.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = np.ones((2, 3, 64, 64), "float32")  # channels first
        >>> rap_keras.interop.quantus.explain_func(model, x, [7, 3], method="gradient").shape
        (2, 64, 64)
    """
    x = np.asarray(inputs)
    shape = tuple(model.inputs[0].shape[1:])
    if not _fits(x.shape[1:], shape) and x.ndim > 2:
        x = np.moveaxis(x, 1, -1)
    if not _fits(x.shape[1:], shape):
        raise InputError(
            f"Expected inputs of the model's shape {shape}, with the channels last or first, got "
            f"{np.shape(inputs)[1:]}: resize them."
        )
    classes = np.asarray(targets, np.int32).reshape(-1)
    maps = explainer_for(model, method, options).explain(x, classes).relevance
    return maps.sum(-1) if x.ndim > 2 else maps


def _fits(given: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(given) == len(expected) and all(
        e in (None, g) for g, e in zip(given, expected, strict=True)
    )
