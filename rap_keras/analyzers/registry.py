"""Every method once, in one table. TensorFlow is loaded only when the options of one are asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rap_keras.analyzers.sources import documentation, parameters
from rap_keras.errors import InputError
from rap_keras.support.python_files import load_function, names_function
from rap_keras.support.reading import check_file
from rap_keras.support.text import did_you_mean, first_line

Options = Mapping[str, Any]
_COMPOSITES = "rap_keras.composites.lrp"


def _always(options: Options) -> bool:
    return True


def _never(options: Options) -> bool:
    return False


def _not_postprocessed(options: Options) -> bool:
    return options.get("postprocess") is None


def _not_cut(options: Options) -> bool:
    return options.get("relu") is False


def _not_cut_by_default(options: Options) -> bool:
    return options.get("relu") is not True


def _of_logits(options: Options) -> bool:
    return options.get("score") == "logit"


def _has_beta(options: Options) -> bool:
    return options.get("beta") != 0 and options.get("alpha") != 1


# What negative relevance, blue in figures, means.
LESS = "what has less influence than the rest"
AGAINST = "what speaks against the class"
OTHERS = "what speaks for the other classes"
SLOPE = "where a larger value would lower the score"


@dataclass(frozen=True)
class Method:
    """A method: what it is called, where it is, and what others must know of it.

    Attributes:
        name: As `create_analyzer` takes it.
        home: "module:class" of its analyzer; modules of this package may be told relatively, ".module".
        signs: Whether its maps have both signs for a logit of one sign, by the options of its own.
        cut: Whether `signs` holds for relevance of both signs, too: what is negative is cut.
        seeded: Whether it draws at random, and has the option `seed`.
        needs_patterns: Whether it has the option `patterns`, which it cannot do without.
        composite: For a preset of LRP: the function of `rap_keras.composites.lrp` that makes its table.
        fixed: What the preset gives to that function; its other parameters are options of the method.
        function: Of a method of one's own: the function that explains, see `register_method`.
        negative: What its negative relevance means; "" if it has no clear meaning.
    """

    name: str
    home: str
    signs: Callable[[Options], bool] = _always
    cut: bool = False
    seeded: bool = False
    needs_patterns: bool = False
    composite: str = ""
    fixed: Options = field(default_factory=dict)
    function: Callable[..., Any] | None = None
    negative: str = ""

    def signed(self, options: Options) -> bool:
        """Whether its maps have both signs for a logit of one sign, by the options given."""
        contrasted = options.get("contrast") is not None and options.get("postprocess") is None
        return self.signs(options) or (contrasted and not self.cut)

    def negative_means(self, options: Options) -> str:
        """What negative relevance means with the given options.

        "" if there is none for a positive logit, or if it has no clear meaning.
        """
        if not self.signed(options):
            return ""
        contrasted = options.get("contrast") is not None
        return OTHERS if contrasted and self.negative in (LESS, AGAINST) else self.negative

    @property
    def description(self) -> str:
        """What it is and which options it has: its documentation, read without loading TensorFlow."""
        if self.function is not None:
            return (
                inspect.getdoc(self.function) or f"A method of one's own, {self.function.__name__}."
            )
        home = (_COMPOSITES, self.composite) if self.composite else self._home()
        return documentation(*home)

    def _home(self) -> tuple[str, str]:
        """The module, in full, and the name of its analyzer's class."""
        module, _, name = self.home.partition(":")
        return (f"{__package__}{module}" if module.startswith(".") else module), name

    def check_options(self, options: Iterable[str]) -> None:
        """Refuses options that the method does not have, without loading TensorFlow.

        Raises:
            InputError: There is no such option.
        """
        module, name = self._home()
        if self.function is not None or not module.startswith("rap_keras."):
            return
        known = parameters(module, name) - {"model", "method"}
        known -= set() if self.name == "lrp" else {"composite"}
        if self.composite:
            known |= parameters(_COMPOSITES, self.composite)
            known -= {"bounds", *self.fixed}
        refuse_unknown(self.name, options, sorted(known))

    def load(self) -> type[Any]:
        """The class of its analyzer."""
        module, name = self._home()
        return getattr(importlib.import_module(module), name)

    def option_names(self) -> list[str]:
        """The options of its analyzer, read from the signatures."""
        return self.load().option_names(self.name)

    def composite_options(self) -> list[str]:
        """The options that a preset hands to its composite, read from the signature."""
        if not self.composite:
            return []
        return [n for n in inspect.signature(self._table()).parameters if n not in self.fixed]

    def make_composite(self, options: Options) -> Any:
        """The composite of a preset."""
        return self._table()(**self.fixed, **options)

    def _table(self) -> Callable[..., Any]:
        return getattr(importlib.import_module(_COMPOSITES), self.composite)


