"""The commands `rap-keras explain`, `compare` and `layers`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rap_keras.cli.explainer import Explained, Explainer, read_batches
from rap_keras.cli.flags import shared_flags
from rap_keras.cli.options import (
    BatchSizeOption,
    ImageArgument,
    ImageArguments,
    MapFlags,
    MethodOption,
    ModelFlags,
    OutOption,
)
from rap_keras.cli.session import (
    image_files,
    import_native,
    tell,
    unique_stems,
)
from rap_keras.errors import InputError
from rap_keras.support.files import replacing_together, save_npz
from rap_keras.support.images import check_image
from rap_keras.support.progress import track
from rap_keras.support.text import counted, printable


@shared_flags
def explain(
    images: ImageArguments,
    model: ModelFlags,
    *,
    method: MethodOption = "rap",
    shown: MapFlags,
    batch_size: BatchSizeOption = 8,
    out: OutOption = Path("rap-explain"),
) -> None:
    """Explains images: a figure and the raw map of each, and explain.json about all."""
    (asked,) = shown.methods([method])
    paths = image_files(images)
    with replacing_together(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = model.load()
        explainer = Explainer(loaded, asked, shown.neuron, shown.where, batch_size)
        stems = dict(zip(paths, unique_stems(paths), strict=True))
        records = []
        work = (
            item
            for files, pixels, x in read_batches(paths, loaded, batch_size)
            for item in zip(files, pixels, explainer.explain(x, files), strict=True)
        )
        for path, image, explained in track(work, "explaining", len(paths)):
            stem = stems[path]
            figure = plot.explanation(
                explained.relevance, image, shown.percentile, method, region=explained.outlined
            )
            figure.savefig(folder / f"{stem}.png")
            np.save(folder / f"{stem}.npy", explained.relevance)
            record = {"file": str(path), "figure": f"{stem}.png", "map": f"{stem}.npy"}
            record = {key: printable(name) for key, name in record.items()}
            records.append(record | {"method": method} | explained.summary())
        summary = {
            "model": model.model,
            "weights": loaded.weights,
            "preprocess": model.preprocess,
            "mean": model.shift,
            "std": model.scale,
            "output": loaded.output,
            "region": shown.region,
            "contrast": asked.options.get("contrast"),
            "images": records,
        }
        (folder / "explain.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    for record in records:
        tell(f"{record['file']}: {_sentence(record, asked.options.get('contrast'))}")
    tell(f"{counted(len(records), 'figure')} and maps, and explain.json, are in {out}.")


@shared_flags
def compare(
    images: ImageArguments,
    model: ModelFlags,
    *,
    methods: Annotated[
        str,
        typer.Option(
            help="The methods to compare, separated by commas, with options as rap:variant=released; "
            "also FILE.py:function."
        ),
    ] = "rap,lrp.alpha_1_beta_0,lrp.alpha_2_beta_1,gradient,input_t_gradient",
    shown: MapFlags,
    batch_size: BatchSizeOption = 8,
    out: OutOption = Path("rap-compare"),
) -> None:
    """Explains images by several methods: one figure, a row for each image, and all maps."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"methods are different names, separated by commas, not {methods!r}.", "methods"
        )
    asked = shown.methods(names)
    paths = image_files(images)
    with replacing_together(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = model.load()
        explainers = {
            method.title: Explainer(loaded, method, shown.neuron, shown.where, batch_size)
            for method in asked
        }
        pixels: list[Any] = []
        regions: list[Any] = []
        maps: dict[str, list[Any]] = {name: [] for name in names}

        def work() -> Iterator[tuple[str, Explained]]:
            for files, batch, x in read_batches(paths, loaded, batch_size):
                pixels.extend(batch)
                if batch[0].shape != pixels[0].shape:
                    raise InputError("One figure needs images of one shape: pass size=N.", "size")
                for name, explainer in explainers.items():
                    yield from ((name, one) for one in explainer.explain(x, files))

        for name, one in track(work(), "explaining", len(paths) * len(names)):
            maps[name].append(one.relevance)
            if name == names[0]:
                regions.append(one.outlined)
        stacked = {name: np.stack(parts) for name, parts in maps.items()}
        stems = unique_stems(paths)
        figure = plot.grid(
            np.stack(pixels), stacked, shown.percentile, row_titles=stems, regions=regions
        )
        figure.savefig(folder / "compare.png")
        save_npz(folder / "compare.npz", {"images": np.stack(pixels)} | stacked)
    tell(
        f"{counted(len(paths), 'image')} by {counted(len(names), 'method')}: the figure compare.png "
        f"and the maps, compare.npz, are in {out}."
    )


@shared_flags
def layers(
    image: ImageArgument,
    model: ModelFlags,
    *,
    method: MethodOption = "rap",
    shown: MapFlags,
    layer: Annotated[
        list[str] | None, typer.Option(help="Draw this layer; repeat for more. Default: a dozen.")
    ] = None,
    out: OutOption = Path("rap-layers"),
) -> None:
    """Draws the relevance of an image layer by layer, from the output to the input."""
    (asked,) = shown.methods([method])
    path = Path(image)
    check_image(path)
    figure_name, maps_name = f"{path.stem}-layers.png", f"{path.stem}-layers.npz"
    with replacing_together(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = model.load()
        explainer = Explainer(loaded, asked, shown.neuron, shown.where)
        ((files, (pixels,), x),) = read_batches([path], loaded, 1)
        maps, region = explainer.layers(x, files)
        figure = plot.layers(
            maps, image=pixels, names=layer or None, percentile=shown.percentile, region=region
        )
        figure.savefig(folder / figure_name)
        save_npz(folder / maps_name, maps)
    tell(
        f"The figure {figure_name} and the relevance of {counted(len(maps), 'layer')}, "
        f"{maps_name}, are in {out}."
    )


def _sentence(summary: Mapping[str, Any], others: str | int | list[int] | None) -> str:
    what = "all neurons" if summary["neuron"] == "all" else f"neuron {summary['neuron']}"
    # The digits' labels are their neurons' numbers.
    if summary["class"] not in (None, str(summary["neuron"])):
        what += f" ({summary['class']})"
    if "positions" in summary:
        what += f" at {counted(summary['positions'], 'position')}"
    if others is not None:
        some = [others] if isinstance(others, int) else others
        listed = "the others" if isinstance(some, str) else ", ".join(map(str, some))
        what += f" against {listed}"
    logit, total = summary["logit"], summary["relevance_sum"]
    return f"{what}, logit {logit:.4g}, the map sums to {total:.4g}"
