"""The analyzer of the last call: metrics call with the same model again and again."""

import json
from typing import Any

from rap_keras.analyzers import create_analyzer

_LAST: list[tuple[Any, str, Any]] = []


def analyzer_for(model: Any, method: str, options: dict[str, Any]) -> Any:
    """An analyzer of given neurons, made anew only for another model, method or options."""
    key = json.dumps([method, options], default=repr)
    if not _LAST or _LAST[0][0] is not model or _LAST[0][1] != key:
        analyzer = create_analyzer(method, model, neuron_selection_mode="index", **options)
        _LAST[:] = [(model, key, analyzer)]
    return _LAST[0][2]
