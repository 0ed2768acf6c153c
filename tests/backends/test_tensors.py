"""`rap_keras.tensors`: what differs from `keras.ops`."""

import keras
import numpy as np
import pytest
from keras import layers

from rap_keras import create_analyzer, tensors


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch runs on Apple's GPUs")
def test_sums_where_there_is_no_float64(monkeypatch, rng):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, "relu"), layers.Dense(3)])
    x = rng.random((2, 8), np.float32)
    analyzer = create_analyzer("rap", model)
    ones = tensors.constant(np.ones(2, np.float32))
    assert tensors.dtype_name(tensors.cast(ones, "float64").dtype) == "float64"
    assert analyzer.conservation(x).max_error < 1e-6
    from rap_keras.tensors import torch

    monkeypatch.setattr(torch, "get_device", lambda: "mps:0")
    assert tensors.dtype_name(tensors.cast(ones, "float64").dtype) == "float32"
    assert tensors.dtype_name(tensors.cast(ones, "int32").dtype) == "int32"
    assert analyzer.conservation(x).max_error < 1e-5
