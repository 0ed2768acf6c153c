"""The command line: `rap-keras demo`, `rap-keras explain` and `rap-keras layers`.

What the user got wrong is one sentence on stderr and exit code 2, and leaves no files behind.
TensorFlow takes seconds to import, so only the commands that compute import it.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from typer.core import TyperGroup

import rap_keras
from rap_keras.errors import InputError
from rap_keras.images import collect_images, read_image
from rap_keras.progress import track
from rap_keras.quiet import silenced_stderr

DEMO_SCENES = 6
DEMO_MODELS = ("vgg", "residual")
DEMO_METHODS = ("rap", "gradient", "input_t_gradient")


class _Commands(TyperGroup):
    """Tells an error of the user in one line, as typer tells those of usage."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            # Tables that a message goes on with are for Python sessions.
            sentence = " ".join(str(error).partition("\n\n")[0].split())
            typer.echo(f"rap-keras: {sentence}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

ImageArguments = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Image files, folders of them, or patterns.")
]
ImageArgument = Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.")]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="An application of Keras (vgg16, resnet50, ...), embedded:vgg, embedded:residual, "
        "FILE.keras, FILE.h5, or FILE.py:function that returns the model.",
    ),
]
WeightsOption = Annotated[
    str, typer.Option(help="An application's weights: imagenet, none (random), or a file.")
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        help="From pixels to the model's input: auto, none, unit, tf, caffe, torch, or the name of "
        "an application."
    ),
]
MeanOption = Annotated[
    str | None, typer.Option(help="Subtract this after --preprocess: one number or R,G,B.")
]
StdOption = Annotated[str | None, typer.Option(help="Then divide by this: one number or R,G,B.")]
SizeOption = Annotated[
    int | None, typer.Option(help="Height and width of the images, if the model takes any.")
]
MethodOption = Annotated[str, typer.Option(help="The method: rap, gradient, ...")]
NeuronOption = Annotated[
    str, typer.Option(help="What to explain: the neuron with the max logit, all, or an INDEX.")
]
PercentileOption = Annotated[
    float | None,
    typer.Option(help="Colours saturate at this percentile of |relevance|; default: its maximum."),
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images computed at a time.")]
OutOption = Annotated[Path, typer.Option(help="The folder for the results.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rap-keras {rap_keras.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Shows what in an image speaks for and against an image classifier's decision."""


@app.command()
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
    shift, scale = _numbers("--mean", mean), _numbers("--std", std)
    _check_percentile(percentile)
    paths = collect_images(images)
    for path in paths:
        read_image(path)
    with _output_folder(out) as folder:
        _import_tensorflow()
        from rap_keras import plot
        from rap_keras.models import load_model

        loaded = load_model(model, weights, preprocess, shift, scale, size)
        explainer = _Explainer(loaded, method, neuron, batch_size)
        stems = dict(zip(paths, _unique_stems(paths), strict=True))
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
    typer.echo(f"{_counted(len(records), 'figure')} and maps, and explain.json, are in {out}.")


@app.command()
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
    shift, scale = _numbers("--mean", mean), _numbers("--std", std)
    _check_percentile(percentile)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(f"--methods are different names, separated by commas, not {methods!r}.")
    paths = collect_images(images)
    for path in paths:
        read_image(path)
    with _output_folder(out) as folder:
        _import_tensorflow()
        from rap_keras import plot
        from rap_keras.models import load_model

        loaded = load_model(model, weights, preprocess, shift, scale, size)
        explainers = {}
        for name in names:
            options = {"patterns": patterns} if name.startswith("pattern.") else {}
            explainers[name] = _Explainer(loaded, name, neuron, batch_size, **options)
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
        stems = _unique_stems(paths)
        plot.grid(np.stack(pixels), stacked, percentile, row_titles=stems).savefig(
            folder / "compare.png"
        )
        _save_npz(folder / "compare.npz", {"images": np.stack(pixels)} | stacked)
    typer.echo(
        f"{_counted(len(paths), 'image')} by {_counted(len(names), 'method')}: the figure compare.png "
        f"and the maps, compare.npz, are in {out}."
    )


@app.command()
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
    shift, scale = _numbers("--mean", mean), _numbers("--std", std)
    _check_percentile(percentile)
    path = Path(image)
    read_image(path)
    figure_name, maps_name = f"{path.stem}-layers.png", f"{path.stem}-layers.npz"
    with _output_folder(out) as folder:
        _import_tensorflow()
        from rap_keras import plot
        from rap_keras.models import load_model

        loaded = load_model(model, weights, preprocess, shift, scale, size)
        explainer = _Explainer(loaded, method, neuron)
        pixels = read_image(path, loaded.input_size)
        maps = explainer.layers(pixels)
        figure = plot.layers(maps, image=pixels, names=layer or None, percentile=percentile)
        figure.savefig(folder / figure_name)
        _save_npz(folder / maps_name, maps)
    typer.echo(
        f"The figure {figure_name} and the relevance of {_counted(len(maps), 'layer')}, "
        f"{maps_name}, are in {out}."
    )


@app.command()
def demo(out: OutOption = Path("rap-demo")) -> None:
    """Explains scenes with digits by two small models that come along; nothing is downloaded."""
    with _output_folder(out) as folder:
        _import_tensorflow()
        from rap_keras import plot
        from rap_keras.datasets import cluttered_digits

        scenes = cluttered_digits(DEMO_SCENES)
        typer.echo(f"{DEMO_SCENES} scenes with one handwritten digit each, among clutter.")
        rap_maps = {}
        for name in DEMO_MODELS:
            rap_maps[f"rap, {name}"] = _demo_model(name, scenes, folder)
        plot.grid(
            scenes.images, rap_maps, row_titles=_digit_titles(scenes), over_image=True
        ).savefig(folder / "overlays.png")
        written = sorted(path.name for path in folder.iterdir())
    typer.echo(f"\nThe figures and raw maps are in {out}: {', '.join(written)}.")


def main() -> None:
    """Runs the command line."""
    app(prog_name="rap-keras")


def _demo_model(name: str, scenes: Any, folder: Path) -> NDArray[Any]:
    """Writes what one model makes of the scenes, prints it, and returns the RAP maps."""
    from rap_keras import plot
    from rap_keras.models import load_model

    loaded = load_model(f"embedded:{name}")
    explainers = {method: _Explainer(loaded, method) for method in DEMO_METHODS}
    explained = {method: one.explain(scenes.images) for method, one in explainers.items()}
    maps = {method: np.stack([one.relevance for one in all_]) for method, all_ in explained.items()}

    typer.echo(f"\nThe {name} model, explained by rap:")
    typer.echo(
        "  digit  predicted    logit  sum of relevance  positive relevance in digit  its area"
    )
    inside, area = _share_inside(maps["rap"], scenes.masks), scenes.masks.mean(axis=(1, 2))
    for k, one in enumerate(explained["rap"]):
        typer.echo(
            f"{scenes.labels[k]:>7}{one.label:>11}{one.logit:>9.4g}{one.relevance.sum():>18.4g}"
            f"{inside[k]:>29.0%}{area[k]:>10.0%}"
        )
    means = (f"{method} {_share_inside(maps[method], scenes.masks).mean():.0%}" for method in maps)
    typer.echo(f"  Positive relevance in the digit, on average: {', '.join(means)}.")

    figure = plot.grid(scenes.images, maps, row_titles=_digit_titles(scenes))
    figure.savefig(folder / f"{name}-grid.png")
    _save_npz(folder / f"{name}-maps.npz", {"images": scenes.images} | maps)
    layer_maps = explainers["rap"].layers(scenes.images[0])
    plot.layers(layer_maps, image=scenes.images[0]).savefig(folder / f"{name}-layers.png")
    _save_npz(folder / f"{name}-layers.npz", layer_maps)
    return maps["rap"]


def _digit_titles(scenes: Any) -> list[str]:
    return [f"digit {label}" for label in scenes.labels]


def _share_inside(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[Any]:
    """The part of each map's positive relevance inside its mask; 0 where there is none."""
    positive = np.maximum(maps.sum(axis=-1), 0)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.zeros_like(total), where=total > 0)


@dataclass(frozen=True)
class _Explained:
    """One image's relevance, and the neuron it is of (`None`: all of them together)."""

    relevance: NDArray[Any]
    neuron: int | None
    label: str | None
    logit: float

    def summary(self) -> dict[str, Any]:
        return {
            "neuron": "all" if self.neuron is None else self.neuron,
            "class": self.label,
            "logit": self.logit,
            "relevance_sum": float(self.relevance.sum(dtype=np.float64)),
        }


class _Explainer:
    """A method on a loaded model, for images as they are read."""

    def __init__(
        self, loaded: Any, method: str, neuron: str = "max", batch_size: int = 8, **options: Any
    ) -> None:
        self.loaded = loaded
        self.batch_size = batch_size
        self.neuron = _neuron(neuron, loaded)
        # The neuron is chosen here, so that the one reported is the one explained.
        mode = "all" if self.neuron == "all" else "index"
        self.analyzer = rap_keras.create_analyzer(
            method, loaded.model, neuron_selection_mode=mode, batch_size=batch_size, **options
        )

    def explain_files(
        self, paths: Sequence[Path]
    ) -> Iterator[tuple[Path, NDArray[np.uint8], _Explained]]:
        """Each file with its pixels as the model sees them; one batch in memory at a time."""
        for batch in self._batches(paths):
            images = np.stack([image for _, image in batch])
            for (path, image), explained in zip(batch, self.explain(images), strict=True):
                yield path, image, explained

    def explain(self, images: NDArray[np.uint8]) -> list[_Explained]:
        """The relevance of each of the images, which are of one size."""
        x = self.loaded.preprocess(images)
        logits, neurons = self._selected(x)
        maps = self.analyzer.analyze(x, neurons)
        if neurons is None:
            return [
                _Explained(relevance, None, None, float(row.sum()))
                for relevance, row in zip(maps, logits, strict=True)
            ]
        labels = self.loaded.labels
        return [
            _Explained(relevance, int(k), labels[k] if labels else None, float(row[k]))
            for relevance, row, k in zip(maps, logits, neurons, strict=True)
        ]

    def layers(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """The relevance of one image at every layer."""
        if not hasattr(self.analyzer, "analyze_layers"):
            raise InputError(f"The method {self.analyzer.name!r} has no relevance of layers.")
        x = self.loaded.preprocess(image[np.newaxis])
        return self.analyzer.analyze_layers(x, self._selected(x)[1])

    def _selected(self, x: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The logits, and the neuron of each image (`None`: all)."""
        logits = self.loaded.logits(x)
        if self.neuron == "all":
            return logits, None
        if self.neuron == "max":
            return logits, logits.argmax(axis=1)
        return logits, np.full(len(logits), self.neuron)

    def _batches(self, paths: Sequence[Path]) -> Iterator[list[tuple[Path, NDArray[np.uint8]]]]:
        """Images to compute together: of one size, and no more than the batch size."""
        batch: list[tuple[Path, NDArray[np.uint8]]] = []
        for path in paths:
            image = read_image(path, self.loaded.input_size)
            if batch and (len(batch) == self.batch_size or image.shape != batch[0][1].shape):
                yield batch
                batch = []
            batch.append((path, image))
        yield batch


def _neuron(text: str, loaded: Any) -> str | int:
    if text in ("max", "all"):
        return text
    count = loaded.model.outputs[0].shape[-1]
    try:
        index = int(text)
    except ValueError:
        raise InputError(f"--neuron is max, all or an index, not {text!r}.") from None
    if not 0 <= index < count:
        raise InputError(f"{loaded.name} has the neurons 0 to {count - 1}, but no neuron {index}.")
    return index


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{option} is one number or R,G,B, not {text!r}.") from None


def _check_percentile(percentile: float | None) -> None:
    if percentile is not None and not 0 < percentile <= 100:
        raise InputError(f"--percentile is above 0 and at most 100, not {percentile:g}.")


def _unique_stems(paths: Sequence[Path]) -> list[str]:
    """A name for each file's results; files that are called alike get a number."""
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        # Some file systems take names that differ in case only for the same.
        while stem.lower() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def _sentence(summary: Mapping[str, Any]) -> str:
    what = "all neurons" if summary["neuron"] == "all" else f"neuron {summary['neuron']}"
    # The digits' labels are their neurons' numbers.
    if summary["class"] not in (None, str(summary["neuron"])):
        what += f" ({summary['class']})"
    logit, total = summary["logit"], summary["relevance_sum"]
    return f"{what}, logit {logit:.4g}, sum of relevance {total:.4g}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Like `np.savez_compressed`, which has no room for layers called "file"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            several = isinstance(value, list)
            parts = {f"{name}[{k}]": v for k, v in enumerate(value)} if several else {name: value}
            for key, array in parts.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


@contextlib.contextmanager
def _output_folder(out: Path) -> Iterator[Path]:
    """Yields a folder for a command's files: all of them appear in `out`, or none do."""
    created: list[Path] = []
    staging: Path | None = None
    try:
        for parent in reversed([out, *out.parents]):
            if not parent.exists():
                parent.mkdir()
                created.append(parent)
        # Inside of out, so that moving the files is a renaming, which cannot end half-way.
        staging = Path(tempfile.mkdtemp(prefix=".rap-keras-", dir=out))
        yield staging
        files = sorted(staging.iterdir())
        for file in files:
            if (out / file.name).is_dir():
                raise InputError(
                    f"{str(out / file.name)!r} is a folder, so no file can take its name."
                )
        for file in files:
            os.replace(file, out / file.name)
        created = []
    except OSError as error:
        raise InputError(
            f"The folder {str(out)!r} cannot be written to ({error.strerror or error})."
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in reversed(created):
            # Not empty if somebody else has written to it meanwhile.
            with contextlib.suppress(OSError):
                folder.rmdir()


def _import_tensorflow() -> None:
    """Imports TensorFlow without its chatter on stderr, unless the user has set what it logs.

    TF_CPP_MIN_LOG_LEVEL alone does not do: some libraries log before TensorFlow reads it.
    """
    if "tensorflow" in sys.modules:
        return
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced_stderr() if quiet else contextlib.nullcontext():
        import keras
        import tensorflow as tf

        tf.config.list_logical_devices()
    if not sys.stdout.isatty():
        # The bar of a download is for a terminal.
        keras.config.disable_interactive_logging()


# They add their commands, and take their options from here.
import rap_keras.cli_benchmark  # noqa: E402
import rap_keras.cli_patterns  # noqa: E402
