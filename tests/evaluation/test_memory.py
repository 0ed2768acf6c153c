"""Measures on many changed copies of an input need the memory of one batch of them."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from rap_keras import evaluation
from rap_keras.benchmark.metrics import METRICS
from rap_keras.benchmark.seeds import Purpose
from rap_keras.evaluation import robustness

RNG = np.random.default_rng(0)
X, MAP = RNG.normal(size=(40, 40, 3)).astype(np.float32), RNG.normal(size=(40, 40))


def predict(batch):
    assert len(batch) <= 4
    return batch.reshape(len(batch), -1)[:, :3]


def explain(inputs):
    assert len(inputs) <= 4
    return inputs.sum(-1)


SCENE, CHANGES = (predict, X, MAP, 1), (X, 0.1)
CALLS = {
    "perturbation_curve": lambda n: evaluation.perturbation_curve(*SCENE, n, batch_size=4),
    "deletion_curve": lambda n: evaluation.deletion_curve(*SCENE, steps=n, batch_size=4),
    "insertion_curve": lambda n: evaluation.insertion_curve(*SCENE, steps=n, batch_size=4),
    "faithfulness_correlation": lambda n: evaluation.faithfulness_correlation(
        *SCENE, samples=n, batch_size=4
    ),
    "infidelity of squares": lambda n: evaluation.infidelity(*SCENE, samples=n, batch_size=4),
    "infidelity of noise": lambda n: evaluation.infidelity(
        predict, X, X, 1, "noise", samples=n, batch_size=4
    ),
    "smoothed_map": lambda n: evaluation.smoothed_map(explain, *CHANGES, n, batch_size=4),
    "neighbours": lambda n: [
        robustness.distances(MAP, explain(inputs)).max()
        for inputs in robustness.neighbour_batches(*CHANGES, n, batch_size=4)
    ],
}


def peak(call, number):
    tracemalloc.start()
    try:
        call(number)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CALLS)
def test_memory_does_not_grow_with_the_number_of_copies(name):
    few, many = (peak(CALLS[name], number) for number in (5, 200))
    assert many < 1.5 * few


def test_batches_of_neighbours_equal_all_neighbours():
    batches = list(robustness.neighbour_batches(X, 0.3, 7, seed=4, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), evaluation.neighbours(X, 0.3, 7, seed=4))


def test_the_benchmark_explains_neighbours_batch_by_batch():
    """Each part gets its position, so that methods with noise do not repeat their noise."""
    calls = []

    def of_inputs(scene, x, stage=None, first=0):
        calls.append((len(x), stage, first))
        noise = [np.random.default_rng(first + k).normal(size=MAP.shape) for k in range(len(x))]
        return x.sum(-1) + np.stack(noise)

    changes = {"neighbours": 7, "batch_size": 3, "radius": 0.1, "seed": 1}
    scene = SimpleNamespace(x=X, position=2)
    shared = {}

    def once(name, compute):
        return shared[name] if name in shared else shared.setdefault(name, compute())

    view = SimpleNamespace(
        scene=scene, heatmap=MAP, maps=SimpleNamespace(of_inputs=of_inputs), once=once
    )
    (sensitivity,) = METRICS["max_sensitivity"].measure([view], **changes)
    (lipschitz,) = METRICS["local_lipschitz"].measure([view], **changes)
    assert calls == [(3, None, 0), (3, None, 3), (1, None, 6)]
    near = evaluation.neighbours(X, 0.1 * float(np.ptp(X)), 7, [1, 2, Purpose.NEIGHBOURS.value])
    maps = of_inputs(scene, near)
    assert sensitivity == evaluation.max_sensitivity(MAP, maps)
    assert lipschitz == evaluation.local_lipschitz(MAP, maps, X, near)
    del calls[:]
    METRICS["smprt"].measure([view], **changes)
    assert {size for size, *_ in calls} == {3, 1}
    assert [first for *_, first in calls] == [0, 3, 6] * (len(calls) // 3)
