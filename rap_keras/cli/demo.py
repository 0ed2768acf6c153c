"""The command `rap-keras demo`."""

from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from rap_keras.cli.options import OutOption
from rap_keras.cli.session import echo, import_native, results_in
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.support.files import save_npz
from rap_keras.support.text import one_line

DEMO_SCENES = 6
DEMO_MODELS = ("vgg", "residual")
DEMO_METHODS = ("rap", "rap.epsilon", "lrp.epsilon_plus", "grad_cam")


def demo(out: OutOption = Path("rap-demo")) -> None:
    """Explain six example scenes. Needs no files and no download."""
    with results_in(out) as folder:
        import_native()
        from rap_keras import plot
        from rap_keras.datasets import cluttered_digits

        scenes = cluttered_digits(DEMO_SCENES)
        typer.echo(f"{DEMO_SCENES} cluttered scenes with one handwritten digit each.")
        rap_maps = {}
        for name in DEMO_MODELS:
            rap_maps[f"rap, {name}"] = _demo_model(name, scenes, folder)
        plot.grid(
            scenes.images, rap_maps, row_titles=_digit_titles(scenes), over_image=True
        ).savefig(folder / "overlays.png")
        written = sorted(path.name for path in folder.iterdir())
    echo(f"\nThe figures and raw maps are in {one_line(out)}: {', '.join(written)}.")


def _demo_model(name: str, scenes: Any, folder: Path) -> NDArray[Any]:
    """Explains the scenes by one model, writes and prints the results, and returns the RAP maps."""
    from rap_keras import plot
    from rap_keras.models.loading import load_model
    from rap_keras.pipeline.explainer import Explainer

    loaded = load_model(f"bundled:{name}")
    explainers = {name: Explainer(loaded, MethodSpec(name, name)) for name in DEMO_METHODS}
    x = loaded.preprocess(scenes.images)
    explained = {method: one.explain(x) for method, one in explainers.items()}
    maps = {method: one.relevance for method, one in explained.items()}

    typer.echo(f"\nThe {name} model, explained by rap:")
    typer.echo(
        "  digit  predicted    logit  probability  sum of relevance  positive relevance in digit"
        "  area of digit"
    )
    inside, area = _share_inside(maps["rap"], scenes.masks), scenes.masks.mean(axis=(1, 2))
    for k, one in enumerate(explained["rap"].summaries()):
        typer.echo(
            f"{scenes.labels[k]:>7}{one['class']:>11}{one['logit']:>9.4g}{one['probability']:>13.1%}"
            f"{one['relevance_sum']:>18.4g}{inside[k]:>29.0%}{area[k]:>15.0%}"
        )
    means = (f"{method} {_share_inside(maps[method], scenes.masks).mean():.0%}" for method in maps)
    typer.echo(f"  Mean positive relevance in the digit: {', '.join(means)}.")

    figure = plot.grid(scenes.images, maps, row_titles=_digit_titles(scenes))
    figure.savefig(folder / f"{name}-grid.png")
    save_npz(folder / f"{name}-maps.npz", {"images": scenes.images} | maps)
    layer_maps = explainers["rap"].layers(x[:1])
    plot.layers(layer_maps, image=scenes.images[0]).savefig(folder / f"{name}-layers.png")
    save_npz(folder / f"{name}-layers.npz", layer_maps)
    return maps["rap"]


def _digit_titles(scenes: Any) -> list[str]:
    return [f"digit {label}" for label in scenes.labels]


def _share_inside(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[Any]:
    """Returns the share of each map's positive relevance inside its mask; 0 if none is positive."""
    positive = np.maximum(maps.sum(axis=-1), 0)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
