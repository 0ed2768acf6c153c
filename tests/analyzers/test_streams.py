"""Batches one after the other, of every kind that models are trained on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import plain
from helpers.streams import Pages, batched
from helpers.tensors import BACKEND, tensor

from rap_keras import InputError, create_analyzer

pytestmark = pytest.mark.core
LABELS = np.arange(7)
STREAMS = {
    "generator": lambda x: (x[k : k + 3] for k in (0, 3, 6)),
    "generator of pairs": lambda x: ((x[k : k + 3], LABELS[k : k + 3]) for k in (0, 3, 6)),
    "iterator": lambda x: iter([x[:3], x[3:6], x[6:]]),
    "tensors": lambda x: (tensor(x[k : k + 3]) for k in (0, 3, 6)),
    "PyDataset": lambda x: Pages(x, 3),
    "PyDataset of pairs": lambda x: Pages(x, 3, LABELS),
    "of the backend": lambda x: batched(x, 3),
    "pairs of the backend": lambda x: batched(x, 3, LABELS),
}


@pytest.fixture(scope="module")
def analyzer():
    keras.utils.set_random_seed(0)
    return create_analyzer("rap", plain())


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(7, 12, 12, 3)).astype(np.float32)


@pytest.mark.parametrize("name", STREAMS)
def test_a_map_for_each_batch(name, analyzer, x):
    expected = analyzer.explain(x)
    maps = list(analyzer.analyze(STREAMS[name](x)))
    assert [len(batch) for batch in maps] == [3, 3, 1]
    assert_same(np.concatenate(maps), expected.relevance)
    explained = list(analyzer.explain(STREAMS[name](x)))
    np.testing.assert_array_equal(
        np.concatenate([each.neurons for each in explained]), expected.neurons
    )
    assert_same(np.concatenate([each.logits for each in explained]), expected.logits)


def with_noise(method, x):
    options = {
        "smoothgrad": {"augment_by_n": 3},
        "rise": {"masks": 5, "score": "logit"},
        "expected_gradients": {"background": x, "draws": 3},
    }
    return create_analyzer(method, plain(), seed=1, **options.get(method, {}))


NOISY = ["smoothgrad", "random", "rise", "expected_gradients"]


@pytest.mark.parametrize("method", NOISY)
def test_the_noise_is_that_of_the_whole(method, x):
    analyzer = with_noise(method, x)
    maps = list(analyzer.analyze(STREAMS["generator"](x)))
    assert_same(np.concatenate(maps), analyzer.analyze(x))


@pytest.mark.parametrize("method", [*NOISY, "integrated_gradients"])
def test_another_thread_that_calls_the_analyzer_changes_no_map(method, x, monkeypatch):
    if method == "integrated_gradients":
        references = np.stack([np.zeros((12, 12, 3)), np.ones((12, 12, 3))])[None]
        analyzer = create_analyzer(method, plain(), steps=3, reference_inputs=references)
    else:
        analyzer = with_noise(method, x)
    expected, logits_of = analyzer.analyze(x), analyzer._logits_of
    this, found = threading.get_ident(), []

    def interrupted(arrays):
        if threading.get_ident() == this:
            with ThreadPoolExecutor(1) as thread:
                found.append(thread.submit(analyzer.analyze, x[:2]).result())
        return logits_of(arrays)

    monkeypatch.setattr(analyzer, "_logits_of", interrupted)
    maps = list(analyzer.analyze(STREAMS["generator"](x)))
    assert_same(np.concatenate(maps), expected)
    assert len(found) >= 3
    for other in found:
        assert_same(other, expected[:2])


def test_a_batch_is_taken_when_the_map_before_it_is_done(analyzer, x):
    taken = []

    def stream():
        for k in (0, 3):
            taken.append(k)
            yield x[k : k + 3]

    maps = analyzer.analyze(stream())
    assert taken == []
    next(maps)
    assert taken == [0]
    next(maps)
    assert taken == [0, 3]


@pytest.mark.parametrize("method", ["analyze_layers", "conservation", "concepts"])
@pytest.mark.parametrize("name", ["generator", "PyDataset", "of the backend"])
def test_what_takes_no_stream_says_so(name, method, analyzer, x):
    more = ["logits"] if method == "concepts" else []
    with pytest.raises(InputError, match="only analyze and explain accept batches one after"):
        getattr(analyzer, method)(STREAMS[name](x), *more)


@pytest.mark.skipif(BACKEND != "torch", reason="a DataLoader needs PyTorch")
def test_a_loader_with_workers_and_several_inputs():
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    inputs = [keras.Input((3,), name="a"), keras.Input((2,), name="b")]
    joined = keras.layers.Concatenate()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4)(joined))
    x = [np.random.default_rng(1).normal(size=(5, n)).astype("float32") for n in (3, 2)]
    loader = DataLoader(TensorDataset(*map(torch.from_numpy, x)), 2)
    analyzer = create_analyzer("gradient", model)
    expected = analyzer.analyze(x, 1)
    found = list(analyzer.analyze((([a, b], None) for a, b in loader), 1))
    for k in range(2):
        assert_same(np.concatenate([maps[k] for maps in found]), expected[k])
