"""The commands `rap-keras concepts ...`: which features drove a decision, with reference images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from rap_keras.cli.messages import Command, Commands
from rap_keras.cli.options import (
    A_FOLDER,
    ClassesOption,
    ColormapOption,
    FitOption,
    ImageArgument,
    ImageArguments,
    MethodOption,
    ModelFlags,
    PercentileOption,
    StrictOption,
    method_option,
    open_image,
    output_option,
    speed_option,
    target_option,
)
from rap_keras.cli.parts import WorkFlags, reporting_progress, shared_flags
from rap_keras.cli.session import echo, import_native, results_in, write_json
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes
from rap_keras.support.files import check_writable
from rap_keras.support.images import collect_images
from rap_keras.support.text import counted, one_line

if TYPE_CHECKING:
    from rap_keras.concepts.atlas import Atlas

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Show which features drove a decision, with reference images.",
)

AtlasOption = Annotated[Path, output_option(help="The folder for the atlas.", **A_FOLDER)]
TargetOption = Annotated[
    str,
    target_option(
        metavar="CLASS",
        help="The class to explain: an index, a name or max (the largest logit of each image).",
    ),
]


@app.command(cls=Command)
@shared_flags
def fit(
    images: ImageArguments,
    model: ModelFlags,
    *,
    layer: Annotated[
        str | None,
        method_option(
            metavar="NAME",
            help="The layer whose channels are shown. Default: the last layer of feature maps.",
        ),
    ] = None,
    method: MethodOption = "rap",
    target: TargetOption = "max",
    fit: FitOption = "warp",
    count: Annotated[
        int, output_option(min=1, metavar="N", help="Number of reference images of each channel.")
    ] = 8,
    chunk: Annotated[
        int,
        speed_option(min=1, metavar="N", help="Images explained as one batch and stored together."),
    ] = 8,
    strict: StrictOption = False,
    work: WorkFlags,
    out: AtlasOption = Path("atlas"),
) -> None:
    """Find the images in which each channel is most relevant. Rerun the command to resume."""
    from rap_keras.concepts.settings import Settings

    wanted = _target(target)
    Settings(layer, method, wanted, count, fit, chunk)  # checked before Keras is loaded
    part = work.read_shard()
    files = collect_images(images)
    with reporting_progress(out):
        distributed = work.read_workers()
        check_writable(out)
        import_native()
        from rap_keras.concepts.fitting import fit as fit_atlas

        atlas = fit_atlas(
            model.model,
            files,
            out,
            layer,
            method=method,
            target=wanted,
            count=count,
            fit=fit,
            chunk=chunk,
            shard=part,
            strict=strict,
            workers=distributed,
            **model.loading,
        )
    if atlas is None:
        echo(
            f"Part {work.shard} is measured: {one_line(out)}. Merge all parts with rap-keras concepts "
            "merge."
        )
        return
    _report(atlas, out)


@app.command(cls=Command)
def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="The output folders of all parts.", **A_FOLDER)
    ],
    out: AtlasOption = Path("atlas"),
) -> None:
    """Merge the parts of an atlas that was fitted with --shard."""
    from rap_keras.concepts.fitting import merge as merge_parts

    with reporting_progress(out):
        _report(merge_parts(folders, out), out)


@app.command(cls=Command)
def show(
    image: ImageArgument,
    atlas: Annotated[
        Path,
        method_option(help="The folder of the atlas, made by rap-keras concepts fit.", **A_FOLDER),
    ] = Path("atlas"),
    target: TargetOption = "max",
    classes: ClassesOption = None,
    count: Annotated[
        int, output_option(min=1, metavar="N", help="Number of channels to show.")
    ] = 5,
    images: Annotated[
        Path | None,
        method_option(
            help="Where the images of the atlas are now, if they were moved.", **A_FOLDER
        ),
    ] = None,
    percentile: PercentileOption = None,
    colormap: ColormapOption = None,
    out: Annotated[Path, output_option(help="The folder for the results.", **A_FOLDER)] = Path(
        "rap-concepts"
    ),
) -> None:
    """Explain an image by its most relevant channels: write a figure, the maps and a summary."""
    from rap_keras.concepts.atlas import load

    known = load(atlas)
    (source,) = open_image(image).sources
    wanted = _target(target)
    drawing: dict[str, Any] = {"percentile": percentile, "colormap": colormap}
    names = None if classes is None else read_classes(classes)
    with results_in(out) as folder:
        import_native()
        from rap_keras.concepts.explaining import explain

        found = explain(known, source, wanted, count, images=images, classes=names)
        figure, maps, about = (f"{source.stem}-concepts.{kind}" for kind in ("png", "npz", "json"))
        given = {name: value for name, value in drawing.items() if value is not None}
        found.plot(**given).savefig(folder / figure)
        np.savez_compressed(folder / maps, image=found.image, maps=found.maps)
        write_json(folder / about, found.summary())
    echo(f"{one_line(source)}: {found.decision}")
    for one in found.concepts:
        echo(f"  {known.kind} {one.unit}: {one.share:.1%} of the logit")
    echo(
        f"The figure {one_line(figure)}, {one_line(maps)} and {one_line(about)} are in {one_line(out)}."
    )


def _target(text: str) -> int | str | None:
    """Reads one class, by number or name; None is the largest logit."""
    text = text.strip()
    if text == "max":
        return None
    if not text or text == "all" or "," in text or text.startswith(("top:", "-")):
        raise InputError(
            f"Expected target to be max or one class, by index or name, got {text!r}.", "target"
        )
    return int(text) if text.isdecimal() else text


def _report(atlas: "Atlas", out: Path) -> None:
    echo(
        f"The references of {counted(len(atlas), atlas.kind)} of {atlas.layer} are in {one_line(out)}. "
        f"Explain an image with rap-keras concepts show IMAGE --atlas {one_line(out)}."
    )
