"""Creates and loads analyzers. Keras is loaded only when one is created."""

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
    """Creates an analyzer, which applies a method to your model.

    Args:
        name: The method: "rap", "gradient", "lrp.alpha_2_beta_1", ... `analyzer_names()` lists all; on
            the command line, `rap-keras methods` lists them with their papers.
        model: A Keras 3 model: functional, Sequential or subclassed; built, or called once. It is not
            changed. You do not need to remove a final softmax. Or what `rap_keras.models.load_model`
            returns: its classes then have names.
        **options: Options of the method, and options that every analyzer has: neuron_selection_mode
            ("max_activation", "index" or "all"), output (for models with several outputs), batch_size,
            check_finite, jit_compile and reference_output.

    Returns:
        The analyzer. `analyze(x)` returns the relevance of samples; `explain(x)` returns it with the
        logits and classes.

    Raises:
        InputError: The method or an option is unknown, or the model cannot be explained.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> analyzer = rap_keras.create_analyzer("lrp.epsilon", model, epsilon=0.01)
        >>> analyzer.analyze(x).shape
        (1, 64, 64, 3)
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
    """Loads an analyzer and its model from a folder that `analyzer.save(folder)` wrote.

    Args:
        folder: The folder with `model.keras` and `analyzer.json`.
        safe_mode: Reject code that the folder names or contains: a custom method in a Python file, or
            Lambda layers of Python code. Set it to False only if you trust the author of the folder.

    Returns:
        The analyzer.

    Raises:
        InputError: The folder does not contain an analyzer, or it contains code and safe_mode is True.

    Example:
        >>> import tempfile
        >>> model = rap_keras.bundled.load("vgg")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rap_keras.create_analyzer("rap", model).save(folder)
        ...     rap_keras.load_analyzer(folder).name
        'rap'
    """
    _refuse_keras2()
    import keras

    from rap_keras.network import bundled_layers  # noqa: F401 (registers them with Keras)
    from rap_keras.support.reading import read_json, understood

    folder = Path(folder)
    path = folder / "analyzer.json"
    saved = read_json(path, "saved analyzer")
    if not (isinstance(saved, dict) and isinstance(saved.get("options"), dict)):
        raise InputError(
            f'Expected the saved analyzer {str(path)!r} to contain the name of a method, "analyzer", '
            'and its "options" by name, got something else: save the analyzer again.'
        )
    name, options = saved.get("analyzer", ""), saved["options"]
    if read_boolean("safe_mode", safe_mode) and names_function(str(name)):
        raise InputError(
            f"Expected a saved analyzer that runs no code, but the method of {str(path)!r} is a Python "
            f"file, {name!r}: if you trust its author, use load_analyzer(folder, safe_mode=False)."
        )
    # Fails early: loading the model is slow.
    refuse_unknown(name, options, read_method(name).option_names())
    if "patterns" in options:
        options["patterns"] = folder / Path(str(options["patterns"])).name
    sentence = f"Expected a folder with analyzer.json and model.keras, got {str(folder)!r}"
    advice = "save the analyzer again"
    if safe_mode:
        advice += (
            ", or, if it contains Python code and you trust its author, use "
            "load_analyzer(folder, safe_mode=False)"
        )
    with understood(sentence, advice):
        model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=safe_mode)
    return create_analyzer(name, model, **options)
