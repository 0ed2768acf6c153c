"""Settings of every test."""

import ctypes
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tf.keras is Keras 2, for iNNvestigate
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of one worker would wait for the other's
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy's and PyTorch's
if os.environ.get("KERAS_BACKEND") == "jax":
    os.environ.setdefault("JAX_ENABLE_X64", "1")  # references are in double precision
    # To compile takes most of the time of a test: do it fast, and once for all workers and runs.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "jax")
    )
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _no_methods_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is known in that test only."""
    from rap_keras.analyzers import registry

    monkeypatch.setattr(registry, "_CUSTOM", {})


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same at every run."""
    return np.random.default_rng(0)


@pytest.fixture
def ray_here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Ray without processes, and what it was asked to start."""
    from helpers.ray import ray_in_this_process

    return ray_in_this_process(monkeypatch)


def backend() -> str:
    """The backend of Keras."""
    import keras  # here, for a process that only hands out tests needs none

    return keras.backend.backend()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m core`, files without such tests are not imported, which takes most of the time."""
    from helpers.core import has_core

    if "core" not in config.option.markexpr.split() or not collection_path.is_file():
        return None
    return None if has_core(collection_path) else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what `make test` runs on JAX and PyTorch, and what it does not run at all."""
    from helpers.core import is_core
    from helpers.thinned import is_whole, mark_slow_cases

    for item in items:
        if is_core(item.path, item.name):
            item.add_marker(pytest.mark.core)
    mark_slow_cases(items, is_whole(config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what only TensorFlow has on another backend, and lets figures be rendered, or not."""
    mark = item.get_closest_marker("tensorflow")
    if mark is not None and backend() != "tensorflow":
        pytest.skip(f"needs TensorFlow: {mark.args[0]}")
    from helpers.drawing import render, renders

    render(renders(item))  # for the fixtures too


@pytest.fixture(scope="session")
def _prepared() -> None:
    import keras

    keras.utils.set_random_seed(0)
    if keras.__version__.startswith("3"):
        from keras.src.backend.common import dtypes

        # On JAX and PyTorch, Keras computes in float32 what is float64: references need both.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


@pytest.fixture(autouse=True)
def _seeded(_prepared, monkeypatch) -> None:
    """Seeds all but TensorFlow, which would forget every kernel: a third of a test's time.

    Layers and keras.random draw their seeds from Python's generator or Keras's, not TensorFlow's.
    """
    import keras

    with monkeypatch.context() as patch:
        if backend() == "tensorflow":
            import tensorflow as tf

            for module in (tf.random, tf.compat.v2.random):
                patch.setattr(module, "set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _at_once(request: pytest.FixtureRequest, _prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where graphs are not what is tested, analyzers compute without tracing."""
    import keras
    from helpers.at_once import compute_at_once, computes_at_once

    if (
        computes_at_once(request.node)
        and backend() == "tensorflow"
        and keras.__version__.startswith("3")
    ):
        compute_at_once(monkeypatch)


# Memory. A worker that runs half of all files would keep what each of them has built.

GROWTH = 100 * 2**20  # what files may add together before it is looked for
LARGE = 4 * 2**30  # above it, memory is freed within a file too: slow tests build large networks


def pytest_collection_finish() -> None:
    """What is imported stays: to look through it for what may go takes longer than most tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None):
    """With the last test of a file goes what the file has cached."""
    yield
    if resident() > max(LARGE, _kept[0] + 5 * GROWTH):
        forget_networks()
        free()
    if nextitem is not None and nextitem.path == item.path:
        return
    for value in vars(item.module).values():
        if hasattr(value, "cache_clear") and value.__module__ == item.module.__name__:
            value.cache_clear()
    if resident() > _kept[0] + GROWTH:
        free()


_kept = [0]


def free() -> None:
    """Collects what nothing refers to, and keeps in mind how much memory stays."""
    gc.collect()
    trim()
    _kept[0] = resident()


def forget_networks() -> None:
    """TensorFlow keeps the graph of each custom gradient, and with it the weights; JAX its programs."""
    if backend() == "jax":
        import jax

        jax.clear_caches()
    if backend() == "tensorflow":
        from tensorflow.python.framework import ops

        registry = ops.gradient_registry._registry
        for name in [name for name in registry if name.startswith("CustomGradient-")]:
            del registry[name]


def resident() -> int:
    """The memory of this process, in bytes; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def trim() -> None:
    """Gives freed memory back to the system, where the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return
