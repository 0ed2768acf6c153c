"""With Keras 3, tests that only need Keras 2 are slow: the other environment runs them by default."""

from pathlib import Path

import keras
import pytest

HERE = Path(__file__).parent
# iNNvestigate needs TensorFlow.
collect_ignore_glob = ["test_*.py"] if keras.backend.backend() != "tensorflow" else []
OF_KERAS_3 = {f"test_{name}.py" for name in ("documents", "keras3", "native")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    if not keras.__version__.startswith("3"):
        return
    for item in items:
        needs_keras_3 = item.path.name in OF_KERAS_3 or item.get_closest_marker("skipif")
        if item.path.parent == HERE and not needs_keras_3:
            item.add_marker(pytest.mark.slow)
