"""PatternNet and PatternAttribution (Kindermans et al., ICLR 2018, arXiv 1705.05598).

Both propagate like the gradient, with other weights instead of each kernel w: PatternNet with the
pattern a (see `rap_keras.patterns`), PatternAttribution with w a, element by element. Activations gate
by their gradient. The paper also covers max-pooling. Other layers without weights propagate their
gradient too; `scaling` explains the choice for fixed affine maps.

With `project`, relevance at a bottleneck is divided by its largest absolute value, sample by sample, as
in iNNvestigate 1.0.9. It grows or shrinks with every layer, and only its direction has a meaning.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.linear import Stage, back_of
from rap_keras.rules import Shares, TensorMap, Tensors, layer_rule
from rap_keras.rules.arithmetic import divide


def stage_names(name: str, count: int) -> list[str]:
    """The names of the patterns of a kernel layer: its name, or "name[0]", ... for several stages."""
    return [name] if count == 1 else [f"{name}[{k}]" for k in range(count)]


@layer_rule
def net(
    relevances: Tensors,
    stages: Sequence[Stage],
    before_activation: TensorMap,
    name: str,
    bottleneck: bool,
    *,
    patterns: Mapping[str, Any],
    project: bool = True,
) -> Shares:
    """PatternNet: the transposed map with the pattern as kernel, R_i = sum_j a_ij f'(z_j) R_j."""
    kernels = _kernels(patterns, stages, name)
    return _back(kernels, stages, before_activation, received(relevances, project and bottleneck))


@layer_rule
def attribution(
    relevances: Tensors,
    stages: Sequence[Stage],
    before_activation: TensorMap,
    name: str,
    bottleneck: bool,
    *,
    patterns: Mapping[str, Any],
    project: bool = True,
) -> Shares:
    """PatternAttribution: kernel times pattern as kernel, R_i = sum_j w_ij a_ij f'(z_j) R_j."""
    pairs = zip(_kernels(patterns, stages, name), stages, strict=True)
    kernels = [kernel * stage.kernel for kernel, stage in pairs]
    return _back(kernels, stages, before_activation, received(relevances, project and bottleneck))


def _kernels(patterns: Mapping[str, Any], stages: Sequence[Stage], name: str) -> list[ops.Tensor]:
    """The patterns of a layer's stages, in their dtype."""
    # A program captures tensors that are made outside it; a graph cannot store 2 GB of constants.
    with ops.at_once():
        return [
            ops.constant(patterns[key], stage.x.dtype)
            for key, stage in zip(stage_names(name, len(stages)), stages, strict=True)
        ]


def _back(
    kernels: Sequence[ops.Tensor],
    stages: Sequence[Stage],
    before_activation: TensorMap,
    relevances: Tensors,
) -> list[ops.Tensor]:
    (relevance,) = before_activation(relevances)
    for stage, kernel in zip(reversed(stages), reversed(kernels), strict=True):
        back = back_of(stage.with_kernel(kernel), stage.x)
        relevance = back(relevance)
    return [ops.cast(relevance, relevances[0].dtype)]


@layer_rule
def scaling(
    relevances: Tensors,
    transposed: TensorMap,
    bottleneck: bool,
    *,
    project: bool = True,
    patterns: bool = True,
) -> Shares:
    """Fixed affine maps of each element, y = g x + c: BatchNormalization, Rescaling, Dropout.

    As a linear layer with one weight g, its pattern is 1 / g: all of x is signal. So PatternNet divides
    by g, and PatternAttribution (`patterns=False`) passes relevance on, g (1 / g) = 1. Together with
    the kernel layer next to it, this is the same as the single linear layer that both fold into.
    """
    given = received(relevances, project and bottleneck)
    if not patterns:
        return given
    scale = transposed([ops.ones_like(r) for r in given])
    return [divide(r, g) for r, g in zip(given, scale, strict=True)]


@layer_rule
def follow(
    relevances: Tensors, transposed: TensorMap, bottleneck: bool, *, project: bool = True
) -> Shares:
    """Activations, pooling, sums and layers that only move values: the gradient."""
    return transposed(received(relevances, project and bottleneck))


def received(relevances: Tensors, project: bool) -> list[ops.Tensor]:
    """The relevances that a node starts from: projected or as they are."""
    return [projected(r) for r in relevances] if project else list(relevances)


def projected(relevance: ops.Tensor) -> ops.Tensor:
    """Relevance divided by its largest absolute value in each sample, so that it lies in [-1, 1].

    Vectors, of shape (batch, n), stay unchanged, as in iNNvestigate 1.0.9.
    """
    rank = len(relevance.shape)
    if rank < 3:
        return relevance
    size = ops.max(ops.abs(relevance), list(range(1, rank)), keepdims=True)
    return divide(relevance, size)


def start(selected: ops.Tensor, mode: str, project: bool) -> ops.Tensor:
    """The relevance of the logits: the selected ones, or the sign of the largest with `project`.

    iNNvestigate 1.0.9 projects the largest logit, one number per sample, to the number over its
    absolute value.
    """
    return ops.sign(selected) if project and mode == "max_activation" else selected


def projects(project: bool, mode: str) -> bool:
    """Whether to project. Not in mode "index", as in iNNvestigate 1.0.9.

    There the index of the neuron is a separate input, which bypasses all layers.
    """
    return project and mode != "index"
