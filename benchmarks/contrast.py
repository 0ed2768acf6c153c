"""Draw the figures of docs/contrast.md: two digits, each explained alone and against the other.

Example: python benchmarks/contrast.py --model vgg --scene 0 --out contrast.png

Draws a scene of `cluttered_digit_pairs()` and the maps of both digits by RAP, RAP-epsilon and
LRP-alpha_1_beta_0, the first and the last also with contrast. The number below a map is the share of the
positive relevance on both digits that is on the explained digit.
"""

import argparse
import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


from matplotlib.figure import Figure

from rap_keras import bundled, create_analyzer, plot
from rap_keras.datasets.cluttered_digits import cluttered_digit_pairs, preprocess
from rap_keras.evaluation import heatmap, relevance_share

CASES = (
    ("rap", {}),
    ("rap", {"contrast": "softmax"}),
    ("rap.epsilon", {}),  # tells classes apart without contrast
    ("lrp.alpha_1_beta_0", {}),
    ("lrp.alpha_1_beta_0", {"contrast": "softmax"}),
)


def main() -> None:
    """Write the figure and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vgg", help="vgg, residual, convnext or vit")
    parser.add_argument("--scene", type=int, default=0, help="number of the scene")
    parser.add_argument("--out", default="contrast.png", help="file of the figure")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    pairs = cluttered_digit_pairs(arguments.scene + 1)
    image, masks, labels = pairs.images[-1], pairs.masks[-1], pairs.labels[-1]
    model = bundled.load(arguments.model)
    figure = Figure((2.1 * (1 + len(CASES)), 4.6), layout="constrained")
    axes = figure.subplots(2, 1 + len(CASES))
    for row, label in enumerate(labels):
        axes[row, 0].imshow(image)
        axes[row, 0].set_title(f"the {label} explained", fontsize=9)
        for ax, (method, options) in zip(axes[row, 1:], CASES, strict=True):
            analyzer = create_analyzer(method, model, **options)
            relevance = heatmap(analyzer.analyze(preprocess(image[None]), [int(label)])[0])
            either = masks[0] | masks[1]
            share = relevance_share(relevance, masks[row], void=~either)
            plot.heatmap(relevance, ax=ax, channel_axis=None)
            name = method + (", contrast" if options else "")
            ax.set_title(name, fontsize=9)
            ax.set_xlabel(f"{share:.2f} on the {label}", fontsize=9)
            print(f"{name}, the {label}: {share:.3f}")
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