def _preset(
    name: str, composite: str, signs: Callable[[Options], bool] = _always, **fixed: Any
) -> Method:
    home = ".lrp:LRPAnalyzer"
    return Method(name, home, signs, composite=composite, fixed=fixed, negative=AGAINST)


# A new method is a line here, and a file with its class; a new preset of LRP a line.
METHODS = [
    Method("rap", ".rap:RAPAnalyzer", negative=LESS),
    Method("gradient", ".gradient:GradientAnalyzer", signs=_not_postprocessed, negative=SLOPE),
    Method("input_t_gradient", ".gradient:InputTimesGradientAnalyzer", negative=AGAINST),
    Method("guided_backprop", ".gradient:GuidedBackpropAnalyzer"),
    Method("deconvnet", ".gradient:DeconvnetAnalyzer"),
    Method("integrated_gradients", ".averaged:IntegratedGradientsAnalyzer", negative=AGAINST),
    Method(
        "smoothgrad",
        ".averaged:SmoothGradAnalyzer",
        signs=_not_postprocessed,
        seeded=True,
        negative=SLOPE,
    ),
    Method(
        "expected_gradients",
        ".expected_gradients:ExpectedGradientsAnalyzer",
        seeded=True,
        negative=AGAINST,
    ),
    Method("pattern.net", ".pattern:PatternNetAnalyzer", needs_patterns=True),
    Method(
        "pattern.attribution",
        ".pattern:PatternAttributionAnalyzer",
        needs_patterns=True,
        negative=AGAINST,
    ),
    Method("attention.rollout", ".rollout:AttentionRolloutAnalyzer", signs=_never),
    Method("grad_cam", ".cam:GradCAMAnalyzer", signs=_not_cut, cut=True, negative=AGAINST),
    Method(
        "grad_cam_plus_plus",
        ".cam:GradCAMPlusPlusAnalyzer",
        signs=_not_cut,
        cut=True,
        negative=AGAINST,
    ),
    Method(
        "hires_cam", ".cam:HiResCAMAnalyzer", signs=_not_cut_by_default, cut=True, negative=AGAINST
    ),
    Method("layer_cam", ".cam:LayerCAMAnalyzer", signs=_not_cut, cut=True, negative=AGAINST),
    Method("deep_lift", ".deep_lift:DeepLIFTAnalyzer", negative=AGAINST),
    Method("occlusion", ".masked:OcclusionAnalyzer", negative=AGAINST),
    Method("rise", ".masked:RISEAnalyzer", signs=_of_logits, seeded=True),
    Method("input", ".controls:InputAnalyzer"),
    Method("random", ".controls:RandomAnalyzer", seeded=True),
    Method("lrp", ".lrp:LRPAnalyzer"),
    _preset("lrp.z", "z"),
    _preset("lrp.epsilon", "epsilon"),
    _preset("lrp.w_square", "w_square", _never),
    _preset("lrp.flat", "flat", _never),
    _preset("lrp.alpha_beta", "alpha_beta", _has_beta),
    _preset("lrp.alpha_2_beta_1", "alpha_beta", alpha=2, beta=1, bias=True),
    _preset("lrp.alpha_2_beta_1_IB", "alpha_beta", alpha=2, beta=1, bias=False),
    _preset("lrp.alpha_1_beta_0", "alpha_beta", _never, alpha=1, beta=0, bias=True),
    _preset("lrp.alpha_1_beta_0_IB", "alpha_beta", _never, alpha=1, beta=0, bias=False),
    _preset("lrp.z_plus", "alpha_beta", _never, alpha=1, beta=0, bias=False),
    _preset("lrp.z_plus_fast", "z_plus_fast", _never),
    _preset("lrp.sequential_preset_a", "sequential", alpha=1, flat=False),
    _preset("lrp.sequential_preset_b", "sequential", alpha=2, flat=False),
    _preset("lrp.sequential_preset_a_flat", "sequential", alpha=1, flat=True),
    _preset("lrp.sequential_preset_b_flat", "sequential", alpha=2, flat=True),
    _preset("lrp.epsilon_plus", "epsilon_plus"),
    _preset("lrp.epsilon_gamma_box", "epsilon_gamma_box"),
    _preset("deep_taylor", "deep_taylor", _never, bounded=False),
    _preset("deep_taylor.bounded", "deep_taylor", _never, bounded=True),
]


_OWN: dict[str, Method] = {}


