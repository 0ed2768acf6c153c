"""The titles of the report's tables of numbers, in order."""

RATIO = "Table 1. Outside-inside ratio"
SEGMENTATION = "Table 2. Segmentation"
FURTHER = "Table 3. Further metrics"
CLASSES = "Table 4. Classes"
FAITHFULNESS = "Table 5. Faithfulness"
ROBUSTNESS = "Table 6. Robustness and randomisation"
IMPUTERS = "Table 7. Other replacements of pixels"
UNITS = "Units"
"""The only table of a report of mechanism tests."""
TABLES = (RATIO, SEGMENTATION, FURTHER, CLASSES, FAITHFULNESS, ROBUSTNESS, IMPUTERS, UNITS)

FURTHER_WORDS = (
    "Means over the images. ↑: higher is better, ↓: lower is better. Average precision, pointing "
    "game and sparsity (the Gini index) are between 0 and 1. Conservation error: the distance between "
    "the sum of the relevance and the logit, relative to the logit. LeRF and MoRF: pixels are replaced, "
    "the least or the most relevant first. The area is the area under the accuracy (0 to 1) over the "
    "share of replaced pixels; AOPC is the mean drop of the target's logit over all steps."
)
"""The text of all metrics of this table together."""

IMPUTERS_WORDS = (
    "LeRF, MoRF and SRG as in the tables above, with the other replacements of pixels. A method whose "
    "place depends on the replacement has not been shown to be faithful."
)
"""The text of the metrics with further replacements."""
