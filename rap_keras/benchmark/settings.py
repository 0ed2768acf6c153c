"""The settings of a benchmark. Each is a field with its help, its check and its label in the report."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rap_keras.analyzers.registry import check_name
from rap_keras.benchmark import checks
from rap_keras.benchmark.metrics import METRICS, chosen, default_metrics, is_of_units, unit_metrics
from rap_keras.benchmark.rows import CONTROLS, EDGES, Row, read_row
from rap_keras.benchmark.tuning import tuned_methods
from rap_keras.errors import InputError
from rap_keras.pipeline.methods import check_given


@dataclass(frozen=True)
class Setting:
    """A setting, apart from its name, type and default."""

    help: str  # its description in `--help` and in `Settings`
    check: checks.Check | None = None
    label: str = ""  # its name in the report; "" uses the setting's name
    values: Mapping[Any, str] = dataclasses.field(default_factory=dict)  # as the report shows them
    recorded: bool = True  # whether the protocol contains it unchanged, not in another form


_OF_UNITS = (
    *("data", "methods", "controls", "metrics", "seed", "chunk", "batch_size", "resamples"),
    "title",
)
"""The settings that apply to mechanism tests."""


def described() -> dict[str, Setting]:
    """The settings by name, in order."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(Settings)}


def _setting(default: Any, *known: Any, **more: Any) -> Any:
    metadata = {"setting": Setting(*known, **more)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


_derived = functools.partial(_setting, recorded=False)


def _choice(label: str, help: str, values: Mapping[str, str]) -> Any:
    """A setting with a few allowed words, of which the first is the default."""
    return _setting(next(iter(values)), help, checks.one_of(*values), label, values)


@dataclass(frozen=True)
class Settings:
    """What to measure, and how. All values are JSON-serialisable.

    Example:
        >>> rap_keras.benchmark.Settings(methods=("rap", "gradient"), limit=100).data
        'cluttered-digits'
    """

    model: str = _setting(
        "bundled:vgg",
        "The model; this and the next five are as in `rap_keras.models.load_model`.",
        checks.model,
    )
    weights: str = _derived("imagenet", "Weights of an application.")
    preprocess: str = _setting("auto", "How pixels are preprocessed.", label="preprocessing")
    mean: tuple[float, ...] | None = _setting(
        None, "What to subtract after preprocessing.", checks.numbers, "subtracted after that"
    )
    std: tuple[float, ...] | None = _setting(
        None, "What to divide by after that.", checks.numbers, "divided by after that"
    )
    size: int | None = _derived(
        None, "Height and width of the images, for models that accept any size.", checks.integer(1)
    )
    classes: str | None = _setting(
        None,
        "The model's classes, in order, as the data set names them: names separated by commas, a .txt "
        "or a .csv (class_index, synset).",
    )
    data: str = _setting(
        "cluttered-digits",
        "imagenet-boxes:DIR, imagenet-segmentation:FILE.mat, voc:DIR, folder:DIR, "
        "cluttered-digits[:N] or cluttered-digit-pairs[:N]; or units[:N], the mechanism tests: networks "
        "whose relevance is known, with N inputs each (32).",
        label="data set",
    )
    methods: tuple[str, ...] = _derived(
        (
            *("rap", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1", "gradient", "input_t_gradient"),
            *("integrated_gradients", "guided_backprop"),
        ),
        "Methods with options, separated by commas: NAME:OPTION=VALUE:..., FILE.py:function.",
        checks.names,
    )
    tuned: str | None = _derived(
        None, "Folder of a report on the other half, of which the best row of each method is added."
    )
    tuned_by: str = _derived("srg", "The quantity of its summary that decides.")
    controls: bool = _derived(True, "Add control maps: random, mean-shifted and edges.")
    patterns: str | None = _derived(
        None, "Patterns for pattern.net and pattern.attribution, a .npz file."
    )
    metrics: tuple[str, ...] = _setting(
        default_metrics,
        f"Metrics, separated by commas. Available: {', '.join(METRICS)}.",
        checks.metrics,
    )
    limit: int | None = _setting(
        None, "Number of images drawn from the data set; default: all.", checks.integer(1), "limit"
    )
    half: str = _derived(
        "both",
        "first or second: only this half of the data set, divided at random with the seed. Choose "
        "options on one half and report the results of the other. both: all images.",
        checks.one_of("both", "first", "second"),
    )
    seed: int = _setting(
        0, "Seed of the halves, drawn images, random maps and bootstrap.", checks.seed
    )
    keep: str = _choice(
        "images evaluated",
        "correct: only correctly classified images; all: all images.",
        {"correct": "correctly classified images", "all": "all"},
    )
    foreground: str = _choice(
        "objects evaluated",
        "class: only pixels of the explained class; any: pixels of all objects.",
        {"class": "objects of the explained class", "any": "all objects"},
    )
    percentile: float | None = _derived(
        None,
        "Foreground is above this percentile of each map; default: above 0, or above the mean for "
        "methods without negative relevance.",
        checks.number("between 0 and 100", lambda number: 0 < number < 100),
    )
    pooled: bool = _setting(
        True,
        "Compute mIOU from the pixels of all images together, or as a mean over images.",
        label="mIOU",
        values={True: "from the pixels of all images together", False: "mean over the images"},
    )
    steps: int = _derived(40, "Number of steps of LeRF and MoRF.", checks.integer(1))
    pixels_per_step: int | None = _derived(
        None,
        "Pixels replaced in each step; default: the most that all steps have room for.",
        checks.integer(1),
    )
    replacement: tuple[str, ...] = _derived(
        ("zero",),
        "What replaces pixels: zero (of the model's input), mean (colour of the image), uniform "
        "(random colours), blur, road (imputed from the neighbours), infill (the scene without the "
        "object, for cluttered digits) or a grey level, 0 to 255. LeRF, MoRF and SRG use each of "
        "several, separated by commas; other metrics use the first.",
        checks.replacements,
    )
    patch: int = _derived(
        1, "Replace whole squares with sides of this many pixels.", checks.integer(1)
    )
    deletion_grid: str = _derived(
        "4x4", "Rows and columns of the patches for single_deletion.", checks.grid
    )
    top_k: int = _derived(1000, "Number of pixels for top_k.", checks.integer(1))
    draws: int = _derived(
        100,
        "Random pixel sets for faithfulness_correlation and squares for infidelity.",
        checks.integer(2),
    )
    neighbours: int = _derived(
        10, "Changed inputs for max_sensitivity, local_lipschitz and smprt.", checks.integer(1)
    )
    radius: float = _derived(
        0.05,
        "How far these inputs are changed, as a share of the input's range.",
        checks.number("above 0 and at most 1", lambda number: 0 < number <= 1),
    )
    tolerance: int = _setting(
        0,
        "Tolerance in pixels (pointing_game).",
        checks.integer(0),
        "tolerance of the pointing game",
    )
    grid: str = _derived("2x2", "Rows and columns of the grid pointing game.", checks.grid)
    grid_cells: str = _derived(
        "shrunk",
        "shrunk: the whole grid has the model's input size; full: each image has that size, for models "
        "that accept larger images.",
        checks.one_of("shrunk", "full"),
    )
    grid_confidence: float = _derived(
        0.9,
        "Minimum probability of its class for each image of a grid.",
        checks.number("between 0 and 1", lambda number: number <= 1),
    )
    backend: str = _setting(
        "keras",
        "keras, or innvestigate: the baselines of iNNvestigate, on Keras 2.",
        checks.one_of("keras", "innvestigate"),
    )
    chunk: int = _setting(
        8,
        "Images explained as one batch and stored together; affects results only by rounding.",
        checks.integer(1),
        "images explained together",
    )
    batch_size: int = _derived(
        32,
        "Steps or samples computed at a time; twice as many perturbed images, which need no gradient.",
        checks.integer(1),
    )
    costs: bool = _derived(
        False,
        "Also measure seconds and memory of a map by each method; they differ from run to run. Of "
        "several shards, the first does so.",
    )
    figures: int = _setting(
        6,
        "Images whose heat maps are kept for maps.html. The report's figure shows the first three.",
        checks.integer(0),
        "images with heat maps",
    )
    photos: bool = _setting(True, "Show the images next to their maps.", label="images shown")
    resamples: int = _setting(
        1000, "Number of bootstrap resamples.", checks.integer(2), "bootstrap resamples"
    )
    validate: int = _derived(
        0,
        "Validate the metrics on the first N drawn images, by 15 degraded maps of each map.",
        checks.integer(0),
        "images for the validation of the metrics",
    )
    title: str | None = _derived(
        None, "Title of the report; default: the model and the data set.", checks.title
    )

    def __post_init__(self) -> None:
        """Checks the settings as far as possible without the model and the data."""
        for name, setting in described().items():
            value = getattr(self, name)
            if setting.check is not None and value is not None:
                object.__setattr__(self, name, setting.check(name, value))
        self._check_data()
        if (self.pixels_per_step or 0) % self.patch**2:
            raise InputError(
                f"Expected pixels_per_step to be a multiple of the {self.patch**2} pixels of a patch, "
                f"got {self.pixels_per_step}.",
                ("pixels_per_step", "patch"),
            )
        for row in map(read_row, self.methods):
            if row.is_control:
                raise InputError(
                    f"Expected a method, got the control {row.name}: controls adds it.", "controls"
                )
            check_given(row.completed(self.patterns, None, None), "benchmark")
            if self.backend == "keras":  # iNNvestigate has other methods
                check_name(row.name)
        checks.fits_replacements(self.replacement, self.metrics, self.keep)
        checks.fits_validation(self.validate, self.metrics)
        if not self.methods or len({text.strip() for text in self.methods}) < len(self.methods):
            raise InputError(
                f"Expected methods to name each method once, got {self.methods}.", "methods"
            )

    def _check_data(self) -> None:
        """Checks the settings that only some data have."""
        if self.has_units:
            checks.number_of_inputs(self.data)
            for field in dataclasses.fields(self):
                value = getattr(self, field.name)
                if field.name not in _OF_UNITS and value != field.default:
                    raise InputError(
                        f"Expected no {field.name} for data={self.data}, which has its networks and "
                        f"their inputs, got {value!r}: leave it out.",
                        (field.name, "data"),
                    )
            if self.metrics == default_metrics():
                object.__setattr__(self, "metrics", unit_metrics())
        checks.fits_data("metrics", self.metrics, self.has_units)

    @property
    def has_units(self) -> bool:
        """Whether the data are mechanism tests: networks whose relevance is known."""
        return is_of_units({"data": self.data})

    def rows(self) -> list[Row]:
        """The methods and then the controls."""
        seed = self.seed if self.backend == "keras" else None
        texts = dict.fromkeys(self.methods)
        if self.tuned is not None:
            texts |= dict.fromkeys(tuned_methods(self.tuned, self.tuned_by, vars(self)))
        rows = [read_row(text) for text in texts]
        controls = [name for name in CONTROLS if name != EDGES or not self.has_units]
        rows += [Row(name, name) for name in controls if self.controls]
        return [row.completed(self.patterns, seed, self.percentile) for row in rows]

    @property
    def perturbs(self) -> bool:
        """Whether a metric perturbs images."""
        return any(metric.perturbs for metric in chosen(self.metrics))

    def recorded(self) -> dict[str, Any]:
        """The settings that the protocol contains unchanged."""
        return {
            name: getattr(self, name)
            for name, setting in described().items()
            if setting.recorded and (name in _OF_UNITS or not self.has_units)
        }


# For readers of help(Settings); the texts are at the fields.
Settings.__doc__ = "\n".join(
    [f"{Settings.__doc__}\n\n    Attributes:"]
    + [f"        {name}: {setting.help}" for name, setting in described().items()]
)