def register_method(
    name: str, function: Callable[..., Any] | None = None, *, signed: bool = True
) -> Callable[..., Any]:
    """Makes a function of one's own a method, for `create_analyzer`, `compare` and the benchmark.

    Also a decorator, `@register_method("mine")`. On the command line, `FILE.py:function` names one
    without registering it.

    Args:
        name: What the method is called. One of one's own can be registered again.
        function: `function(model, x, neurons, **options) -> maps`. It is given the Keras model as it is
            (with its softmax, if it has one), samples as the model takes them, `(batch, ...)` (a list
            of them for several inputs), and the neuron of each sample, integers `(batch,)` (0 for a
            model with one output; if its class 0 is explained, signed maps are negated); and
            returns the maps, of the shape of x, or without the channels (a value for each pixel, which
            its channels share). Its further parameters are options of the method.
        signed: Whether its maps have both signs: the benchmark cuts these at 0, others at their mean.

    Returns:
        The function; without one, what decorates it.

    Raises:
        InputError: The name is that of a method of the package, or the function takes too little.
    """
    if function is None:
        return lambda decorated: register_method(name, decorated, signed=signed)
    if any(method.name == name for method in METHODS):
        raise InputError(f"Expected a name that no method of rap_keras has, got {name!r}.", "name")
    if not isinstance(name, str) or not name or set(name) & set(",:"):
        raise InputError(f"Expected a name without commas and colons, got {name!r}.", "name")
    _OWN[name] = _own(name, function, signed)
    return function


def _own(name: str, function: Callable[..., Any], signed: bool) -> Method:
    if len(inspect.signature(function).parameters) < 3:
        raise InputError(
            f"Expected a function of a model, samples and neurons for the method {name!r}, got "
            f"{getattr(function, '__name__', 'one')}{inspect.signature(function)}.",
            "function",
        )
    return Method(name, ".own:FunctionAnalyzer", _always if signed else _never, function=function)


def find_method(name: str) -> Method | None:
    """The record of a method; None for a name that is none, as iNNvestigate has more."""
    return next((method for method in (*METHODS, *_OWN.values()) if method.name == name), None)


def needs_patterns(name: str) -> bool:
    """Whether a method cannot do without patterns."""
    method = find_method(name)
    return method is not None and method.needs_patterns


def is_seeded(name: str) -> bool:
    """Whether a method draws at random, from a seed."""
    method = find_method(name)
    return method is not None and method.seeded


def read_method(name: str) -> Method:
    """The record of a method.

    Raises:
        InputError: There is none of that name.
    """
    method = find_method(name)
    if method is None and names_function(str(name)):
        path, _, function = name.rpartition(":")
        try:
            loaded = load_function(Path(path), function)
        except Exception as error:
            raise InputError(
                f"Expected a function in a Python file, got {name!r}, which cannot be loaded "
                f"({type(error).__name__}: {first_line(error)})."
            ) from error
        method = _OWN[name] = _own(name, loaded, signed=True)
    if method is None:
        raise unknown_method(name)
    return method


def check_name(name: str) -> None:
    """Refuses unknown methods, as far as that is known without loading TensorFlow.

    Raises:
        InputError: There is no method, or no Python file, of that name.
    """
    if names_function(name):
        check_file(Path(name.rpartition(":")[0]), "Python file")
    elif find_method(name) is None:
        raise unknown_method(name)


def refuse_unknown(name: str, options: Iterable[str], known: Sequence[str]) -> None:
    """Refuses options that a method does not have.

    Args:
        name: The method.
        options: The given options.
        known: The options that it has.

    Raises:
        InputError: An option is unknown.
    """
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known, 1)
            raise InputError(
                f"Expected options of {name!r} among {', '.join(known)}, got {option!r}"
                + (f"; {hint}" if hint else ".")
            )


def unknown_method(name: object) -> InputError:
    """The error about an unknown method."""
    hint = did_you_mean(str(name), analyzer_names())
    listed = "rap-keras methods and rap_keras.analyzer_names() list all"
    return InputError(
        f"There is no method {name!r}: {hint} ({listed}.)"
        if hint
        else f"There is no method {name!r}: {listed}."
    )


def name_of(analyzer: type) -> str:
    """The name of the method of an analyzer's class; of one that is not in the table, its own."""
    homes = {method.home: method.name for method in METHODS}
    for base in analyzer.__mro__:
        home = f"{base.__module__}:{base.__qualname__}"
        name = homes.get(home) or homes.get(home.removeprefix(__package__ or ""))
        if name:
            return name
    return analyzer.__name__


def analyzer_names() -> list[str]:
    """The names that `create_analyzer` knows."""
    return [method.name for method in (*METHODS, *_OWN.values())]
