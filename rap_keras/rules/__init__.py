"""The rules: how a layer's relevance is shared among its inputs.

A rule is a function

    rule(layer, inputs, outputs, relevances) -> list of relevances, one per input tensor, same shapes

of tensors inside a TensorFlow graph, where `tf.gradients(outputs, inputs, ...)` gives the layer's
transposed map. `relevances` has one tensor per output, in at least single precision, and so has what is
returned; None stands for an input that gets nothing. A rule that needs to know more asks for it by the
name of a keyword-only argument; one without a default value makes the rule apply only where the fact is
known:

    name          the node's name, unique in the model
    bottleneck    whether everything passes the node's output on its way to the model's output
    stages        list of `rap_keras.network.linear.Stage`: a kernel layer's maps, already computed; for
                  class 0 of one sigmoid the last layer's have kernel and bias of the other sign
    nonnegative   whether all inputs are known to be >= 0
    rectified     whether a ReLU cuts every output, so that relevance is 0 where it is not positive
    box           (low, high): bounds of the image, pushed to this layer; tensors of the input's shape
    before_activation  back through the activation and the bias of a kernel layer alone: relevances ->
                  list with that of the last stage's z
    transposed    the layer's transposed map, faster than tf.gradients: relevances -> list, one per input
    recompute     the layer for other inputs, under the same masks: inputs -> list of outputs
    starts_constant  whether a constant comes before the tensors, as in 1 / x
    left_out      whether the layer's own activation is left out, as the softmax of a head is
    gates         for each input of a product, whether it is a gate (bounded, broadcast over the others,
                  or made of their statistics)
    statistics    for each input, whether it is made of constants, or of statistics (means, ...) of
                  another, alone
    samples       the axes of the samples, in the inputs and in the outputs
    padded        where the input of a max-pooling is padding, right before it; None where nothing is
    drops         whether relevance may arrive at constants: padding, or what a tensor is joined with
    weights       for each input, whether it is bounded, as the weights of an attention are
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

Tensors = Sequence[tf.Tensor]
Rule = Callable[..., list[Any]]
TensorMap = Callable[[Any], list[Any]]
Samples = tuple[Sequence[int], Sequence[int]]


def facts_of(rule: Rule, facts: Collection[str]) -> set[str]:
    """Names of the facts that a rule asks for and could be told."""
    parameters = inspect.signature(rule).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in facts}


def required_facts(rule: Rule) -> set[str]:
    """Names of the facts without which a rule cannot work."""
    parameters = inspect.signature(rule).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}


def told(rule: Rule, facts: Mapping[str, Callable[[], Any]]) -> Rule:
    """A rule with the facts that it asks for filled in; facts are computed only when asked for."""
    return functools.partial(rule, **{name: facts[name]() for name in facts_of(rule, facts)})


def name_of(rule: Rule) -> str:
    """A rule's name as tables show it: module, function and the options it was given."""
    if isinstance(rule, functools.partial):
        options = ", ".join(
            f"{key}={name_of(value) if callable(value) else repr(value)}"
            for key, value in rule.keywords.items()
        )
        return f"{name_of(rule.func)}({options})"
    module = rule.__module__.removeprefix("rap_keras.rules.")
    return f"{module}.{getattr(rule, '__qualname__', type(rule).__name__)}"
