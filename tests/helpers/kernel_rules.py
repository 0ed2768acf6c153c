"""Every rule of kernel layers with its slow definition. All of them must pass the same tests."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from helpers import layer_cases as cases
from helpers import reference
from helpers.tensors import array, graphed, tensor
from rap_keras.network import linear
from rap_keras.rules import Rule, lrp, name_of, rap, rap_released, required_facts

L = keras.layers
KINDS = ("signed", "nonnegative", "sparse")


@dataclass(frozen=True)
class Definition:
    """A rule and its expected result.

    Attributes:
        rule: The rule, with its options.
        steps: `steps(case, biases, low, high)`: for each map of a layer, the slow function
            `(x, matrix, relevance, seen) -> shares` of one sample.
        kinds: The kinds of input that it is defined for.
        conserves: Whether it keeps the sum of each sample, also with neurons without contributions.
        of_places: Whether it ignores the weights.
        tolerance: In double precision, as a share of the largest element.
    """

    rule: Rule
    steps: Callable[..., list[Any]]
    kinds: tuple[str, ...] = KINDS
    conserves: bool = False
    of_places: bool = False
    tolerance: float = 1e-10

    def __repr__(self) -> str:
        return name_of(self.rule)

    def __call__(self, layer, x, r, low, high, **facts):
        """The shares of the input."""
        if "box" in required_facts(self.rule):
            facts["box"] = (low, high)
        return self.rule(layer, [x], [], [r], **facts)[0]

    def computed(self, case, arrays, dtype="float64", in_graph=False, **facts):
        """The shares of a case."""
        layer = cases.build(case, dtype)

        def function(x, *others):
            return self(layer, x, *others, stages=linear.stages(layer, x), **facts)

        run = cases.outside_a_graph(case, function)
        if in_graph:
            run = graphed(function)
        return array(run(*map(tensor, arrays)))

    def expected(self, case, arrays, dtype="float64"):
        """The result of the slow definition."""
        matrices, shapes = cases.matrices(case, dtype)
        none = [np.zeros(matrix.shape[1]) for matrix in matrices[:-1]]
        biases = [*none, reference.bias_of(cases.build(case, dtype), shapes[-1]).ravel()]
        seen = cases.seen(case)
        samples = []
        for x, r, low, high in zip(*arrays, strict=True):
            bounds = [a.astype(float).ravel() for a in (low, high)]
            steps = self.steps(case, biases, *bounds, x.astype(float).ravel())
            maps = seen if self.of_places else matrices
            samples.append(reference.layer_rule(steps, maps, x[None], r[None], seen)[0])
        return np.stack(samples)

    def agrees(self, case, arrays, found, dtype="float64"):
        """Asserts that the shares are those of the definition."""
        expected = self.expected(case, arrays, dtype)
        assert found.dtype == dtype
        tolerance = self.tolerance
        if dtype == "float32":  # small totals make large shares and large rounding errors
            tolerance = 1e-4 * max(1, 0.1 * np.abs(expected).max() / np.abs(arrays[1]).max())
        cases.close(found, expected, tolerance)


def box_of(case, kind):
    """Bounds around the input; a fifth of the elements is known exactly, as padding is."""
    x = cases.inputs(case, kind)
    rng = cases.generator(case.name, kind, "box")
    known = rng.random(x.shape) < 0.2
    low, high = (np.where(known, 0, rng.random(x.shape)) for _ in range(2))
    return x - low, x + high


def arrays_of(case, kinds=KINDS, dtype="float64"):
    """x, R, low and high: all kinds of input in one batch, because sums are per sample."""
    parts = [(cases.inputs(case, k), cases.relevance(case), *box_of(case, k)) for k in kinds]
    return [np.concatenate(part).astype(dtype) for part in zip(*parts, strict=True)]


def takes_images(case):
    """What the released code takes for an image: the input of a convolution of three channels."""
    layer = cases.build(case)
    first = getattr(layer, "data_format", None) == "channels_first"
    return isinstance(layer, L.Conv1D | L.Conv2D | L.Conv3D) and case.shape[0 if first else -1] == 3


def _rap(last=reference.inner, in_box=None):
    def steps(case, biases, low, high, x):
        found = [*[reference.inner] * (len(biases) - 1), last]
        return [functools.partial(in_box, low=low, high=high), *found[1:]] if in_box else found

    return steps


def _lrp(name, **options):
    def steps(case, biases, low, high, x):
        return [
            functools.partial(getattr(reference, f"lrp_{name}"), b=b, **options) for b in biases
        ]

    rule = functools.partial(getattr(lrp, name), **options) if options else getattr(lrp, name)
    return rule, steps


def _lrp_box(case, biases, low, high, x):
    """Only the first map has the box. Later maps share by z."""
    first = functools.partial(reference.lrp_box, b=0, low=low, high=high)
    behind = functools.partial(reference.lrp_epsilon, b=0, bias=False)
    return [first, *[behind] * (len(biases) - 1)]


def _released(case, biases, low, high, x):
    if takes_images(case):
        box = {"low": np.full_like(x, x.min()), "high": np.full_like(x, x.max())}
        return [lambda x, matrix, r, seen: reference.first(x, matrix, r, matrix, **box)]
    convolution = not isinstance(cases.build(case), L.Dense | L.EinsumDense)
    return [functools.partial(reference.released, convolution=convolution)] * len(biases)


LRP = {
    "epsilon": [{"epsilon": e, "bias": b} for b in (False, True) for e in (0.0, 1e-7, 0.1)],
    "alpha_beta": [
        {"bias": "none"},
        {"bias": "none", "one_sided": True},
        {"bias": "split", "one_sided": True},
        {"alpha": 1.5, "beta": 0.5, "bias": "whole"},
        {"alpha": 2.0, "beta": 1.0, "bias": "none"},
        {"alpha": 2.0, "beta": 1.0, "bias": "whole"},
        {"alpha": 2.0, "beta": 1.0, "positive_inputs": True},
        {"alpha": 1.0, "beta": 0.0, "bias": "split"},
        {"alpha": 1.5, "beta": 0.5, "bias": "split"},
        {"alpha": 2.0, "beta": 1.0, "bias": "split"},
    ],
    "gamma": [{"gamma": 3.0}, {"signed": True}, {}],
    "w_square": [{}],
    "flat": [{}],
}
# One of each rule.
ONE_OF_EACH = [
    Definition(rap.inner, _rap(), conserves=True),
    Definition(rap.head, _rap(reference.head), conserves=True),
    Definition(rap.first, _rap(in_box=reference.first), conserves=True),
    Definition(rap_released.linear_layer, _released),
    Definition(*_lrp("z_plus"), kinds=("nonnegative",), tolerance=1e-9),
    Definition(lrp.box, _lrp_box, tolerance=1e-9),
    *(
        Definition(*_lrp(name, **options[-1]), of_places=name == "flat", tolerance=1e-9)
        for name, options in LRP.items()
    ),
]
LOCAL = Definition(
    functools.partial(rap.inner, local=0.75),
    lambda case, biases, *_: [functools.partial(reference.inner, local=0.75)] * len(biases),
    conserves=True,
)
ALL = [*ONE_OF_EACH, LOCAL] + [
    Definition(*_lrp(name, **one), tolerance=1e-9)
    for name, options in LRP.items()
    for one in options[:-1]
]
