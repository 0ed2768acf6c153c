"""Print how well methods explain one pixel and all pixels of a digit in a segmentation model.

Example: python benchmarks/segmentation.py --images 50 --figure segmentation.png

The bundled U-Net labels the pixels of cluttered digits. For each scene the logits of the digit's class
are explained in the region where this class wins, and at one pixel, the one nearest to the middle of the
region. "AP" is the average precision of the relevance as a score of the digit's pixels. "inside" is the
share of the positive relevance on the digit; the last row is the area of the digit. "AP, far" leaves out
the pixels within 8 pixels of the explained one. Prints a Markdown table.
"""

import argparse
import os
import warnings
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.figure import Figure

import rap_keras
from rap_keras import bundled, plot
from rap_keras.datasets.cluttered_digits import cluttered_digits, preprocess
from rap_keras.evaluation import average_precision, heatmap

METHODS: dict[str, dict[str, object]] = {
    "rap": {},
    "lrp.alpha_1_beta_0": {},
    "lrp.alpha_2_beta_1": {},
    "gradient": {"postprocess": "abs"},
    "input_t_gradient": {},
    "integrated_gradients": {},
    "guided_backprop": {},
    "random": {"seed": 0},
}
NEAR = 8  # pixels


def distances(place: np.ndarray, size: int) -> np.ndarray:
    """The distance of each pixel from one pixel, `(size, size)`."""
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - place[0], columns - place[1])


def middle(mask: np.ndarray) -> np.ndarray:
    """The pixel of a mask that is nearest to the mean of all."""
    pixels = np.argwhere(mask)
    return pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()]


def selections(won: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """The explained logits, masks `(n, height, width, classes)`."""
    of_class = np.arange(11) == classes[:, np.newaxis, np.newaxis, np.newaxis]
    pixels = np.zeros_like(won)
    for pixel, mask in zip(pixels, won, strict=True):
        pixel[tuple(middle(mask))] = True
    return {"pixel": pixels[..., np.newaxis] & of_class, "region": won[..., np.newaxis] & of_class}


def cell(values: list[float]) -> str:
    """Mean and standard error."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def scores(map_: np.ndarray, mask: np.ndarray, won: np.ndarray, what: str) -> list[float]:
    """AP, the share inside and, if one pixel is explained, AP far from it."""
    positive = np.maximum(map_, 0)
    found = [average_precision(map_, mask), float(positive[mask].sum() / positive.sum())]
    if what == "pixel":
        near = distances(middle(won), len(mask)) <= NEAR
        found.append(average_precision(map_, mask, void=near))
    return found


def rows(count: int, seed: int, figure: str | None) -> Iterator[str]:
    """The table."""
    scenes = cluttered_digits(count, seed=seed, split="test")
    x, model = preprocess(scenes.images), bundled.load("segmentation")
    classes = scenes.labels + 1  # the background is 0
    won = model.predict(x, verbose=0).argmax(-1) == classes[:, np.newaxis, np.newaxis]
    kept = won.any((1, 2))
    x, won, masks = x[kept], won[kept], scenes.masks[kept]
    chosen = selections(won, classes[kept])
    yield f"{kept.sum()} of {count} scenes, whose digit wins somewhere."
    yield ""
    yield "| method | AP, pixel | inside, pixel | AP, far, pixel | AP, region | inside, region |"
    yield "|---" * 6 + "|"
    drawn = {}
    for method, options in METHODS.items():
        analyzer = rap_keras.create_analyzer(method, model, **options)
        cells = []
        for what, selection in chosen.items():
            maps = np.stack([heatmap(one) for one in analyzer.analyze(x, selection)])
            drawn[f"{method}, {what}"] = maps[:3]
            found = zip(*map(scores, maps, masks, won, [what] * len(maps)), strict=True)
            cells += [cell(list(values)) for values in found]
        yield f"| `{method}` | {' | '.join(cells)} |"
    yield f"| *area of the digit* | | {cell(list(masks.mean((1, 2))))} | | | |"
    if figure is not None:
        draw(scenes.images[kept][:3], drawn, chosen).savefig(figure)


def draw(images: np.ndarray, maps: dict[str, np.ndarray], chosen: dict[str, np.ndarray]) -> Figure:
    """The first scenes: RAP, LRP and the gradient of the pixel, and RAP of the region."""
    shown = ["rap, pixel", "rap, region", "lrp.alpha_1_beta_0, pixel", "gradient, pixel"]
    pixels = [mask.any(-1) for mask in chosen["pixel"][: len(images)]]
    return plot.grid(images, {name: maps[name] for name in shown}, regions=pixels)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    for row in rows(args.images, args.seed, args.figure):
        print(row, flush=True)


if __name__ == "__main__":
    main()
