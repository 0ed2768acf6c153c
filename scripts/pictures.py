"""Draw the figures of README and of docs/: comparison, first map, three steps, concepts, and gallery.

Example: python scripts/pictures.py readme start steps gallery
"""

import argparse
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import efficientnet_lite0
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from methods import pages
from PIL import Image

import rap_keras
from rap_keras import InputError, analyzer_names, bundled, create_analyzer, patterns, plot
from rap_keras.datasets import cluttered_digits, preprocess

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COMPARED = ("rap", "lrp.alpha_1_beta_0", "grad_cam", "integrated_gradients")
# Photographs in scikit-image (CC0), where to cut a square out of them, and their class in ImageNet.
PHOTOGRAPHS = (
    ("data/chelsea.png", 125, 285, "Egyptian cat"),
    ("data/coffee.png", 150, 967, "espresso"),
)
NETWORKS: tuple[bundled.Name, ...] = ("vgg", "residual", "convnext", "vit", "segmentation")
NOT_SHOWN = ("lrp",)  # it needs your own table of rules


def save(figure: Figure, path: Path, dpi: int = 110, palette: Image.Image | None = None) -> None:
    """Write a figure. A PNG file gets a palette, by default of the 256 colours that suit it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, facecolor="white")
    if path.suffix == ".png":
        picture = Image.open(path).convert("RGB")
        better = 0 if palette else 1  # colours that few pixels have, as in a colour bar, are kept
        reduced = picture.quantize(256, kmeans=better, palette=palette, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def start() -> None:
    """Draw the figure of docs/start.md."""
    scenes = cluttered_digits(4)
    x, model = preprocess(scenes.images), bundled.load("vgg")
    relevance = create_analyzer("rap", model).analyze(x)
    figure = plot.explanation(relevance[0], scenes.images[0])
    save(figure, IMAGES / "start.png")


def concepts() -> None:
    """Draw the figure of docs/features.md: the strongest channels of a digit, with references."""
    images = cluttered_digits(400).images
    with tempfile.TemporaryDirectory() as folder:
        atlas = rap_keras.concepts.fit(
            "bundled:vgg", images[:380], folder, "block3_conv2", method="lrp.epsilon_plus"
        )
        found = rap_keras.concepts.explain(atlas, images[390], count=4, images=images[:380])
    save(found.plot(), IMAGES / "concepts_vgg.png", 60)


def readme() -> None:
    """Two photographs and a digit among clutter, with their maps by several methods."""
    photographs = np.stack([_photograph(name, left) for name, left, _, _ in PHOTOGRAPHS])
    scenes = cluttered_digits(2, seed=4)
    scene, label, mask = scenes.images[1:], scenes.labels[1], scenes.masks[1:]
    classified = (
        (efficientnet_lite0.load(), (photographs - 127.0) / 128, [c for _, _, c, _ in PHOTOGRAPHS]),
        (bundled.load("vgg"), preprocess(scene), [label]),
    )
    for model, x, classes in classified:
        assert (model.predict(x, verbose=0).argmax(-1) == classes).all()
    maps = {}
    for name in COMPARED:
        batches = [create_analyzer(name, model).analyze(x) for model, x, _ in classified]
        maps[name] = np.concatenate([_enlarged(batch.sum(-1)) for batch in batches])
    images = np.concatenate([_enlarged(photographs), _enlarged(scene)])
    titles = [*(title for *_, title in PHOTOGRAPHS), f"digit {label}"]
    regions = [None] * len(photographs) + [*_enlarged(mask)]
    with rc_context({"font.size": 14}):
        figure = plot.grid(images, maps, row_titles=titles, regions=regions)
        save(figure, IMAGES / "methods.webp")  # half the size of a PNG with photographs


def _photograph(name: str, left: int) -> np.ndarray:
    """A square of a photograph in scikit-image, at the size of the network's input."""
    with Image.open(efficientnet_lite0.file_of("skimage", name)) as image:
        square = image.convert("RGB").crop((left, 0, left + image.height, image.height))
        return np.asarray(square.resize((224, 224), Image.Resampling.BILINEAR))


def _enlarged(images: np.ndarray, size: int = 448) -> np.ndarray:
    """Images `(n, height, width, ...)` with each pixel repeated, so that all have the same size."""
    times = size // images.shape[1]
    return images.repeat(times, axis=1).repeat(times, axis=2)


def example() -> dict[str, Any]:
    """Return the variables of the first block of docs/concepts.md: model, sample x, kernels w and v."""
    page = (IMAGES.parent / "concepts.md").read_text()
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    return names


