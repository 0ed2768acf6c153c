"""The cards of metrics that compare a map with the place of an object, or with known relevance."""

from rap_keras.benchmark.metrics.cards.card import Card

_MASK = "The mask or the bounding box of the explained object."
_EVIDENCE = "The model decides by the object and not by its background."
_BACKGROUND = (
    "A model that uses the background gets a low number for a correct map. Boxes count their corners as "
    "object."
)
_RAP = (
    "Nam, Gur, Choi, Wolf and Lee, Relative Attributing Propagation, AAAI 2020, arXiv 1904.00605, "
)
_CLEVR = "Arras, Osman and Samek, CLEVR-XAI, Information Fusion 2022, arXiv 2003.07258."

CARDS = {
    "ratio": Card(
        measures="Whether relevance is denser on the object than around it.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} Relevance is on a scale on which means over pixels make sense.",
        gaming="Subtract the map's mean: ALL improves and the order of the pixels stays the same.",
        failures="Heavy tails: a few images with little relevance on the object dominate the mean, so "
        f"read the median too. {_BACKGROUND}",
        source=f"{_RAP}eq. 11, after Lapuschkin et al., CVPR 2016.",
    ),
    "equal_area": Card(
        measures="Whether the most relevant pixels, as many as the object has, are those of the object.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} All of the object is evidence.",
        gaming="The cut gives away the object's size, so even noise finds a part of it. A smooth map in "
        "the shape of typical objects scores well without the model.",
        failures="A map that marks the decisive detail of a large object and nothing else loses: the "
        f"rest of the area is filled with whatever comes next. {_BACKGROUND}",
        source="This project.",
    ),
    "segmentation": Card(
        measures="Whether the pixels above a method's threshold are those of the object.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} The threshold, 0 or the mean, separates evidence from the rest.",
        gaming="Shift the map: the number depends on the cut as much as on the map.",
        failures="Methods with and without negative relevance are cut in different ways, so they cannot "
        "be compared. If most pixels are background, a map without any foreground has a high accuracy. "
        "Signed maps that alternate from pixel to pixel are close to noise.",
        source=f"{_RAP}Table 2.",
    ),
    "average_precision": Card(
        measures="Whether relevance ranks the object's pixels first.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} Only the order of the pixels counts, not the amount of relevance.",
        gaming="Blur the map, or mark the centre: both rank most objects of photographs first.",
        failures=f"{_BACKGROUND} By chance it equals the object's share of the pixels, so images with "
        "objects of different sizes are not on one scale.",
        source="Precision over recall, with the pixels as the items of a ranking.",
    ),
    "pointing_game": Card(
        measures="Whether the most relevant pixel is on the object.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} One pixel stands for the map.",
        gaming="A prior of the centre: a map that always points to the middle of the image hits most "
        "objects of photographs. A larger tolerance helps every method.",
        failures="It is 0 or 1 for each image, so it needs many images, and one noisy pixel decides it.",
        source="Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016, arXiv "
        "1608.00507.",
    ),
    "mass_accuracy": Card(
        measures="How much of the positive relevance is on the object.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} Negative relevance may be ignored.",
        gaming="Raise the map to a power: relevance gathers at its peaks. Or make weak relevance "
        "negative.",
        failures=f"Many weak pixels of the background outweigh a correct peak. {_BACKGROUND}",
        source=_CLEVR,
    ),
    "rank_accuracy": Card(
        measures="How many of the most relevant pixels, as many as the object has, are on the object.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} All of the object is evidence.",
        gaming="As equal area: the object's size is given away, and smooth maps gain.",
        failures=f"Maps that mark only a part of the object lose. {_BACKGROUND}",
        source=_CLEVR,
    ),
    "top_k": Card(
        measures="How many of the k most relevant pixels are on the object.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} k is smaller than the object.",
        gaming="Sharpen one peak: nothing beyond the first k pixels counts.",
        failures="If the object has fewer than k pixels, no map can reach 1. The weighted form grows as "
        "objects become smaller.",
        source="Theiner, Müller-Budack and Ewerth, Interpretable semantic photo geolocation, WACV 2022, "
        "arXiv 2104.14995.",
    ),
    "energy": Card(
        measures="How much of the relevance is on the object, and how much of the relevance on any "
        "object is on the explained one.",
        grounding=_MASK,
        assumptions=f"{_EVIDENCE} In the signed form, negative relevance is expected elsewhere.",
        gaming="As mass accuracy: a power of the map gathers relevance at its peaks.",
        failures="The signed form is one half for noise. A map without negative relevance can be below "
        "that, however well it finds a small object: then noise improves the number.",
        source="Wang et al., Score-CAM, CVPR Workshops 2020, arXiv 1910.01279; signed as in eq. 11 of "
        "arXiv 1904.00605.",
    ),
    "grid": Card(
        measures="Whether the map of a class is in the cell that shows this class.",
        grounding="The known cells of a grid of images of different classes.",
        assumptions="The model recognises each image in the grid as it does alone. It adds up evidence "
        "from all places, as global average pooling does.",
        gaming="A class activation map of a late layer cannot leave the cell by much: the architecture "
        "alone gives it a good number.",
        failures="Grids are not images that the model knows. If it does not recognise the shrunk cells, "
        "maps are right to ignore them: use --grid-cells full where the model accepts larger images.",
        source="Böhle, Fritz and Schiele, Convolutional dynamic alignment networks for interpretable "
        "classifications, CVPR 2021, arXiv 2104.00032.",
    ),
    "unit_passed": Card(
        measures="Whether a map has the direction of the relevance that is known by construction.",
        grounding="The network itself: its weights are set by hand, and its relevance follows from "
        "them.",
        assumptions="Where several maps could be called right, the Shapley value relative to zeros is: "
        "for example, both inputs of AND get half. Only the direction of the map counts, not its size.",
        gaming="The networks are public, so a rule can be made that is right on them and nowhere else.",
        failures="Nine networks of a few neurons do not show what a method does in a deep one. A method "
        "with another reference than zeros is marked down for it. The shortcut only shows that a map "
        "finds what the model uses, not that people see it.",
        source="In the style of Lee et al., XAI-Units, FAccT 2025 (our reading).",
    ),
}
