"""Every method has the same maps on every backend: those that were stored on TensorFlow.

`python tests/analyzers/test_same_maps.py` stores them again, for a method that is new or has changed.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pytest
from helpers.analyzers import METHODS, made, subject
from helpers.compare import assert_same

pytestmark = [pytest.mark.core, pytest.mark.programs]
STORED = Path(__file__).parent / "stored" / "maps.npz"
TARGET = [2, 0, 3]


def network():
    """The model with weights of NumPy, as each backend draws others."""
    model, x = subject()
    rng = np.random.default_rng(4)
    # Some neurons of each layer are active, and all logits speak for their class.
    *weights, last = (rng.normal(w.ndim == 1, 0.3, w.shape) for w in model.get_weights())
    model.set_weights([*weights, last + 9])
    return model, x


def maps_of(name, model, x):
    return made(name, model, x).analyze(x, TARGET)


@pytest.fixture(scope="module")
def common():
    return network()


@pytest.fixture(scope="module")
def stored():
    with np.load(STORED) as data:
        return dict(data)


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_those_of_every_backend(name, common, stored):
    assert_same(maps_of(name, *common), stored[name])


def test_nothing_else_is_stored(stored):
    assert set(stored) == set(METHODS)


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    np.savez_compressed(STORED, **{name: maps_of(name, *network()) for name in METHODS})
