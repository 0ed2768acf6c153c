"""The table of all methods. Keras is loaded only when an analyzer is created."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rap_keras.analyzers.method import (
    AGAINST,
    LESS,
    LESS_OR_AGAINST,
    LRP,
    SHARED,
    SLOPE,
    Method,
    Options,
    Preset,
    Signs,
)
from rap_keras.errors import InputError
from rap_keras.support.python_files import load_function, names_function
from rap_keras.support.reading import opened
from rap_keras.support.text import did_you_mean, first_line


def _not_postprocessed(options: Options) -> bool:
    return options.get("postprocess") is None


def _not_cut(options: Options) -> bool:
    return options.get("relu") is False


_NONE: Options = {}


def _forward(
    name: str, home: str, summary: str, options: str = "", negative: str = "", **known: Any
) -> Method:
    """A method that does not propagate relevance by rules."""
    return Method(name, home, summary, f"{options} {SHARED}", negative=negative, **known)


def _back(
    name: str, home: str, summary: str, options: str = "", *more: Any, **known: Any
) -> Method:
    """A method that propagates relevance by rules."""
    return _forward(name, home, summary, f"{options} bounds contrast", *more, **known)


def _preset(
    name: str,
    kernel: str,
    dense: str = "",
    first: str = "",
    *,
    options: Options = _NONE,
    signs: Signs = True,
    deep_taylor: bool = False,
    innvestigate: Options = _NONE,
    attention: str = "",
    **fixed: Any,
) -> Method:
    """A preset of LRP, see `Preset`."""
    preset = Preset(kernel, dense, first, fixed, options, deep_taylor, innvestigate, attention)
    names = " ".join([LRP, SHARED, *options])
    return Method(name, _LRP, preset.summary, names, signs, negative=AGAINST, preset=preset)


_CAM = "layer relu align"
_LRP = ".lrp:LRPAnalyzer"
_Z_PLUS: Options = {"alpha": 1, "beta": 0, "bias": False}
_SEQUENTIAL: Options = {"options": {"epsilon": 0.1}, "innvestigate": {"positive_norm": True}}
# To add a method, add a line here and a file with its class. A preset of LRP needs only a line.
# fmt: off
METHODS = [
    _back("rap", ".rap:RAPAnalyzer", "Relative Attributing Propagation (Nam et al. 2020)",
        "variant add input_rule dense head local positions", LESS),
    _back("rap.epsilon", ".rap:RAPAnalyzer", "RAP with LRP-epsilon in the dense layers of the head",
        "variant add input_rule dense head local positions", LESS_OR_AGAINST),
    _back("gradient", ".gradient:GradientAnalyzer", "Gradient of the logit (Simonyan et al. 2014)",
        "postprocess", SLOPE, signs=_not_postprocessed),
    _back("input_t_gradient", ".gradient:InputTimesGradientAnalyzer",
        "Input times gradient (Shrikumar et al. 2016)", negative=AGAINST),
    _back("guided_backprop", ".gradient:GuidedBackpropAnalyzer",
        "Guided backpropagation (Springenberg et al. 2015)"),
    _back("deconvnet", ".gradient:DeconvnetAnalyzer", "Deconvolution (Zeiler and Fergus 2014)"),
    _forward("integrated_gradients", ".averaged:IntegratedGradientsAnalyzer",
        "Integrated gradients (Sundararajan et al. 2017)",
        "steps reference_inputs integration postprocess", AGAINST),
    _forward("smoothgrad", ".averaged:SmoothGradAnalyzer",
        "Mean gradient of noisy copies (Smilkov et al. 2017)",
        "augment_by_n noise_level noise_scale seed postprocess", SLOPE,
        signs=_not_postprocessed, seeded=True),
    _forward("expected_gradients", ".averaged:ExpectedGradientsAnalyzer",
        "Expected gradients (Erion et al. 2021)", "background draws seed", AGAINST, seeded=True),
    _back("pattern.net", ".pattern:PatternNetAnalyzer", "PatternNet (Kindermans et al. 2018)",
        "patterns project", needs_patterns=True),
    _back("pattern.attribution", ".pattern:PatternAttributionAnalyzer",
        "PatternAttribution (Kindermans et al. 2018)",
        "patterns project", AGAINST, needs_patterns=True),
    _forward("attention.rollout", ".attention:AttentionRolloutAnalyzer",
        "Attention rollout (Abnar and Zuidema 2020)", signs=False),
    _back("generic_attention", ".attention:GenericAttentionAnalyzer",
        "Generic attention (Chefer et al. 2021)", signs=False, cut=True),
    _back("transformer_attribution", ".attention:TransformerAttributionAnalyzer",
        "Transformer attribution (Chefer et al. 2021)", signs=False, cut=True),
    _back("legrad", ".attention:LeGradAnalyzer", "LeGrad (Bousselham et al. 2025)",
        "tokens", signs=False, cut=True),
    _back("grad_cam", ".cam:GradCAMAnalyzer", "Grad-CAM (Selvaraju et al. 2017)",
        _CAM, AGAINST, signs=_not_cut, cut=True),
    _back("grad_cam_plus_plus", ".cam:GradCAMPlusPlusAnalyzer", "Grad-CAM++ (Chattopadhay et al. 2018)",
        _CAM, AGAINST, signs=_not_cut, cut=True),
    _back("hires_cam", ".cam:HiResCAMAnalyzer", "HiResCAM (Draelos and Carin 2020)",
        _CAM, AGAINST, signs=lambda given: given.get("relu") is not True, cut=True),
    _back("layer_cam", ".cam:LayerCAMAnalyzer", "LayerCAM (Jiang et al. 2021)",
        _CAM, AGAINST, signs=_not_cut, cut=True),
    _back("deep_lift", ".deep_lift:DeepLIFTAnalyzer", "DeepLIFT, rescale rule (Shrikumar et al. 2017)",
        "reference_inputs", AGAINST),
    _forward("occlusion", ".masked:OcclusionAnalyzer", "Occlusion (Zeiler and Fergus 2014)",
        "window stride value", AGAINST),
    _forward("rise", ".masked:RISEAnalyzer", "RISE, random masks (Petsiuk et al. 2018)",
        "masks cells p score value seed", seeded=True,
        signs=lambda given: given.get("score") == "logit"),
    _forward("score_cam", ".score_cam:ScoreCAMAnalyzer", "Score-CAM (Wang et al. 2020)",
        "layer value", signs=False),
    _forward("input", ".controls:InputAnalyzer", "The input itself, as a baseline"),
    _forward("random", ".controls:RandomAnalyzer", "Gaussian noise, as a baseline",
        "stddev seed", seeded=True),
    Method("lrp", _LRP, "LRP by your own table of rules", f"{LRP} {SHARED} composite"),
    _preset("lrp.z", "z"),
    _preset("lrp.epsilon", "epsilon", options={"epsilon": 1e-7, "bias": True}),
    _preset("lrp.w_square", "w_square", signs=False),
    _preset("lrp.flat", "flat", signs=False),
    _preset("lrp.alpha_beta", "alpha_beta", options={"alpha": None, "beta": None, "bias": True},
        signs=lambda given: given.get("beta") != 0 and given.get("alpha") != 1),
    _preset("lrp.alpha_2_beta_1", "alpha_beta", alpha=2, beta=1, bias=True),
    _preset("lrp.alpha_2_beta_1_IB", "alpha_beta", alpha=2, beta=1, bias=False),
    _preset("lrp.alpha_1_beta_0", "alpha_beta", signs=False, alpha=1, beta=0, bias=True),
    _preset("lrp.alpha_1_beta_0_IB", "alpha_beta", signs=False, **_Z_PLUS),
    _preset("lrp.z_plus", "alpha_beta", signs=False, **_Z_PLUS),
    # With the inputs of most models, which may be negative, its first rule has both signs.
    _preset("lrp.z_plus_fast", "alpha_beta", first="z_plus", **_Z_PLUS, innvestigate={"z_plus": True}),
    _preset("lrp.sequential_preset_a", "alpha_beta", "epsilon", **_SEQUENTIAL, alpha=1, beta=0),
    _preset("lrp.sequential_preset_b", "alpha_beta", "epsilon", **_SEQUENTIAL, alpha=2, beta=1),
    _preset("lrp.sequential_preset_a_flat", "alpha_beta", "epsilon", "flat",
        **_SEQUENTIAL, alpha=1, beta=0),
    _preset("lrp.sequential_preset_b_flat", "alpha_beta", "epsilon", "flat",
        **_SEQUENTIAL, alpha=2, beta=1),
    _preset("lrp.epsilon_plus", "alpha_beta", "epsilon", options={"epsilon": 1e-6}, alpha=1, beta=0),
    _preset("lrp.epsilon_gamma_box", "gamma", "epsilon", "box",
        options={"epsilon": 1e-6, "gamma": 0.25}),
    _preset("lrp.attnlrp", "gamma", "dense_gamma", attention="epsilon",
        options={"epsilon": 1e-6, "gamma": 0.25, "dense_gamma": 0.05}),
    _preset("deep_taylor", "alpha_beta", signs=False, **_Z_PLUS, deep_taylor=True),
    _preset("deep_taylor.bounded", "alpha_beta", first="box",
        signs=False, **_Z_PLUS, deep_taylor=True),
]
# fmt: on


_CUSTOM: dict[str, Method] = {}
_ARGUMENTS = {"name", "model", "method"}  # of `create_analyzer` and of analyzers


def register_method(
    name: str, function: Callable[..., Any] | None = None, *, signed: bool = True
) -> Callable[..., Any]:
    """Registers your own function as a method for `create_analyzer`, `compare` and the benchmark.

    It is also a decorator, `@register_method("mine")`. On the command line, `FILE.py:function` names a
    method without registering it.

    Args:
        name: The name of the method. You can register the same name again.
        function: `function(model, x, neurons, **options) -> maps`. Its arguments are the Keras model,
            unchanged (with its softmax, if it has one); samples as the model takes them, `(batch,
            ...)`, or a list of them for several inputs; and the class of each sample, integers
            `(batch,)`. For a model with one output these are 0; if class 0 is explained, signed maps
            are negated afterwards. It returns maps of the shape of x, or without the channels: then one
            value per pixel, divided among its channels. Further parameters of the function are options
            of the method.
        signed: Whether its maps have both signs. The benchmark cuts such maps at 0 and others at their
            mean.

    Returns:
        The function; if none is given, a decorator.

    Raises:
        InputError: The name belongs to a method of the package, or the function has too few parameters,
            or an option is called "name", "model" or "method".

    Example:
        >>> @rap_keras.register_method("brightness", signed=False)
        ... def brightness(model, x, neurons, power=1):
        ...     return x.mean(-1) ** power
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = np.ones((1, 64, 64, 3), "float32")
        >>> rap_keras.create_analyzer("brightness", model, power=2).analyze(x).shape
        (1, 64, 64, 3)
    """
    if function is None:
        return lambda decorated: register_method(name, decorated, signed=signed)
    if any(method.name == name for method in METHODS):
        raise InputError(f"Expected a name that no method of rap_keras has, got {name!r}.", "name")
    if not isinstance(name, str) or not name or set(name) & set(",:"):
        raise InputError(f"Expected a name without commas and colons, got {name!r}.", "name")
    _CUSTOM[name] = _custom(name, function, signed)
    return function


def _custom(name: str, function: Callable[..., Any], signed: bool) -> Method:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) < 3:
        raise InputError(
            f"Expected a function of a model, samples and neurons for the method {name!r}, got "
            f"{getattr(function, '__name__', 'one')}{inspect.signature(function)}.",
            "function",
        )
    taken = _ARGUMENTS.intersection(parameters[3:])
    if taken:
        raise InputError(
            f"Expected options of the method {name!r} under other names than {min(taken)!r}, which is "
            "an argument of create_analyzer: rename the parameter.",
            "function",
        )
    home = ".custom:FunctionAnalyzer"
    named = f"Your own method {getattr(function, '__name__', name)}"
    summary = (inspect.getdoc(function) or named).partition("\n")[0]
    return Method(name, home, summary, signs=signed, function=function)


def find_method(name: str) -> Method | None:
    """The record of a method; None for other names, such as those that only iNNvestigate has."""
    return next((method for method in (*METHODS, *_CUSTOM.values()) if method.name == name), None)


def needs_patterns(name: str) -> bool:
    """Whether a method requires patterns."""
    method = find_method(name)
    return method is not None and method.needs_patterns


def is_seeded(name: str) -> bool:
    """Whether a method uses random numbers from a seed."""
    method = find_method(name)
    return method is not None and method.seeded


def read_method(name: str) -> Method:
    """The record of a method; a function in a Python file is loaded."""
    method = find_method(name)
    if method is None and names_function(str(name)):
        path, _, function = name.rpartition(":")
        try:
            loaded = load_function(Path(path), function)
        except Exception as error:
            raise InputError(
                f"Expected a function in a Python file, got {name!r}, which cannot be loaded "
                f"({first_line(error)})."
            ) from error
        method = _CUSTOM[name] = _custom(name, loaded, signed=True)
    if method is None:
        raise unknown_method(name)
    return method


def check_name(name: str) -> None:
    """Raises an error for an unknown method, as far as this is possible without loading Keras."""
    if names_function(name):
        with opened(Path(name.rpartition(":")[0]), "Python file"):
            pass
    elif find_method(name) is None:
        raise unknown_method(name)


def unknown_method(name: object) -> InputError:
    """The error for an unknown method."""
    hint = did_you_mean(str(name), analyzer_names())
    listed = "rap-keras methods and rap_keras.analyzer_names() list all"
    return InputError(
        f"There is no method {name!r}: {hint} ({listed}.)"
        if hint
        else f"There is no method {name!r}: {listed}."
    )


def name_of(analyzer: type) -> str:
    """The name of the first method of an analyzer class; its own name if it is not in the table."""
    homes = {method.home: method.name for method in reversed(METHODS)}
    for base in analyzer.__mro__:
        home = f"{base.__module__}:{base.__qualname__}"
        name = homes.get(home) or homes.get(home.removeprefix(__package__ or ""))
        if name:
            return name
    return analyzer.__name__


def analyzer_names() -> list[str]:
    """The names of all methods, as `create_analyzer` takes them.

    Example:
        >>> rap_keras.analyzer_names()[:3]
        ['rap', 'rap.epsilon', 'gradient']
    """
    return [method.name for method in (*METHODS, *_CUSTOM.values())]
