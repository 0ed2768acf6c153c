"""The commands `rap-keras explain`, `compare` and `layers`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rap_keras.cli.explainer import Explained, Explainer
from rap_keras.cli.flags import shared_flags
from rap_keras.cli.images import Images, unique_stems
from rap_keras.cli.options import (
    BatchSizeOption,
    ImageArgument,
    ImageArguments,
    MapFlags,
    MethodOption,
    ModelFlags,
    OutOption,
    StrictOption,
)
from rap_keras.cli.session import import_native, results_in, tell
from rap_keras.errors import InputError
from rap_keras.support.files import save_npz
from rap_keras.support.fitting import restored
from rap_keras.support.images import read_image
from rap_keras.support.progress import track
from rap_keras.support.text import counted, one_line, printable


@shared_flags
def explain(
    images: ImageArguments,
    model: ModelFlags,
    *,
    method: MethodOption = "rap",
    shown: MapFlags,
    original_size: Annotated[
        bool,
        typer.Option("--original-size", help="Bring each map back to the size of its image."),
    ] = False,
    batch_size: BatchSizeOption = 8,
    strict: StrictOption = False,
    out: OutOption = Path("rap-explain"),
) -> None:
    """Explains images: a figure and the raw map of each, and explain.json about all."""
    (asked,) = shown.methods([method])
    others = asked.options.get("contrast")
    files = Images(images, strict, shown.fit)
    with results_in(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = shown.named(model.load())
        explainer = Explainer(loaded, asked, shown.neuron, shown.where, batch_size)
        stems = dict(zip(files.paths, unique_stems(files.paths), strict=True))
        records = []
        work = (
            item
            for paths, pixels, x in files.batches(loaded, batch_size)
            for item in zip(paths, pixels, explainer.explain(x, paths), strict=True)
        )
        for path, image, explained in track(work, "explaining", len(files)):
            stem = stems[path]
            record = {"file": str(path), "figure": f"{stem}.png", "map": f"{stem}.npy"}
            record = {key: printable(name) for key, name in record.items()}
            record |= {"method": method} | explained.summary()
            records.append(record)
            relevance = explained.relevance
            if original_size:
                image = read_image(path)
                relevance = restored(relevance, image.shape[:2], shown.fit)
            figure = plot.explanation(
                relevance,
                image,
                title=method,
                # An output's positions are those of the fitted image.
                region=None if original_size and shown.fit != "warp" else explained.outlined,
                caption=f"{loaded.name}: {_decision(record, others)}",
                **shown.drawing,
            )
            figure.savefig(folder / f"{stem}.png")
            np.save(folder / f"{stem}.npy", relevance)
        about = _about(model, loaded, shown) | {
            "original_size": original_size,
            "contrast": others,
            "images": records,
            "skipped": files.skipped,
        }
        _write_json(folder / "explain.json", about)
    for record in records:
        total = f"the map sums to {record['relevance_sum']:.4g}"
        tell(f"{one_line(record['file'])}: {_decision(record, others)}, {total}")
    tell(f"{counted(len(records), 'figure')} and maps, and explain.json, are in {one_line(out)}.")


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
    strict: StrictOption = False,
    out: OutOption = Path("rap-compare"),
) -> None:
    """Explains images by several methods: one figure, a row for each image, and all maps."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"methods are different names, separated by commas, not {methods!r}.", "methods"
        )
    asked = shown.methods(names)
    files = Images(images, strict, shown.fit)
    with results_in(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = shown.named(model.load())
        explainers = {
            method.title: Explainer(loaded, method, shown.neuron, shown.where, batch_size)
            for method in asked
        }
        pixels: list[Any] = []
        firsts: list[Explained] = []
        maps: dict[str, list[Any]] = {name: [] for name in names}

        def work() -> Iterator[tuple[str, Explained]]:
            for paths, batch, x in files.batches(loaded, batch_size):
                pixels.extend(batch)
                if batch[0].shape != pixels[0].shape:
                    raise InputError("One figure needs images of one shape: pass size=N.", "size")
                for name, explainer in explainers.items():
                    yield from ((name, one) for one in explainer.explain(x, paths))

        for name, one in track(work(), "explaining", len(files) * len(names)):
            maps[name].append(one.relevance)
            if name == names[0]:
                firsts.append(one)
        stacked = {name: np.stack(parts) for name, parts in maps.items()}
        stems = unique_stems(files.paths)
        explained = [one.decision() for one in firsts]
        figure = plot.grid(
            np.stack(pixels),
            stacked,
            row_titles=[
                f"{one_line(s)}\n{_decision(d)}" for s, d in zip(stems, explained, strict=True)
            ],
            regions=[one.outlined for one in firsts],
            caption=loaded.name,
            **shown.drawing,
        )
        figure.savefig(folder / "compare.png")
        save_npz(folder / "compare.npz", {"images": np.stack(pixels)} | stacked)
        images_told = [
            {"file": printable(str(path))} | told
            for path, told in zip(files.paths, explained, strict=True)
        ]
        about = _about(model, loaded, shown) | {"methods": names, "images": images_told}
        _write_json(folder / "compare.json", about | {"skipped": files.skipped})
    tell(
        f"{counted(len(files), 'image')} by {counted(len(names), 'method')}: the figure compare.png, "
        f"the maps, compare.npz, and what they are of, compare.json, are in {one_line(out)}."
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
    maps: Annotated[
        bool,
        typer.Option("--maps", help="Write the relevance of every layer too: up to 100 MB."),
    ] = False,
    out: OutOption = Path("rap-layers"),
) -> None:
    """Draws the relevance of an image layer by layer, from the output to the input."""
    (asked,) = shown.methods([method])
    files = Images([image], fit=shown.fit)
    if len(files) > 1:
        raise InputError(f"Expected one image, got {len(files)} in {image!r}: name one.", "image")
    (path,) = files.paths
    figure_name, maps_name, about_name = (
        f"{path.stem}-layers.{kind}" for kind in ("png", "npz", "json")
    )
    with results_in(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = shown.named(model.load())
        explainer = Explainer(loaded, asked, shown.neuron, shown.where)
        ((paths, (pixels,), x),) = files.batches(loaded, 1)
        relevance, region = explainer.layers(x, paths)
        told = explainer.explain(x, paths)[0].summary()
        decision = _decision(told, asked.options.get("contrast"))
        figure = plot.layers(
            relevance,
            image=pixels,
            names=layer or None,
            region=region,
            caption=f"{method}, {loaded.name}: {decision}",
            **shown.drawing,
        )
        figure.savefig(folder / figure_name)
        if maps:
            save_npz(folder / maps_name, relevance)
        about = _about(model, loaded, shown) | {"contrast": asked.options.get("contrast")}
        about |= {"file": printable(str(path)), "method": method} | told
        _write_json(folder / about_name, about)
    figure_name, maps_name, about_name = map(one_line, (figure_name, maps_name, about_name))
    written = f"The figure {figure_name} of {counted(len(relevance), 'layer')}"
    parts = f", their relevance, {maps_name}," if maps else ""
    tell(f"{written}{parts} and what it is of, {about_name}, are in {one_line(out)}.")


def _about(model: ModelFlags, loaded: Any, shown: MapFlags) -> dict[str, Any]:
    """What was explained by which model: what every command writes down."""
    return {
        "model": model.model,
        "weights": loaded.weights,
        "preprocess": model.preprocess,
        "mean": model.shift,
        "std": model.scale,
        "output": loaded.output,
        "region": shown.region,
        "fit": shown.fit,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _decision(summary: Mapping[str, Any], others: str | int | list[int] | None = None) -> str:
    """What is explained, and its logit."""
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
    return f"{what}, logit {summary['logit']:.4g}"
