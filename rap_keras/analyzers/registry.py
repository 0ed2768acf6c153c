"""Analyzers by name."""

import difflib
import functools
import json
from pathlib import Path
from typing import Any

from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError


def _methods() -> dict[str, Any]:
    if not has_keras3():
        import keras

        raise InputError(
            f"rap_keras.create_analyzer needs Keras 3, got Keras {keras.__version__}: install "
            "TensorFlow 2.16 or newer, or import rap_keras.innvestigate and use innvestigate's own "
            "create_analyzer."
        )
    from rap_keras.analyzers import averaged, controls
    from rap_keras.analyzers import gradient as gradient_analyzers
    from rap_keras.analyzers import lrp as lrp_analyzers
    from rap_keras.analyzers import pattern as pattern_analyzers
    from rap_keras.analyzers import rap as rap_analyzer
    from rap_keras.composites.lrp import METHODS

    classes = (
        rap_analyzer.RAPAnalyzer,
        gradient_analyzers.GradientAnalyzer,
        gradient_analyzers.InputTimesGradientAnalyzer,
        gradient_analyzers.GuidedBackpropAnalyzer,
        gradient_analyzers.DeconvnetAnalyzer,
        averaged.IntegratedGradientsAnalyzer,
        averaged.SmoothGradAnalyzer,
        pattern_analyzers.PatternNetAnalyzer,
        pattern_analyzers.PatternAttributionAnalyzer,
        controls.InputAnalyzer,
        controls.RandomAnalyzer,
    )
    by_table = {
        name: functools.partial(lrp_analyzers.LRPAnalyzer, method=name)
        for name in ("lrp", *METHODS)
    }
    return {cls.name: cls for cls in classes} | by_table


def analyzer_names() -> list[str]:
    """The names that `create_analyzer` knows."""
    return list(_methods())


def create_analyzer(name: str, model: Any, **options: Any) -> Any:
    """Makes the analyzer of a method for a model.

    Args:
        name: The method: "rap", "gradient", "lrp.alpha_2_beta_1", ...; `analyzer_names()` lists them.
        model: A functional or Sequential Keras 3 model. It is not changed. Or one that is open already,
            `LoadedModel.network`: analyzers of one network share its trace.
        **options: Those of the method's analyzer, and of every analyzer: neuron_selection_mode
            ("max_activation", "index", "all"), batch_size, check_finite.

    Returns:
        The analyzer. `analyze(x)` explains samples.

    Raises:
        InputError: The method or an option is not known, or the model cannot be explained.
        UnknownLayerError: A layer has no rule.
    """
    methods = _methods()
    if name not in methods:
        near = difflib.get_close_matches(str(name), methods, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "choose one of them."
        raise InputError(
            f"Expected a method among {', '.join(map(repr, methods))}, got {name!r}: {hint}"
        )
    make = methods[name]
    known = _option_names(make)
    unknown = [option for option in options if option not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"Expected options of {name!r} among {', '.join(known)}, got {unknown[0]!r}{hint}"
        )
    return make(model, **options)


def _option_names(make: Any) -> list[str]:
    if isinstance(make, functools.partial):
        return make.func.option_names(**make.keywords)  # type: ignore[attr-defined]
    return make.option_names()


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
    if "patterns" in options:
        options["patterns"] = folder / options["patterns"]
    return create_analyzer(name, model, **options)
