"""Analyzers by name. TensorFlow is loaded only when one is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rap_keras.analyzers.method import refuse_unknown
from rap_keras.analyzers.registry import read_method
from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError
from rap_keras.support.options import read_boolean
from rap_keras.support.python_files import names_function

if TYPE_CHECKING:
    from rap_keras.analyzers.base import Analyzer


def create_analyzer(name: str, model: Any, **options: Any) -> Analyzer:
    """Makes the analyzer of a method for a model.

    Args:
        name: The method: "rap", "gradient", "lrp.alpha_2_beta_1", ...; `analyzer_names()` lists them.
        model: A Keras 3 model: functional, Sequential, or subclassed; built, or called once. It is not
            changed. Or what `rap_keras.models.load_model` returns, whose classes then have names.
        **options: Those of the method's analyzer, and of every analyzer: neuron_selection_mode
            ("max_activation", "index", "all"), output (of a model with several), batch_size,
            check_finite.

    Returns:
        The analyzer. `analyze(x)` explains samples; `explain(x)` tells the logits and neurons, too.

    Raises:
        InputError: The method or an option is not known, or the model cannot be explained.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> rap_keras.create_analyzer("lrp.epsilon", model, epsilon=0.01).name
        'lrp.epsilon'
    """
    method = read_method(name)
    _refuse_keras2()
    refuse_unknown(method.name, options, method.option_names())
    make: Callable[..., Analyzer] = method.load()
    if "method" in inspect.signature(make).parameters:  # one class for several methods
        options["method"] = name
    return make(model, **options)


def _refuse_keras2() -> None:
    if not has_keras3():
        import keras

        raise InputError(
            f"rap_keras.create_analyzer needs Keras 3, got Keras {keras.__version__}: install "
            "TensorFlow 2.16 or newer, or import rap_keras.innvestigate and use innvestigate's own "
            "create_analyzer."
        )


def load_analyzer(folder: str | Path, safe_mode: bool = True) -> Analyzer:
    """Loads an analyzer that its `save` wrote, with its model.

    Args:
        folder: Holds `model.keras` and `analyzer.json`.
        safe_mode: Refuse code that the folder names or contains: a custom method in a Python file, or
            Lambda layers of Python code. Set it to False only if you trust the author of the folder.

    Returns:
        The analyzer.

    Raises:
        InputError: The folder holds no analyzer, or, in safe mode, one that runs code.

    Example:
        >>> import tempfile
        >>> model = rap_keras.bundled.load("vgg")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rap_keras.create_analyzer("rap", model).save(folder)
        ...     rap_keras.load_analyzer(folder).name
        'rap'
    """
    import keras

    from rap_keras.network import own_layers  # noqa: F401 (makes Keras know them)
    from rap_keras.support.reading import read_json, understood

    _refuse_keras2()
    folder = Path(folder)
    path = folder / "analyzer.json"
    saved = read_json(path, "saved analyzer")
    if not (isinstance(saved, dict) and isinstance(saved.get("options"), dict)):
        raise InputError(
            f'Expected the saved analyzer {str(path)!r} to hold the name of a method, "analyzer", and '
            'its "options" by name, got something else: save the analyzer again.'
        )
    name, options = saved.get("analyzer", ""), saved["options"]
    if read_boolean("safe_mode", safe_mode) and names_function(str(name)):
        raise InputError(
            f"Expected a saved analyzer that runs no code, but the method of {str(path)!r} is a Python "
            f"file, {name!r}: if you trust its author, use load_analyzer(folder, safe_mode=False)."
        )
    # Before the slow loading of the model.
    refuse_unknown(name, options, read_method(name).option_names())
    if "patterns" in options:
        options["patterns"] = folder / Path(str(options["patterns"])).name
    sentence = f"Expected a folder with analyzer.json and model.keras, got {str(folder)!r}"
    advice = "save the analyzer again"
    if safe_mode:
        advice += (
            ", or, where it holds Python code and you trust whoever wrote it, use "
            "load_analyzer(folder, safe_mode=False)"
        )
    with understood(sentence, advice):
        model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=safe_mode)
    return create_analyzer(name, model, **options)
