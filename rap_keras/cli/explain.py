"""The commands `rap-keras explain`, `compare` and `layers`."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from rap_keras.analyzers.explanation import Explanation
from rap_keras.cli.options import (
    A_SWITCH,
    BatchSizeOption,
    ImageArgument,
    ImageArguments,
    MapFlags,
    MethodOption,
    ModelFlags,
    OutOption,
    StrictOption,
    method_option,
    open_image,
    open_images,
    output_option,
)
from rap_keras.cli.parts import shared_flags
from rap_keras.cli.session import echo, import_native, results_in, unique_stems, write_json
from rap_keras.errors import InputError
from rap_keras.models.loading import LoadedModel
from rap_keras.pipeline.explain import at_size_of
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.images import pixels_of
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.support.files import save_npz
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
        output_option(
            "--original-size", help="Resize each map to the size of its image.", **A_SWITCH
        ),
    ] = False,
    batch_size: BatchSizeOption = 8,
    strict: StrictOption = False,
    out: OutOption = Path("rap-explain"),
) -> None:
    """Explain images: write a figure and the raw map of each, and explain.json."""
    (spec,) = shown.methods([method])
    files = open_images(images, shown.fit, strict)
    with results_in(out) as folder:
        explainer, loaded = _explainer(spec, model, shown, batch_size)
        stems = dict(zip(files.sources, unique_stems(files.sources), strict=True))
        records, lines = [], []

        def work() -> Iterator[tuple[Any, Explanation]]:
            first = 0
            for paths, pixels, x in files.batches(loaded, batch_size):
                found = explainer.explain(x, *shown.selection, paths, first)
                yield from zip(paths, dataclasses.replace(found, images=pixels), strict=True)
                first += len(paths)

        for path, one in track(work(), "explaining", len(files)):
            stem = stems[path]
            record = {"file": str(path), "figure": f"{stem}.png", "map": f"{stem}.npy"}
            record = {key: printable(name) for key, name in record.items()} | {"method": method}
            (summary,) = one.summaries()
            records.append(record | summary)
            lines.append(f"{one_line(record['file'])}: {_with_sums(one, summary)}")
            if original_size:
                one = at_size_of(pixels_of(path)[np.newaxis], one, shown.fit)
            one.plot(**shown.drawing).savefig(folder / f"{stem}.png")
            np.save(folder / f"{stem}.npy", one.relevance[0])
        about = _about(model, loaded, shown) | {
            "original_size": original_size,
            "contrast": spec.options.get("contrast"),
            "images": records,
            "skipped": files.skipped,
        }
        write_json(folder / "explain.json", about)
    for line in lines:
        echo(line)
    echo(
        f"{counted(len(records), 'figure')} with raw maps and explain.json are in {one_line(out)}."
    )


@shared_flags
def compare(
    images: ImageArguments,
    model: ModelFlags,
    *,
    methods: Annotated[
        str,
        method_option(
            metavar="METHODS",
            help="Methods, separated by commas, with options if needed: rap, rap:variant=released, "
            "FILE.py:function. See rap-keras methods.",
        ),
    ] = "rap, lrp.alpha_1_beta_0, lrp.alpha_2_beta_1, gradient, input_t_gradient",
    shown: MapFlags,
    batch_size: BatchSizeOption = 8,
    strict: StrictOption = False,
    out: OutOption = Path("rap-compare"),
) -> None:
    """Explain images by several methods, in one figure with a row per image."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"Expected methods to be different names, separated by commas, got {methods!r}.",
            "methods",
        )
    specs = shown.methods(names)
    files = open_images(images, shown.fit, strict)
    with results_in(out) as folder:
        import_native()
        from rap_keras import plot

        loaded = shown.named(model.load())
        explainers = {one.title: Explainer(loaded, one, batch_size=batch_size) for one in specs}
        pixels: list[Any] = []
        firsts: list[Explanation] = []
        maps: dict[str, list[Any]] = {name: [] for name in names}

        def work() -> Iterator[tuple[str, Explanation]]:
            for paths, batch, x in files.batches(loaded, batch_size):
                first = len(pixels)
                pixels.extend(batch)
                if batch[0].shape != pixels[0].shape:
                    raise InputError(
                        "Expected images of one size for a figure, because the model accepts any size: "
                        "pass size=N.",
                        "size",
                    )
                for name, explainer in explainers.items():
                    found = explainer.explain(x, *shown.selection, paths, first)
                    if found.is_several:
                        raise InputError(
                            f"Expected one class to compare, got target={shown.target}: name one class, "
                            "or use rap-keras explain.",
                            "target",
                        )
                    yield from ((name, one) for one in found)

        for name, one in track(work(), "explaining", len(files) * len(names)):
            maps[name].append(one.relevance[0])
            if name == names[0]:
                firsts.append(dataclasses.replace(one, against=None))
        stacked = {name: np.stack(parts) for name, parts in maps.items()}
        stems = unique_stems(files.sources)
        figure = plot.grid(
            np.stack(pixels),
            stacked,
            row_titles=[
                f"{one_line(stem)}\n{one.decisions[0]}"
                for stem, one in zip(stems, firsts, strict=True)
            ],
            regions=[one.regions[0] for one in firsts],
            caption=loaded.name,
            **shown.drawing,
        )
        figure.savefig(folder / "compare.png")
        save_npz(folder / "compare.npz", {"images": np.stack(pixels)} | stacked)
        records = [
            {"file": printable(str(path))} | one.summaries()[0]
            for path, one in zip(files.sources, firsts, strict=True)
        ]
        for record in records:
            del record["relevance_sum"]  # it depends on the method
        contrasts = {one.title: one.options.get("contrast") for one in specs}
        about = _about(model, loaded, shown) | {"methods": names, "contrast": contrasts}
        about["images"] = records
        write_json(folder / "compare.json", about | {"skipped": files.skipped})
    echo(
        f"{counted(len(files), 'image')} by {counted(len(names), 'method')}: the figure compare.png, "
        f"the raw maps compare.npz and compare.json are in {one_line(out)}."
    )


