"""With Keras 3, tests that only need Keras 2 are slow: the other environment runs them by default."""

from pathlib import Path

import keras
import pytest
from helpers.thinned import AS_IT_IS

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


@pytest.fixture(scope="session", autouse=True)
def _sessions_run_graphs_as_they_are():
    """To optimize a graph takes longer than to run it once. `make test-all` optimizes."""
    import tensorflow as tf

    if AS_IT_IS:
        yield
        return
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0

    class Session(tf.compat.v1.Session):
        def __init__(self, target="", graph=None, config=config):
            super().__init__(target, graph, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.compat.v1, "Session", Session)
        yield
