"""Models that have forgotten what they learned, for sanity checks of maps."""

import keras
import numpy as np

from rap_keras.support.options import read_integer


def randomised(model: keras.Model, layers: int | None = None, seed: int = 0) -> keras.Model:
    """A copy of a model whose last layers have random parameters.

    After Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, arXiv 1810.03292. Each array
    of parameters is shuffled, so that the sizes of weights stay; biases and normalizations likewise.

    Args:
        model: The model; it is not changed.
        layers: How many of the layers that have parameters, from the logits upwards; default: all.
        seed: That of the shuffling.

    Returns:
        The copy.

    Raises:
        InputError: The number is not as described.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    owners = [layer for layer in copy.layers if layer.weights]
    count = len(owners) if layers is None else read_integer("layers", layers, 0)
    generator = np.random.default_rng(seed)
    for layer in owners[max(0, len(owners) - count) :]:
        layer.set_weights(
            [generator.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
        )
    return copy
