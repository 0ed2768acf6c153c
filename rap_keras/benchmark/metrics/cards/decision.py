"""The cards of metrics that compare a map with what the model does to changed inputs."""

from rap_keras.benchmark.metrics.cards.card import Card

_CURVE = "The model's own output on the image with replaced pixels."
_REPLACED = "The model's answer to replaced pixels shows what it used in the image."
_OUTSIDE = (
    "Images with replaced pixels are not images that the model knows. Another replacement can give "
    "another order of the methods, so measure several."
)
_OPTIMISED = (
    "It can be optimised directly: a search for the set of pixels with the best curve, as in masks that "
    "are trained on the model, finds adversarial pixels instead of evidence."
)
_STEPS = "Accuracy is 0 or 1 at each step of an image, so it is noisy: read the logit too."

CARDS = {
    "lerf": Card(
        measures="Whether the least relevant pixels can be replaced without changing the decision.",
        grounding=_CURVE,
        assumptions=_REPLACED,
        gaming=f"{_OPTIMISED} Maps of large smooth regions keep whole objects longest.",
        failures=f"{_OUTSIDE} {_STEPS}",
        source="Fig. 7 of Nam et al., AAAI 2020, arXiv 1904.00605.",
    ),
    "morf": Card(
        measures="Whether the decision changes soon when the most relevant pixels are replaced.",
        grounding=_CURVE,
        assumptions=_REPLACED,
        gaming=f"{_OPTIMISED} Scattered pixels destroy the texture of an image sooner than the removal "
        "of the object does.",
        failures=f"{_OUTSIDE} {_STEPS} Orders like noise can be better than good maps.",
        source="Samek et al., Evaluating the visualization of what a deep neural network has learned, "
        "IEEE TNNLS 2017, arXiv 1509.06321.",
    ),
    "srg": Card(
        measures="Whether the order of the pixels agrees with their effect, from both ends.",
        grounding=_CURVE,
        assumptions=f"{_REPLACED} Effects of the replacement alone are the same for LeRF and MoRF.",
        gaming=_OPTIMISED,
        failures="What the replacement does is not the same for both orders if one of them removes "
        "regions and the other scattered pixels. A map can be worse than noise, which scores 0: then "
        "noise improves the number.",
        source="Blücher, Vielhaben and Strodthoff, Decoupling pixel flipping and occlusion strategy for "
        "consistent XAI benchmarks, TMLR 2024, arXiv 2401.06654.",
    ),
    "insertion": Card(
        measures="Whether few of the most relevant pixels bring the probability back.",
        grounding="The model's own output on a blurred image whose pixels are restored.",
        assumptions="A blurred image has no evidence, and sharp pixels in it are no evidence by "
        "themselves.",
        gaming=_OPTIMISED,
        failures="Blur keeps large objects visible, so the curve starts high. Probabilities saturate: "
        "two maps differ little if the model is certain.",
        source="Petsiuk, Das and Saenko, RISE, BMVC 2018, arXiv 1806.07421.",
    ),
    "deletion": Card(
        measures="Whether the probability falls soon when the most relevant pixels become 0.",
        grounding=_CURVE,
        assumptions=f"{_REPLACED} The value 0 removes evidence.",
        gaming=_OPTIMISED,
        failures="Scattered zeros change the decision by their edges. For an image that is dark where "
        "the evidence is, 0 removes nothing.",
        source="Petsiuk, Das and Saenko, RISE, BMVC 2018, arXiv 1806.07421.",
    ),
    "single_deletion": Card(
        measures="Whether the relevance of patches is ordered like their effects, each removed alone.",
        grounding="The drop of the model's own logit when one patch of a grid is replaced.",
        assumptions="A model that knows images with a missing patch, as the fine-tuned variants of the "
        "bundled models do. The sum of a patch's relevance says how much it matters alone.",
        gaming="It can be optimised directly: 16 forward passes give the map that scores 1, as "
        "occlusion by the same grid does.",
        failures="What two patches decide together has no effect when one is removed. 16 values have "
        "few orders, so single images are noisy. An object within one patch is not resolved.",
        source="Hesse, Schaub-Meyer and Roth, Benchmarking the attribution quality of vision models, "
        "NeurIPS 2024, arXiv 2407.11910.",
    ),
    "faithfulness_correlation": Card(
        measures="Whether the relevance of a set of pixels predicts the drop of the logit without it.",
        grounding=_CURVE,
        assumptions=f"{_REPLACED} Effects of pixels add up.",
        gaming="Fit a linear model to the drops: its weights are the best map of this metric.",
        failures="With random sets of a tenth of all pixels, each set has nearly the same relevance. "
        f"The correlation is small and depends on the draws. {_OUTSIDE}",
        source="Bhatt, Weller and Moura, Evaluating and aggregating feature-based model explanations, "
        "IJCAI 2020, arXiv 2005.00631.",
    ),
    "infidelity": Card(
        measures="Whether the relevance on a square equals the drop of the logit without it.",
        grounding=_CURVE,
        assumptions="Relevance is in units of the logit, and effects of pixels add up.",
        gaming="A map of zeros has the error of the drops alone, which is small if squares matter "
        "little. A fit to the drops has the smallest error.",
        failures="Without scaling, a method with large values is punished for its units, and shrinking "
        "a map towards 0 improves it. Compare the scaled form.",
        source="Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019, arXiv "
        "1901.09392.",
    ),
    "removal": Card(
        measures="Whether, class by class, the relevance on an object follows the effect of the object.",
        grounding="The model's own output on the same scene without the object.",
        assumptions="The scene without the object is exact, which drawn scenes are.",
        gaming="Sum the relevance in a different way for each class: nothing else of the map counts.",
        failures="The place within the object does not count. With one object on the image, the order "
        "of ten logits is all that is compared.",
        source="After Hesse, Schaub-Meyer and Roth, FunnyBirds, ICCV 2023, arXiv 2308.06248.",
    ),
    "random_logit": Card(
        measures="Whether the maps of two classes differ.",
        grounding="The same method's map of another class. There is no truth about either map.",
        assumptions="Maps of different classes should differ.",
        gaming="Add noise: two noisy maps always differ. So it cannot pass the validation.",
        failures="Two classes with the same evidence should have similar maps. The best number does not "
        "show that a map is right.",
        source="After Sixt, Granz and Landgraf, When explanations lie: why many modified BP "
        "attributions fail, ICML 2020, arXiv 1912.09818.",
    ),
}