def steps() -> None:
    """Draw the three steps of RAP on the worked example."""
    known = example()
    x, w, v, maps = known["x"], known["w"], known["v"], known["maps"]
    first, hidden, logit = (maps[name][0] for name in maps)
    z = x[0][:, None] * w
    activations = np.maximum(z.sum(0), 0)
    positive, negative = np.maximum(z, 0), np.maximum(-z, 0)
    a, b = positive.sum(0), negative.sum(0)
    shared = (hidden * (positive / a + negative / (a + b))).sum(1)
    figure = Figure((9.6, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _network(left, activations[:, None] * v, hidden, logit, "h")
    left.set_title(
        "1. The logit goes to the hidden neurons\nby the size of z (eqs. 5-6)", fontsize=10
    )
    _network(middle, z, shared, hidden, "x", "h")
    middle.set_title(
        "2. Each shares its relevance: z > 0 by A,\n|z| of z < 0 by A + B (eqs. 7-8)", fontsize=10
    )
    _shifted(right, shared, first, hidden.sum())
    right.set_title(
        "3. The excess is subtracted from all\nactive inputs in equal parts (eq. 9)", fontsize=10
    )
    save(figure, IMAGES / "steps.png")


def _network(ax: Axes, z: np.ndarray, lower: Any, upper: Any, name: str, to: str = "f") -> None:
    """Draw two layers of neurons with their relevance, and contributions as lines between them."""
    color = _colors()
    places = [np.linspace(1, 0, n) if n > 1 else np.array([0.5]) for n in z.shape]
    for i, y in enumerate(places[0]):
        for j, other in enumerate(places[1]):
            if not z[i, j]:
                continue
            sign = "#b2182b" if z[i, j] > 0 else "#2166ac"
            ax.plot([0, 1], [y, other], color=sign, lw=0.6 + abs(z[i, j]) / 2, zorder=1)
            at = 0.5 if z.shape[1] == 1 else 0.27 if other <= y else 0.73
            ax.text(
                *(at, y + at * (other - y), f"z = {z[i, j]:g}"),
                **{"ha": "center", "va": "center", "fontsize": 8, "color": sign},
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
    for x, ys, values, label in ((0, places[0], lower, name), (1, places[1], upper, to)):
        for k, (y, value) in enumerate(zip(ys, values, strict=True)):
            ax.add_patch(Circle((x, y), 0.11, facecolor=color(value), edgecolor="0.2", zorder=2))
            ink = "white" if value > 2.5 else "black"
            ax.text(
                *(x, y, f"{value:.3g}"),
                **{"ha": "center", "va": "center", "fontsize": 10, "zorder": 3, "color": ink},
            )
            index = f"$_{k + 1}$" if len(ys) > 1 else ""
            ax.text(x, y + 0.15, f"{label}{index}", ha="center", va="bottom", fontsize=9)
    ax.set(xlim=(-0.25, 1.25), ylim=(-0.2, 1.35), aspect="equal")
    ax.axis("off")


def _shifted(ax: Axes, before: np.ndarray, after: np.ndarray, total: float) -> None:
    color = _colors()
    at = np.arange(len(before))
    ax.bar(
        at - 0.2, before, 0.38, color="0.85", edgecolor="0.4", label=f"C, sum {before.sum():.3g}"
    )
    colors = [color(value) for value in after]
    ax.bar(at + 0.2, after, 0.38, color=colors, edgecolor="0.2", label=f"R, sum {after.sum():.3g}")
    for k in at:
        ax.text(k - 0.2, before[k] + 0.06, f"{before[k]:.3g}", ha="center", fontsize=9)
        y = after[k] + 0.06 if after[k] > 0 else after[k] - 0.3
        ax.text(k + 0.2, y, f"{after[k]:.3g}", ha="center", fontsize=9)
    ax.axhline(0, color="0.2", lw=0.8)
    ax.set_xticks(at, [f"x$_{k + 1}$" for k in at])
    ax.set(ylim=(-0.8, 4.2), ylabel="relevance")
    ax.legend(loc="upper right", fontsize=9, frameon=False)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.tick_params(bottom=False)


def _colors() -> Any:
    norm, colormap = Normalize(-6, 6), colormaps["seismic"]
    return lambda value: colormap(norm(value))


CONTROLS = ("input", "random")
SAME = ("lrp.alpha_beta", "lrp.z_plus")  # as lrp.alpha_2_beta_1 and lrp.alpha_1_beta_0_IB
SIDE = 128  # of a panel of the gallery, in pixels


def gallery() -> None:
    """Draw the maps of one scene: a figure for each bundled model and for each page of a method."""
    scene = cluttered_digits(1, seed=7)
    x, label = preprocess(scene.images), int(scene.labels[0])
    training = preprocess(cluttered_digits(128, seed=1).images)
    maps: dict[str, dict[str, np.ndarray]] = {}
    for network in NETWORKS:
        model = bundled.load(network)
        found = maps[network] = {}
        for name in analyzer_names():
            if name in NOT_SHOWN:
                continue
            try:
                found[name] = _map(name, network, model, x, training, label)
            except InputError as error:
                print(f"{network}, {name}: {str(error).partition(chr(10))[0]}")
    draw_gallery(scene.images[0], maps)


def draw_gallery(image: np.ndarray, maps: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw maps, given by network and by method."""
    folder, palette = IMAGES / "gallery", _palette(image)
    for network, found in maps.items():
        panels: list[tuple[str, np.ndarray | None]] = [("image", image)]
        for name, values in found.items():
            if name not in CONTROLS:
                panels.append((name.replace("sequential_", "sequential_\n"), values))
        save(_panels(panels, 6), folder / f"{network}.png", 100, palette)
    for page, names in pages().items():
        shown = [name for name in names if name not in SAME and name not in NOT_SHOWN]
        networks = [network for network in maps if {*shown} <= {*maps[network]}]
        if len(shown) > 2:  # a row for each
            networks = [network for network in networks if network in ("vgg", "residual", "vit")]
        if page == "controls":  # the same for all
            networks = networks[:1]
        panels = []
        for name in shown:
            panels.append((name if len(shown) > 1 else "image", None if panels else image))
            panels += [(network, maps[network][name]) for network in networks]
        if panels:
            drawn, first = _panels(panels, len(networks) + 1), maps[networks[0]][shown[0]]
            save(drawn, folder / "methods" / f"{page}.png", 100, palette)
            save(_panels([("", first)], 1), folder / "methods" / f"{page}_small.png", 50, palette)


def _palette(image: np.ndarray) -> Image.Image:
    """Return the few colours of the gallery: those of maps, those of the scene, and greys."""
    colors = colormaps["seismic"](np.linspace(0, 1, 45))[:, :3] * 255
    scene = Image.fromarray(image).quantize(24, kmeans=2).getpalette()
    grey = np.repeat(np.linspace(0, 255, 7), 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colors.round().astype(int).ravel(), *scene, *grey.astype(int)])
    return palette


def _panels(panels: list[tuple[str, np.ndarray | None]], columns: int) -> Figure:
    """Draw titles, most with an image or a map of 64 x 64 pixels at twice its size."""
    gap, lines = 8, max(title.count("\n") + 1 if title else 0 for title, _ in panels)
    top = 15 * lines
    rows = -(-len(panels) // columns)
    width, height = columns * (SIDE + gap) + gap, rows * (SIDE + top + gap)
    figure = Figure((width / 100, height / 100), dpi=100)
    for k, (title, values) in enumerate(panels):
        row, column = divmod(k, columns)
        left, above = gap + column * (SIDE + gap), row * (SIDE + top + gap)
        bottom = height - above - top - SIDE
        ax = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
        if values is None:
            ax.text(0.5, 0.5, title.replace(".", ".\n", 1), ha="center", va="center", fontsize=8)
            ax.axis("off")
            continue
        if values.dtype == np.uint8:
            ax.imshow(values)
        else:
            plot.heatmap(values, ax=ax)
        ax.set_title(title, fontsize=8, pad=2)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(linewidth=0.5, color="0.6")
    return figure


def _map(name: str, network: str, model: Any, x: Any, training: Any, label: int) -> np.ndarray:
    options: dict[str, Any] = {}
    target: Any = label
    if network == "segmentation":  # where the digit's class wins
        logits = model.predict(x, verbose=0)
        target = np.zeros(logits.shape, bool)
        target[..., label + 1] = logits.argmax(-1) == label + 1
    if name.startswith("pattern."):
        options["patterns"] = patterns.fit(model, training)
    if name == "lrp.alpha_beta":
        options["alpha"] = 2
    if name == "expected_gradients":
        options["background"] = training
    return create_analyzer(name, model, **options).analyze(x, target=target)[0]


def main() -> None:
    """Draw the figures that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    figures = {f.__name__: f for f in (readme, start, steps, concepts, gallery)}
    parser.add_argument("figures", nargs="*", default=list(figures), help=", ".join(figures))
    warnings.simplefilter("ignore")
    for name in parser.parse_args().figures:
        figures[name]()


if __name__ == "__main__":
    main()
