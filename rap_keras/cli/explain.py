"""The commands `rap-keras explain`, `compare` and `layers`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rap_keras.analyzers.registry import find_method
from rap_keras.cli.explainer import Explainer
from rap_keras.cli.options import (
    BatchSizeOption,
    ImageArgument,
    ImageArguments,
    MeanOption,
    MethodOption,
    ModelOption,
    NeuronOption,
    OutOption,
    PercentileOption,
    PreprocessOption,
    SizeOption,
    StdOption,
    WeightsOption,
    check_percentile,
    read_numbers,
)
from rap_keras.cli.session import import_tensorflow, output_folder, unique_stems
from rap_keras.errors import InputError
from rap_keras.support.files import save_npz
from rap_keras.support.images import collect_images, read_image
from rap_keras.support.progress import track
from rap_keras.support.text import counted


def explain(
    images: ImageArguments,
    model: ModelOption = "vgg16",
    weights: WeightsOption = "imagenet",
    preprocess: PreprocessOption = "auto",
    mean: MeanOption = None,
    std: StdOption = None,
    size: SizeOption = None,
    method: MethodOption = "rap",
    neuron: NeuronOption = "max",
    percentile: PercentileOption = None,
    batch_size: BatchSizeOption = 8,
    out: OutOption = Path("rap-explain"),
) -> None:
    """Explains images: a figure and the raw map of each, and explain.json about all."""
    shift, scale = read_numbers("--mean", mean), read_numbers("--std", std)
    check_percentile(percentile)
    paths = collect_images(images)
    for path in paths:
        read_image(path)
    with output_folder(out) as folder:
        import_tensorflow()
        from rap_keras import plot
        from rap_keras.models.loading import load_model

        loaded = load_model(model, weights, preprocess, shift, scale, size)
        explainer = Explainer(loaded, method, neuron, batch_size)
        stems = dict(zip(paths, unique_stems(paths), strict=True))
        records = []
        for path, image, explained in track(
            explainer.explain_files(paths), "explaining", len(paths)
        ):
            stem = stems[path]
            figure = plot.explanation(explained.relevance, image, percentile, method)
            figure.savefig(folder / f"{stem}.png")
            np.save(folder / f"{stem}.npy", explained.relevance)
            record = {"file": str(path), "figure": f"{stem}.png", "map": f"{stem}.npy"}
            records.append(record | {"method": method} | explained.summary())
        summary = {
            "model": model,
            "weights": loaded.weights,
            "preprocess": preprocess,
            "mean": shift,
            "std": scale,
            "images": records,
        }
        (folder / "explain.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    for record in records:
        typer.echo(f"{record['file']}: {_sentence(record)}")
    typer.echo(f"{counted(len(records), 'figure')} and maps, and explain.json, are in {out}.")


def compare(
    images: ImageArguments,
    model: ModelOption = "vgg16",
    weights: WeightsOption = "imagenet",
    preprocess: PreprocessOption = "auto",
    mean: MeanOption = None,
    std: StdOption = None,
    size: SizeOption = None,
    methods: Annotated[
        str, typer.Option(help="The methods to compare, separated by commas.")
    ] = "rap,lrp.alpha_1_beta_0,lrp.alpha_2_beta_1,gradient,input_t_gradient",
    patterns: Annotated[
        Path | None, typer.Option(help="The patterns of pattern.net and pattern.attribution, .npz.")
    ] = None,
    neuron: NeuronOption = "max",
    percentile: PercentileOption = None,
    batch_size: BatchSizeOption = 8,
    out: OutOption = Path("rap-compare"),
) -> None:
    """Explains images by several methods: one figure, a row for each image, and all maps."""
    shift, scale = read_numbers("--mean", mean), read_numbers("--std", std)
    check_percentile(percentile)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(f"--methods are different names, separated by commas, not {methods!r}.")
    paths = collect_images(images)
    for path in paths:
        read_image(path)
    with output_folder(out) as folder:
        import_tensorflow()
        from rap_keras import plot
        from rap_keras.models.loading import load_model

        loaded = load_model(model, weights, preprocess, shift, scale, size)
        explainers = {}
        for name in names:
            record = find_method(name)
            needed = record is not None and record.needs_patterns
            options = {"patterns": patterns} if needed else {}
            explainers[name] = Explainer(loaded, name, neuron, batch_size, **options)
        pixels: list[Any] = []
        maps: dict[str, list[Any]] = {name: [] for name in names}
        work = ((n, *item) for n, one in explainers.items() for item in one.explain_files(paths))
        for name, _, image, explained in track(work, "explaining", len(paths) * len(names)):
            maps[name].append(explained.relevance)
            if name == names[0]:
                pixels.append(image)
        if len({image.shape for image in pixels}) > 1:
            raise InputError("The images of one figure have one size; pass --size.")
        stacked = {name: np.stack(parts) for name, parts in maps.items()}
        stems = unique_stems(paths)
        plot.grid(np.stack(pixels), stacked, percentile, row_titles=stems).savefig(
            folder / "compare.png"
        )
        save_npz(folder / "compare.npz", {"images": np.stack(pixels)} | stacked)
    typer.echo(
        f"{counted(len(paths), 'image')} by {counted(len(names), 'method')}: the figure compare.png "
        f"and the maps, compare.npz, are in {out}."
    )


def layers(
    image: ImageArgument,
    model: ModelOption = "vgg16",
    weights: WeightsOption = "imagenet",
    preprocess: PreprocessOption = "auto",
    mean: MeanOption = None,
    std: StdOption = None,
    size: SizeOption = None,
    method: MethodOption = "rap",
    neuron: NeuronOption = "max",
    percentile: PercentileOption = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Draw this layer; repeat for more. Default: a dozen.")
    ] = None,
    out: OutOption = Path("rap-layers"),
) -> None:
    """Draws the relevance of an image layer by layer, from the output to the input."""
    shift, scale = read_numbers("--mean", mean), read_numbers("--std", std)
    check_percentile(percentile)
    path = Path(image)
    read_image(path)
    figure_name, maps_name = f"{path.stem}-layers.png", f"{path.stem}-layers.npz"
    with output_folder(out) as folder:
        import_tensorflow()
        from rap_keras import plot
        from rap_keras.models.loading import load_model

        loaded = load_model(model, weights, preprocess, shift, scale, size)
        explainer = Explainer(loaded, method, neuron)
        pixels = read_image(path, loaded.input_size)
        maps = explainer.layers(pixels)
        figure = plot.layers(maps, image=pixels, names=layer or None, percentile=percentile)
        figure.savefig(folder / figure_name)
        save_npz(folder / maps_name, maps)
    typer.echo(
        f"The figure {figure_name} and the relevance of {counted(len(maps), 'layer')}, "
        f"{maps_name}, are in {out}."
    )


def _sentence(summary: Mapping[str, Any]) -> str:
    what = "all neurons" if summary["neuron"] == "all" else f"neuron {summary['neuron']}"
    # The digits' labels are their neurons' numbers.
    if summary["class"] not in (None, str(summary["neuron"])):
        what += f" ({summary['class']})"
    logit, total = summary["logit"], summary["relevance_sum"]
    return f"{what}, logit {logit:.4g}, sum of relevance {total:.4g}"
