"""The cards of metrics that look at the map alone, or compare it with other maps of the method."""

from rap_keras.benchmark.metrics.cards.card import Card

_SANITY = "Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, arXiv 1810.03292."
_FRESH = "Hedström et al., A fresh look at sanity checks for saliency maps, 2024, arXiv 2401.06465."
_COPY = "The same method's map of a copy of the model with shuffled parameters."
_BHATT = (
    "Bhatt, Weller and Moura, Evaluating and aggregating feature-based model explanations, IJCAI 2020, "
    "arXiv 2005.00631."
)

CARDS = {
    "conservation": Card(
        measures="Whether relevance sums to the logit, relative to it.",
        grounding="The explained logit.",
        assumptions="The method claims that its map sums to the logit.",
        gaming="Add the same number to every pixel until the sum is right. A single pixel with the "
        "logit's value has no error.",
        failures="It shows nothing about the place of relevance. A logit near 0 makes the relative "
        "error large. For a method that does not conserve, noise can move the sum closer to the logit.",
        source="Bach et al., On pixel-wise explanations for non-linear classifier decisions by "
        "layer-wise relevance propagation, PLOS ONE 2015.",
    ),
    "completeness": Card(
        measures="Whether relevance sums to the logit, in units of the logit.",
        grounding="The explained logit; 0 for a contrast.",
        assumptions="The method claims that its map sums to the logit, not to its difference from the "
        "logit of a baseline.",
        gaming="As conservation: add the same number to every pixel.",
        failures="Methods that sum to a difference from a baseline's logit, such as integrated "
        "gradients, keep that logit as an error.",
        source="Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017, arXiv "
        "1703.01365.",
    ),
    "sparsity": Card(
        measures="Whether few pixels have most of the absolute relevance.",
        grounding="The map alone. There is no truth, so neither direction is better.",
        assumptions="None about the model.",
        gaming="Set small values to 0, or raise the map to a power.",
        failures="A sparse map need not be right: one random pixel is the sparsest map.",
        source="Chalasani et al., Concise explanations of neural networks using adversarial training, "
        "ICML 2020, arXiv 1810.06583.",
    ),
    "complexity": Card(
        measures="How many pixels share the absolute relevance.",
        grounding="The map alone. There is no truth, so neither direction is better.",
        assumptions="None about the model.",
        gaming="Set small values to 0.",
        failures="As sparsity: simple maps need not be right. It grows with the size of the image.",
        source=f"{_BHATT} Effective pixels after Nguyen and Martínez, 2020, arXiv 2007.07584.",
    ),
    "max_sensitivity": Card(
        measures="Whether the map stays the same under small changes of the input.",
        grounding="The same method's maps of inputs nearby.",
        assumptions="The decision is the same for these inputs, so the map should be as well.",
        gaming="Ignore the input: a constant map has the best number. Smoothing helps every method.",
        failures="It rewards maps that are wrong in a stable way, such as edges. The largest of a few "
        "random changes is a lower bound only.",
        source="Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019, arXiv "
        "1901.09392.",
    ),
    "local_lipschitz": Card(
        measures="How fast the map changes with the input.",
        grounding="The same method's maps of inputs nearby.",
        assumptions="Inputs nearby are explained in the same way.",
        gaming="Ignore the input, or divide the map by a large number.",
        failures="It is in units of relevance, so methods cannot be compared and neither direction is "
        "better. Use max-sensitivity to compare.",
        source="Alvarez-Melis and Jaakkola, On the robustness of interpretability methods, 2018, arXiv "
        "1806.08049.",
    ),
    "mprt": Card(
        measures="Whether the map depends on what the model has learned.",
        grounding=_COPY,
        assumptions="A model with shuffled parameters has other evidence, so the map should differ.",
        gaming="Add noise: noisy maps always differ. So it cannot pass the validation.",
        failures="The architecture and the image stay, and with them edges that any correct map may "
        "show. Absolute values hide a change of sign.",
        source=_SANITY,
    ),
    "smprt": Card(
        measures="The same as MPRT, after noise in the maps is averaged out.",
        grounding=_COPY,
        assumptions="As MPRT; the mean over noisy inputs removes the noise of the method only.",
        gaming="Add noise that is the same for all inputs of a model and another one for its copy.",
        failures="As MPRT. Averages of more maps are smoother, and so more similar.",
        source=_FRESH,
    ),
    "emprt": Card(
        measures="Whether the map becomes more complex when the model loses what it has learned.",
        grounding=f"{_COPY} Only the entropies of the two histograms are compared.",
        assumptions="Maps of a trained model are simpler than those of a random one.",
        gaming="Sharpen the map of a certain model: its entropy falls. Nothing about the place counts.",
        failures="The histogram has 100 bins between the extremes of the map, so one outlier lowers the "
        "entropy.",
        source=_FRESH,
    ),
}
