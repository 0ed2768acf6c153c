"""Which feature, not only where: reference images for the channels of a layer.

An atlas holds the images in which each channel, neuron or attention head of a layer has the largest
relevance (relevance maximisation). `explain` explains another image by its most relevant
channels, with a map and reference images for each.

Achtibat et al., "From attribution maps to human-understandable explanations through Concept Relevance
Propagation", Nature Machine Intelligence 2023.
"""

from typing import TYPE_CHECKING

from rap_keras.support.lazy import lazy

if TYPE_CHECKING:  # what `lazy` loads
    from rap_keras.concepts.atlas import Atlas, Reference, load
    from rap_keras.concepts.explaining import ConceptExplanation, explain
    from rap_keras.concepts.fitting import fit, merge

__all__ = ["Atlas", "ConceptExplanation", "Reference", "explain", "fit", "load", "merge"]

__getattr__, __dir__ = lazy(
    __name__,
    __all__,
    {
        "Atlas": "atlas",
        "ConceptExplanation": "explaining",
        "Reference": "atlas",
        "explain": "explaining",
        "fit": "fitting",
        "load": "atlas",
        "merge": "fitting",
    },
)
