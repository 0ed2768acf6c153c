"""Models with randomised parameters, for sanity checks of maps."""

from typing import TYPE_CHECKING

import numpy as np

from rap_keras.support.options import choose

if TYPE_CHECKING:
    import keras

STAGES = ("logits", "half", "all")


def randomised(model: "keras.Model", stage: str = "all", seed: int = 0) -> "keras.Model":
    """Returns a copy of a model whose last layers have random parameters.

    After Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, arXiv 1810.03292. Each array
    of parameters is shuffled, which keeps the distribution of its values. This includes biases and
    normalizations.

    Args:
        model: The model. It is not changed.
        stage: Which layers with parameters are randomised: "logits" (the last one), "half" (the later
            half) or "all".
        seed: The random seed.

    Raises:
        InputError: There is no such stage.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> shuffled = rap_keras.models.randomised(model, "logits")
        >>> [bool((a == b).all()) for a, b in zip(model.get_weights(), shuffled.get_weights())][-2:]
        [False, False]
    """
    import keras

    choose("stage", stage, STAGES)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    layers = [layer for layer in copy.layers if layer.weights]
    count = {"logits": 1, "half": (len(layers) + 1) // 2, "all": len(layers)}[stage]
    generator = np.random.default_rng(seed)
    for layer in layers[-count:]:
        layer.set_weights(
            [generator.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()]
        )
    return copy
