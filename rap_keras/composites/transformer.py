"""The rules of transformer attribution (Chefer, Gur and Wolf, CVPR 2021, arXiv 2012.09838)."""

import functools

from rap_keras.composites.composite import table
from rap_keras.composites.routing import ROUTING
from rap_keras.network import layer_types as types
from rap_keras.rules import contraction, lrp, transformer

# Linear layers share by positive contributions. Sums and products of two tensors are normalized, which
# means half for each factor of a product. Softmax, activations and normalizations pass relevance on, as
# in the authors' code.
TRANSFORMER_ATTRIBUTION = ROUTING | table(
    (types.KERNEL, functools.partial(lrp.alpha_beta, alpha=1.0, beta=0.0, bias="none")),
    (types.CONTRACTION, functools.partial(contraction.bilinear, epsilon=1e-9)),
    (types.ADDITION, transformer.normalized_sum),
    (types.AVERAGING, lrp.ratio),
)
