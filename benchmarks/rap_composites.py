"""Composites with RAP's rules in convolutions, as methods of the benchmark.

Each function is one of the candidates that rap.epsilon was chosen from. Others are options of
rap.epsilon, such as rap.epsilon:local=0.5.

Example: rap-keras benchmark --methods rap.epsilon,benchmarks/rap_composites.py:cut --metrics grid
"""

import functools

from rap_keras import tensors as ops
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.composite import Composite, table
from rap_keras.composites.rap import EPSILON, RAP
from rap_keras.network import layer_types as types
from rap_keras.network.linear import pullback
from rap_keras.rules import kernel_rule, layer_rule, lrp, rap, routing

POOLS = {"GlobalAveragePooling1D", "GlobalAveragePooling2D", "Flatten"}


@kernel_rule
def centred_weights(stage, relevance, facts):
    """LRP-epsilon for the weights of the class minus the mean weights of all classes."""
    kernel = stage.kernel - ops.mean(stage.kernel, axis=-1, keepdims=True)
    z, back = pullback(stage.with_kernel(kernel), stage.x)
    small = 1e-6 * ops.ones_like(z)
    return stage.x * back(relevance / (z + ops.where(z >= 0, small, -small)))


@layer_rule
def cut_rule(layer, inputs, outputs, relevances, recompute, transposed, *, left=0.0, places=False):
    """Cuts negative relevance where it enters the convolutions, and keeps the sum.

    `left` is the part of the negative relevance that is kept. With `places`, whole positions are cut,
    whose channels sum to less than 0.
    """
    if types.is_a(layer, {"Flatten"}):
        shared = transposed(relevances)[0]
    else:
        shared = routing.in_proportion(layer, inputs, outputs, relevances, recompute=recompute)[0]
    if places:
        kept = shared * ops.cast(ops.sum(shared, -1, keepdims=True) > 0, shared.dtype)
    else:
        kept = ops.relu(shared) - left * ops.relu(-shared)
    axes = list(range(1, len(shared.shape)))
    total, of_kept = (ops.sum(r, axes, keepdims=True) for r in (shared, kept))
    return [kept * ops.divide_no_nan(total, of_kept)]


@kernel_rule
def by_power(stage, relevance, facts, *, power):
    """Eqs. 7-9, with the shift in proportion to |C|**power. It is not linear in R."""
    before, _ = rap._shared(stage, relevance, facts.nonnegative)
    weights = ops.exp(power * ops.log(ops.abs(before) + 1e-30))
    return rap.shift(before, weights, relevance, stage.samples)


def _epsilon(size):
    return functools.partial(lrp.epsilon, epsilon=size, bias=False)


def _gamma(size):
    return functools.partial(lrp.gamma, gamma=size, signed=True)


def _composite(dense=EPSILON, last=None, pool=None, inner=rap.inner):
    rules = RAP | table((types.KERNEL, inner))
    if pool is not None:
        rules |= table((POOLS, pool))
    return Composite(rules, first=rap.first, last=last or dense, dense=dense)


CANDIDATES = {
    "last_only": _composite(None, EPSILON),
    "every_dense": Composite(
        RAP | table(({"Dense", "EinsumDense"}, EPSILON)), first=rap.first, last=EPSILON
    ),
    "epsilon_01": _composite(_epsilon(0.1)),
    "epsilon_1": _composite(_epsilon(1.0)),
    "gamma_025": _composite(_gamma(0.25)),
    "gamma_1": _composite(_gamma(1.0)),
    "centred": _composite(last=centred_weights),
    "cut": _composite(pool=cut_rule),
    "cut_half": _composite(pool=functools.partial(cut_rule, left=0.5)),
    "cut_places": _composite(pool=functools.partial(cut_rule, places=True)),
    "shift_by_root": _composite(inner=functools.partial(by_power, power=0.5)),
    "shift_by_size": _composite(inner=functools.partial(by_power, power=1.0)),
}
_analyzers = {}


def _method(name):
    def explain(model, x, neurons):
        if (name, id(model)) not in _analyzers:
            _analyzers[name, id(model)] = PropagationAnalyzer(model, CANDIDATES[name])
        return _analyzers[name, id(model)].analyze(x, neurons)

    return explain


globals().update({name: _method(name) for name in CANDIDATES})
