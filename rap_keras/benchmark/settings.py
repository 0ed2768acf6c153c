"""Everything that a benchmark can be told, read and checked in one place."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rap_keras.analyzers.registry import find_method
from rap_keras.benchmark.controls import CONTROLS
from rap_keras.benchmark.methods import Method, read_method
from rap_keras.errors import InputError
from rap_keras.support.options import choose, read_integer, read_number

METRICS = (
    "ratio",
    "segmentation",
    "average_precision",
    "pointing_game",
    "conservation",
    "sparsity",
    "lerf",
    "morf",
)
BACKENDS = ("keras", "innvestigate")
KEEP = ("correct", "all")
FOREGROUND = ("class", "any")
REPLACEMENTS = ("zero", "mean", "uniform")
_LEAST = {
    "limit": 1,
    "steps": 1,
    "pixels_per_step": 1,
    "tolerance": 0,
    "size": 1,
    "batch_size": 1,
    "figures": 0,
    "resamples": 2,
}
_SEEDS = 2**32  # as many as NumPy's global generator, which Keras seeds, has
# Options of every analyzer that say what is explained, and how much at a time.
_BENCHMARKS_OWN = ("neuron_selection_mode", "batch_size")


@dataclass(frozen=True)
class Settings:
    """What to measure, and how; plain values, so that they are JSON.

    Attributes:
        model: The model, as `rap_keras.models.load_model` takes it, and so are the next five.
        weights: The weights of an application.
        preprocess: From pixels to the model's input.
        mean: What to subtract after that.
        std: What to divide by after that.
        size: Height and width of the images, for models that take any.
        classes: What the data set calls the model's classes, in the order of its neurons: a file, or the
            names, separated by commas. None: as the model itself calls them.
        data: The data set, as `rap_keras.datasets.open_dataset` takes it.
        methods: NAME or NAME:OPTION=VALUE:...
        controls: Add the control maps.
        patterns: The file with the patterns of pattern.net and pattern.attribution.
        metrics: Some of `METRICS`.
        limit: Images drawn from the data set; None: all.
        seed: Of the images drawn, of random maps, of the bootstrap.
        keep: "correct" measures the images that are classified as one of their objects, "all" measures
            all. Where the data set names no classes, all are measured.
        foreground: "class": only the pixels of the explained class; "any": of all objects.
        percentile: Foreground is above this percentile of each map; None: above the map's mean where its
            method gives no negative relevance, else above 0.
        pooled: Pixels of all images are counted together for mIOU; else each image by itself.
        steps: Steps of region perturbation.
        pixels_per_step: Pixels replaced at each; None: all pixels are, at the end.
        replacement: By what: "zero" (of the model's input), "mean" (the image's mean colour), "uniform"
            (random colours) or a level of grey, 0 to 255.
        tolerance: Of the pointing game, in pixels of the model's input.
        backend: "keras", or "innvestigate" for iNNvestigate's own baselines on Keras 2.
        batch_size: Images in a forward batch of one image's perturbations, steps or samples.
        figures: Images whose maps are kept for the figure of heat maps.
        photos: Show the images beside them; their licence may not let them be published.
        resamples: Of the bootstrap.
    """

    model: str = "embedded:vgg"
    weights: str = "imagenet"
    preprocess: str = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    classes: str | None = None
    data: str = "cluttered-digits"
    methods: tuple[str, ...] = (
        "rap",
        "lrp.alpha_1_beta_0",
        "lrp.alpha_2_beta_1",
        "gradient",
        "input_t_gradient",
        "integrated_gradients",
        "guided_backprop",
    )
    controls: bool = True
    patterns: str | None = None
    metrics: tuple[str, ...] = METRICS[:-1]
    limit: int | None = None
    seed: int = 0
    keep: str = "correct"
    foreground: str = "class"
    percentile: float | None = None
    pooled: bool = True
    steps: int = 40
    pixels_per_step: int | None = None
    replacement: str = "zero"
    tolerance: int = 0
    backend: str = "keras"
    batch_size: int = 32
    figures: int = 6
    photos: bool = True
    resamples: int = 1000

    def __post_init__(self) -> None:
        """Checks what can be checked without the model and the data.

        Raises:
            InputError: A value is none of those that its attribute takes.
        """
        choose("--keep", self.keep, KEEP)
        choose("--foreground", self.foreground, FOREGROUND)
        choose("--backend", self.backend, BACKENDS)
        for metric in self.metrics:
            choose("--metrics", metric, METRICS)
        if self.seed not in range(_SEEDS):
            raise InputError(f"Expected --seed to be from 0 to {_SEEDS - 1}, got {self.seed!r}.")
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise InputError(f"Expected --metrics to name each metric once, got {self.metrics}.")
        for name, minimum in _LEAST.items():
            value = getattr(self, name)
            if value is not None:
                read_integer("--" + name.replace("_", "-"), value, minimum)
        if (
            self.percentile is not None
            and not 0 < read_number("--percentile", self.percentile, 0) < 100
        ):
            raise InputError(f"--percentile lies between 0 and 100, not {self.percentile:g}.")
        if self.replacement not in REPLACEMENTS and not 0 <= _grey(self.replacement) <= 255:
            raise InputError(
                f"Expected --replacement to be {', '.join(REPLACEMENTS)} or a level of grey from 0 to "
                f"255, got {self.replacement!r}."
            )
        for method in map(read_method, self.methods):
            self._check_method(method)
        titles = [method.title for method in self.rows()]
        if not self.methods or len(set(titles)) < len(titles):
            raise InputError(f"Expected --methods to name each method once, got {self.methods}.")

    def _check_method(self, method: Method) -> None:
        if method.is_control:
            raise InputError(f"{method.name} is no method: --controls adds it.")
        own = [option for option in method.options if option in _BENCHMARKS_OWN]
        if own:
            raise InputError(
                f"Expected no {own[0]} in the method {method.title!r}: it is the benchmark's own."
            )
        record = find_method(method.name)
        given = self.patterns or "patterns" in method.options
        if record is not None and record.needs_patterns and not given:
            raise InputError(
                f"The method {method.title!r} needs patterns: pass --patterns FILE.npz, as rap-keras "
                "patterns fit writes it."
            )

    def rows(self) -> list[Method]:
        """The methods and then the controls."""
        methods = [read_method(text) for text in self.methods]
        controls = [Method(name, name) for name in CONTROLS] if self.controls else []
        return [self._completed(method) for method in methods] + controls

    def _completed(self, method: Method) -> Method:
        """The method with the options that concern all: the file of patterns, and the seed of noise."""
        options: dict[str, Any] = {}
        record = find_method(method.name)
        if record is not None and record.needs_patterns and self.patterns is not None:
            options["patterns"] = self.patterns
        if record is not None and record.seeded and self.backend == "keras":
            options["seed"] = self.seed
        return dataclasses.replace(method, options=options | dict(method.options))

    def threshold(self, method: Method) -> str | float:
        """Where the foreground of a method's maps begins: "mean", "zero" or a percentile."""
        if self.percentile is None or method.own_threshold is not None:
            return method.threshold
        return self.percentile

    @property
    def grey(self) -> float | None:
        """The level of grey that replaces pixels, if it is one."""
        return None if self.replacement in REPLACEMENTS else _grey(self.replacement)


def read_classes(text: str) -> tuple[str, ...]:
    """The names of a model's classes.

    Args:
        text: Names, separated by commas; or a file with one name a line; or a .csv file with the columns
            class_index and synset (or class).

    Returns:
        The names, in the order of the neurons.

    Raises:
        InputError: The file cannot be read, or names are missing or come twice.
    """
    path = Path(text)
    if path.suffix not in (".csv", ".txt"):
        names: Sequence[str] = text.split(",")
    else:
        try:
            content = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The file of classes {text!r} cannot be read ({error}).") from error
        names = _table(content, text) if path.suffix == ".csv" else content.splitlines()
    names = [name.strip() for name in names]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"Expected the classes {text!r} to be different names, none of them empty."
        )
    return tuple(names)


def _table(content: str, path: str) -> list[str]:
    rows = list(csv.DictReader(content.splitlines()))
    try:
        by_index = {int(row["class_index"]): row.get("synset") or row["class"] for row in rows}
        return [by_index[k] for k in range(len(rows))]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected {path!r} to have the columns class_index (0, 1, ...) and synset or class."
        ) from error


def _grey(text: Any) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
