"""The network of the README's photographs: its file of weights is read without PyTorch."""

import importlib
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from helpers.documents import ROOT


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("efficientnet_lite0")


class Tensor:
    """Pickled as PyTorch before 1.6 pickles a tensor."""

    def __init__(self, storage, offset, shape, strides):
        self.parts = storage, offset, shape, strides, False, {}

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


class Storage:
    pass


@pytest.fixture
def torch(monkeypatch):
    """As much of PyTorch as pickle needs to name it."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2(*parts):
        raise AssertionError("never called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def test_weights_are_read_without_pytorch(script, torch, tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            is_storage = isinstance(obj, Storage)
            return ("storage", torch.FloatStorage, "1", "cpu", 6, None) if is_storage else None

    storage = Storage()
    values = np.arange(6, dtype="<f4")
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(header, file, 2)
        state = {"a": Tensor(storage, 0, (2, 2), (2, 1)), "b": Tensor(storage, 2, (2, 2), (1, 2))}
        Pickler(file, 2).dump(state)
        pickle.dump(["1"], file, 2)
        file.write((6).to_bytes(8, "little") + values.tobytes())
    arrays = script.read(path)
    np.testing.assert_array_equal(arrays["a"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(arrays["b"], [[2, 4], [3, 5]])


def test_a_file_cannot_run_code(script, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(print, 2))
    with pytest.raises(KeyError, match="print"):
        script.read(path)


def test_a_missing_package_is_named(script):
    with pytest.raises(SystemExit, match="no_such_package"):
        script.file_of("no_such_package", "data")
