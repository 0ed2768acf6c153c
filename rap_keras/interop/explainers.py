"""Keeps the explainer of the last call, because metrics call again and again with the same model."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.methods import MethodSpec

_LAST: list[tuple[Any, str, Explainer, dict[str, Any]]] = []


def explainer_for(model: Any, method: str, options: dict[str, Any]) -> Explainer:
    """A method for a model, created again only for another model, method or options."""
    key = json.dumps([method, options], default=_as_key)
    for known, known_key, explainer, _ in _LAST[:]:  # a copy: another thread may replace it
        if known is model and known_key == key:
            return explainer
    explainer = Explainer(model, MethodSpec(method, method, options))
    # The options are kept, so that the ids in the key stay theirs.
    _LAST[:] = [(model, key, explainer, options)]
    return explainer


def _as_key(value: Any) -> Any:
    """An option as JSON; arrays by all of their values, most of which `repr` leaves out."""
    if isinstance(value, Mapping):  # patterns
        return [repr(value), list(value.items())]
    if not hasattr(value, "__array__"):
        return [repr(value), id(value)]
    array = np.asarray(value)
    return [str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
