"""What a Keras 2 network refuses, and threads that leave Keras 2 unchanged."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from helpers.keras2 import k2

from rap_keras import InputError
from rap_keras.backends.keras2 import graphs
from rap_keras.backends.keras2.network import Keras2Network

L = k2.layers
WAYS = {
    "slice": lambda x: x[:, 1:],
    "sum": lambda x: x + 1,
    "layer": lambda x: L.Lambda(lambda t: 2 * t)(x),
    "joined": lambda x: L.Concatenate()([x, x]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.quick("layer")
def test_unknown_tokens_are_refused_in_one_sentence(way):
    with graphs.new_graph():
        x = L.Input((3,), dtype="int32")
        vectors = L.Flatten()(L.Embedding(7, 4, name="table")(WAYS[way](x)))
        network = Keras2Network(k2.models.Model(x, L.Dense(2)(vectors)))
    network.logits(network.read(np.full((2, 3), 3))[0])
    for token in (50, -9):
        with pytest.raises(InputError, match=r"^Expected tokens from 0 to 6 for layer .*table"):
            network.read(np.full((2, 3), token))


class Centred(L.Layer):
    def call(self, x):
        return x - tf.reduce_mean(x, 0, keepdims=True)


@pytest.mark.parametrize("batch", [None, 2, 3])
def test_models_that_mix_samples_are_refused_at_a_sample_of_zeros(batch):
    with graphs.new_graph():
        x = L.Input(batch_shape=(batch, 4))
        network = Keras2Network(k2.models.Model(x, L.Dense(2)(Centred()(x))))
    with pytest.raises(InputError, match="computes each sample of a batch separately"):
        network.check([np.zeros((1, 4), np.float32)])


def test_threads_leave_the_way_keras_builds_unchanged():
    utils = graphs.engine("base_layer_utils")
    before = utils._UNSAFE_GRAPH_OP_LAYER_CREATION
    first_inside, second_inside = threading.Event(), threading.Event()

    def first():
        with graphs.fast_building(), graphs.fast_building():
            first_inside.set()
            second_inside.wait(0.2)  # the second one has to wait until this one is done

    def second():
        first_inside.wait(5)
        with graphs.fast_building():
            second_inside.set()
            threads[0].join(5)

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert before == utils._UNSAFE_GRAPH_OP_LAYER_CREATION