@shared_flags
def layers(
    image: ImageArgument,
    model: ModelFlags,
    *,
    method: MethodOption = "rap",
    shown: MapFlags,
    layer: Annotated[
        list[str] | None,
        output_option(
            metavar="NAME", help="Draw this layer; repeat for more. Default: up to 12 layers."
        ),
    ] = None,
    maps: Annotated[
        bool,
        output_option(
            "--maps", help="Also write the relevance of every layer (up to 100 MB).", **A_SWITCH
        ),
    ] = False,
    out: OutOption = Path("rap-layers"),
) -> None:
    """Draw the relevance of one image at the layers, from the output to the input."""
    (spec,) = shown.methods([method])
    files = open_image(image, shown.fit)
    (path,) = files.sources
    figure_name, maps_name, about_name = (
        f"{path.stem}-layers.{kind}" for kind in ("png", "npz", "json")
    )
    with results_in(out) as folder:
        explainer, loaded = _explainer(spec, model, shown)
        from rap_keras import plot

        ((paths, (pixels,), x),) = files.batches(loaded, 1)
        relevance = explainer.layers(x, *shown.selection, paths)
        found = explainer.explain(x, *shown.selection, paths)
        figure = plot.layers(
            relevance,
            image=pixels,
            names=layer or None,
            region=found.regions[0],
            caption=f"{method}, {loaded.name}: {found.decisions[0]}",
            **shown.drawing,
        )
        figure.savefig(folder / figure_name)
        if maps:
            save_npz(folder / maps_name, relevance)
        about = _about(model, loaded, shown) | {"contrast": spec.options.get("contrast")}
        about |= {"file": printable(str(path)), "method": method} | found.summaries()[0]
        write_json(folder / about_name, about)
    figure_name, maps_name, about_name = map(one_line, (figure_name, maps_name, about_name))
    written = f"The figure {figure_name}"
    if maps:
        written += f", the relevance of {counted(len(relevance), 'layer')}, {maps_name},"
    echo(f"{written} and {about_name} are in {one_line(out)}.")


def _explainer(
    method: MethodSpec, model: ModelFlags, shown: MapFlags, batch_size: int = 8
) -> tuple[Explainer, LoadedModel]:
    """Loads the model, and returns the method on it and the model."""
    import_native()
    loaded = shown.named(model.load())
    return Explainer(loaded, method, batch_size=batch_size), loaded


def _about(model: ModelFlags, loaded: LoadedModel, shown: MapFlags) -> dict[str, Any]:
    """Returns the settings that every command records."""
    return {
        "model": model.model,
        "weights": loaded.weights,
        "preprocess": model.preprocess,
        "mean": model.shift,
        "std": model.scale,
        "output": loaded.output,
        "target": shown.target,
        "region": shown.region,
        "fit": shown.fit,
    }


def _with_sums(one: Explanation, summary: Mapping[str, Any]) -> str:
    """Describes what is explained of an image, and the sums of its maps."""
    sums = np.atleast_1d(summary["relevance_sum"])
    parts = zip(one.decisions, sums, strict=True)
    return "; ".join(f"{decision}, the map sums to {total:.4g}" for decision, total in parts)
