"""The report's tables of numbers, by their titles, in their order."""

RATIO = "Table 1. Outside-inside ratio"
SEGMENTATION = "Table 2. Segmentation"
FURTHER = "Table 3. Further measures"
CLASSES = "Table 4. Classes"
FAITHFULNESS = "Table 5. Faithfulness"
ROBUSTNESS = "Table 6. Robustness and randomisation"
TABLES = (RATIO, SEGMENTATION, FURTHER, CLASSES, FAITHFULNESS, ROBUSTNESS)

FURTHER_WORDS = (
    "Means over the images. ↑: higher is better, ↓: lower is better. Average precision, pointing "
    "game and sparsity (the Gini index) go from 0 to 1. Conservation error: how far the sum of the "
    "relevance is from the logit, relative to the logit. LeRF and MoRF: pixels are replaced from "
    "the least or from the most relevant on; the area is that under the accuracy (0 to 1) over the "
    "share of replaced pixels, AOPC the mean drop of the explained logit over all steps."
)
"""Said once for those that stand there together."""
