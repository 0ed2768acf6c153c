"""Rules: how the relevance of a layer's outputs is distributed among its inputs.

A rule is a function

    rule(layer, inputs, outputs, relevances) -> list of relevances, one per input tensor, same shapes

of tensors of Keras' backend. `relevances` has one tensor per output. Relevances have at least single
precision. None in the returned list means that an input gets nothing. A rule is written with `keras.ops`
and then runs on every backend. It may be compiled, so it selects by value with `keras.ops.where` and not
with `if`. The rules here use `rap_keras.tensors`, which has the same names and also serves Keras 2.

A rule can request more facts by naming them as keyword-only arguments. If the argument has no default
value, the rule applies only where the fact is known. A rule does not differentiate by itself: the ways
back through a layer are `transposed`, the `back` of a stage, and `rap_keras.network.linear.pullback` of
a function of `recompute`. The facts are:

    name          the node's name, unique in the model
    bottleneck    whether the node's output lies on every path to the model's output
    stages        list of `rap_keras.network.linear.Stage`: a kernel layer's maps, already computed; for
                  class 0 of one sigmoid the last layer's have kernel and bias of the other sign
    nonnegative   whether all inputs are known to be >= 0
    rectified     whether a ReLU cuts every output, so that relevance is 0 where it is not positive
    box           (low, high): bounds of the image, taken to this layer; tensors of the input's shape
    before_activation  back through the activation and the bias of a kernel layer alone: relevances ->
                  list with that of the last stage's z
    transposed    the layer's transposed map, its gradient: relevances -> list, one per input
    recompute     the layer for other inputs, with the same masks: inputs -> list of outputs
    starts_constant  whether a constant precedes the tensors, as in 1 / x
    left_out      whether the layer's own activation is left out, such as the softmax of a head
    gates         for each input of a product, whether it is a gate (bounded, broadcast over the others,
                  or computed from their statistics)
    statistics    for each input, whether it is computed only from constants, or only from statistics
                  (means, ...) of another input
    samples       the batch axes of the inputs and of the outputs
    padded        where the input of a max-pooling is padding, right before it; None if nothing is
    position      the position embedding that a sum adds and that takes a share; None elsewhere
    drops         whether relevance may arrive at constants: padding, or a constant that is joined
    weights       for each input, whether it is bounded, as attention weights are

Two decorators make such functions from shorter ones. A `layer_rule` takes only those of layer, inputs,
outputs, relevances and these facts that it names. A `kernel_rule` is one step back through a linear map
of a kernel layer:

    @kernel_rule
    def z_plus(stage, relevance, facts):
        z, back = pullback(stage.with_kernel(ops.relu(stage.kernel)), stage.x)
        return stage.x * back(divide(relevance, z))
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rap_keras import tensors as ops
from rap_keras.network import linear
from rap_keras.network.linear import Stage

Tensors = Sequence[ops.Tensor]
Shares = list[Any]
Rule = Callable[..., Shares]
TensorMap = Callable[[Any], list[Any]]
Samples = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Facts:
    """Facts about one map of a kernel layer that a step back through it can use.

    Attributes:
        layer: The layer.
        nonnegative: Whether the input of this map is known to be >= 0.
        rectified: Whether a ReLU cuts every output of this map.
        is_first: Whether this is the layer's first map, whose input is the layer's input.
        is_last: Whether this is its last map. Only separable convolutions have several.

    Example:
        >>> import keras
        >>> @rap_keras.rules.kernel_rule
        ... def show(stage, relevance, facts):
        ...     print(facts.is_first, facts.is_last, facts.nonnegative)
        ...     return stage.x * 0
        >>> layer, x = keras.layers.Dense(1), keras.ops.ones((1, 2))
        >>> _ = show(layer, [x], [layer(x)], [layer(x)], nonnegative=True)
        True True True
    """

    layer: Any
    nonnegative: bool
    rectified: bool
    is_first: bool
    is_last: bool


def kernel_rule(step: Callable[..., ops.Tensor]) -> Rule:
    """Makes a rule of kernel layers from a step back through one of their maps.

    Args:
        step: `step(stage, relevance, facts, *, options) -> relevance`: from the relevance at the output
            of a `rap_keras.network.linear.Stage` to the relevance at its input. It can request facts of
            the layer as keyword-only parameters, such as `box`.

    Returns:
        The rule.

    Example:
        >>> import keras
        >>> @rap_keras.rules.kernel_rule
        ... def z_rule(stage, relevance, facts):
        ...     return stage.x * stage.back(relevance / stage.z)
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = z_rule(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """

    @functools.wraps(step)
    def rule(
        layer: Any,
        inputs: Tensors,
        outputs: Tensors,
        relevances: Tensors,
        *,
        stages: Sequence[Stage] | None = None,
        nonnegative: bool = False,
        rectified: bool = False,
        **options: Any,
    ) -> Shares:
        stages = stages or linear.stages(layer, inputs[0])
        relevance, last = relevances[0], len(stages) - 1
        for k in range(last, -1, -1):
            # Facts of the layer hold for the first map's input and the last map's output.
            known = nonnegative and k == 0, rectified and k == last
            facts = Facts(layer, *known, is_first=k == 0, is_last=k == last)
            relevance = step(stages[k], relevance, facts, **options)
        return [relevance]

    options = list(inspect.signature(step).parameters.values())[3:]
    return _signed(rule, [*_parameters(rule)[:-1], *options])


def layer_rule(function: Callable[..., Shares]) -> Rule:
    """Makes a rule from a function that takes only the arguments that it names.

    Args:
        function: Its parameters are any of layer, inputs, outputs, relevances and the facts, and its
            options. If the caller does not give `transposed`, `recompute` or `samples`, they are
            computed.

    Returns:
        The rule.

    Example:
        >>> @rap_keras.rules.layer_rule
        ... def pass_on(relevances):
        ...     return list(relevances)
        >>> pass_on("layer", ["x"], ["y"], ["relevance"])
        ['relevance']
    """
    requested = inspect.signature(function).parameters

    @functools.wraps(function)
    def rule(
        layer: Any, inputs: Tensors, outputs: Tensors, relevances: Tensors, **known: Any
    ) -> Shares:
        for fact in requested.keys() & _FILLED.keys():
            if known.get(fact) is None:
                known[fact] = _FILLED[fact](layer, inputs, outputs)
        given = {"layer": layer, "inputs": inputs, "outputs": outputs, "relevances": relevances}
        return function(**{name: given[name] for name in requested.keys() & given.keys()}, **known)

    general = _parameters(rule)[:-1]
    further = [
        p.replace(kind=p.KEYWORD_ONLY, default=None if p.name in _FILLED else p.default)
        for p in requested.values()
        if p.name not in {other.name for other in general}
    ]
    return _signed(rule, [*general, *further])


def _parameters(rule: Rule) -> list[inspect.Parameter]:
    return list(inspect.signature(rule, follow_wrapped=False).parameters.values())


def _signed(rule: Rule, parameters: Iterable[inspect.Parameter]) -> Rule:
    """The rule with a signature for `inspect`: the general form and its options."""
    cast(Any, rule).__signature__ = inspect.Signature(list(parameters))
    return rule


def _vjp(layer: Any, inputs: Tensors, relevances: Tensors) -> list[Any]:
    """The transposed map of a layer, computed in the layer's dtype; relevances keep theirs."""
    outputs, back = ops.vjp(lambda xs: _called(layer, xs), inputs)
    values = [ops.cast(r, y.dtype) for r, y in zip(relevances, outputs, strict=True)]
    return [ops.cast(g, relevances[0].dtype) for g in back(values)]


def _called(layer: Any, inputs: Tensors) -> list[Any]:
    return [layer(inputs[0] if len(inputs) == 1 else list(inputs))]


# Facts that `layer_rule` computes if they are not given.
_FILLED: dict[str, Callable[[Any, Tensors, Tensors], Any]] = {
    "transposed": lambda layer, inputs, outputs: functools.partial(_vjp, layer, inputs),
    "recompute": lambda layer, inputs, outputs: lambda xs: [layer(*xs)],
    "samples": lambda layer, inputs, outputs: ([0] * len(inputs), [0] * len(outputs)),
}


def facts_of(rule: Rule, facts: Collection[str]) -> set[str]:
    """The names of the facts that a rule requests, out of those that exist."""
    parameters = inspect.signature(rule).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in facts}


def required_facts(rule: Rule) -> set[str]:
    """The names of the facts without which a rule cannot work."""
    parameters = inspect.signature(rule).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}


def with_facts(rule: Rule, facts: Mapping[str, Callable[[], Any]]) -> Rule:
    """A rule with the facts that it requests filled in; only these are computed."""
    return functools.partial(rule, **{name: facts[name]() for name in facts_of(rule, facts)})


def name_of(rule: Rule) -> str:
    """A rule's name as tables show it: module, function and given options."""
    if isinstance(rule, functools.partial):
        options = ", ".join(
            f"{key}={name_of(value) if callable(value) else repr(value)}"
            for key, value in rule.keywords.items()
        )
        return f"{name_of(rule.func)}({options})"
    module = rule.__module__.removeprefix("rap_keras.rules.")
    return f"{module}.{getattr(rule, '__qualname__', type(rule).__name__)}"
