"""Settings of every test."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tf.keras is Keras 2, for iNNvestigate
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of one worker would wait for the other's
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy's

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _no_methods_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is known in that test only."""
    from rap_keras.analyzers import registry

    monkeypatch.setattr(registry, "_OWN", {})


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same at every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def _tensorflow_seeded() -> None:
    import keras  # here, for a process that only hands out tests needs none

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _seeded(_tensorflow_seeded, monkeypatch) -> None:
    """Seeds all but TensorFlow, which would forget every kernel: a third of a test's time.

    Layers and keras.random draw their seeds from Python's generator or Keras's, not TensorFlow's.
    """
    import keras
    import tensorflow as tf

    with monkeypatch.context() as patch:
        for module in (tf.random, tf.compat.v2.random):
            patch.setattr(module, "set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)
