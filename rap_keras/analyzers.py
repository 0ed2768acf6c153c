"""Analyzers by name."""

import difflib
import inspect
import json
from pathlib import Path
from typing import Any

from rap_keras.errors import InputError


def _classes() -> dict[str, type]:
    import keras

    if int(keras.__version__.split(".")[0]) < 3:
        raise InputError(
            f"rap_keras.create_analyzer needs Keras 3, got Keras {keras.__version__}: install "
            "TensorFlow 2.16 or newer, or import rap_keras.innvestigate and use innvestigate's own "
            "create_analyzer."
        )
    from rap_keras.keras3 import analyzers

    classes = (
        analyzers.RAPAnalyzer,
        analyzers.GradientAnalyzer,
        analyzers.InputTimesGradientAnalyzer,
        analyzers.InputAnalyzer,
        analyzers.RandomAnalyzer,
    )
    return {cls.name: cls for cls in classes}


def analyzer_names() -> list[str]:
    """The names that `create_analyzer` knows."""
    return list(_classes())


def create_analyzer(name: str, model: Any, **options: Any) -> Any:
    """Makes the analyzer of a method for a model.

    Args:
        name: The method: "rap", "gradient", "input_t_gradient", "input" or "random".
        model: A functional or Sequential Keras 3 model. It is not changed.
        **options: Those of the method's analyzer, and of every analyzer: neuron_selection_mode
            ("max_activation", "index", "all"), batch_size, check_finite.

    Returns:
        The analyzer. `analyze(x)` explains samples.

    Raises:
        InputError: The method or an option is not known, or the model cannot be explained.
        UnknownLayerError: A layer has no rule.
    """
    classes = _classes()
    if name not in classes:
        near = difflib.get_close_matches(str(name), classes, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "choose one of them."
        raise InputError(
            f"Expected a method among {', '.join(map(repr, classes))}, got {name!r}: {hint}"
        )
    cls = classes[name]
    known = _option_names(cls)
    unknown = [option for option in options if option not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"Expected options of {name!r} among {', '.join(known)}, got {unknown[0]!r}{hint}"
        )
    return cls(model, **options)


def _option_names(cls: type) -> list[str]:
    names: dict[str, None] = {}
    for base in cls.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        for parameter in inspect.signature(vars(base)["__init__"]).parameters.values():
            if parameter.kind is not parameter.VAR_KEYWORD:
                names[parameter.name] = None
    return [n for n in names if n not in ("self", "model", "composite")]


def load_analyzer(folder: str | Path) -> Any:
    """Loads an analyzer that its `save` wrote, with its model.

    Args:
        folder: Holds `model.keras` and `analyzer.json`.

    Returns:
        The analyzer.

    Raises:
        InputError: The folder holds no analyzer.
    """
    import keras

    folder = Path(folder)
    try:
        saved = json.loads((folder / "analyzer.json").read_text(encoding="utf-8"))
        name, options = saved["analyzer"], saved["options"]
        model = keras.models.load_model(folder / "model.keras", compile=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Expected a folder with analyzer.json and model.keras, got {str(folder)!r}: {error}"
        ) from error
    return create_analyzer(name, model, **options)
