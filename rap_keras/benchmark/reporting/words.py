"""The sentences of the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rap_keras.analyzers.registry import find_method
from rap_keras.benchmark.metrics import is_of_units
from rap_keras.benchmark.reporting.document import Block, Code, Heading, Paragraph, Table
from rap_keras.benchmark.settings import described
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.summary import STATUSES
from rap_keras.support.text import counted

MAX_LISTED, MOST_NAMED = 20, 5
FEW_IMAGES = 100

_ORDER = (
    *("title", "model", "weights", "weights_crc32", "preprocess", "mean", "std", "input_size"),
    *("backend", "neuron", "data", "data_images", "data_crc32", "inputs_crc32", "patterns_crc32"),
    *("classes", "objects", "foreground", "images", "half", "tuned", "limit", "seed", "keep"),
    *("chunk", "metrics", "pooled", "tolerance", "perturbation", "deletion_grid", "grid", "top_k"),
    *("changes", "figures", "resamples", "validate", "device", "rap_keras", "versions"),
)
"""The entries of the protocol, in the order of the report."""

_LABELS = {
    "weights_crc32": "CRC-32 of the weights",
    "input_size": "input size",
    "neuron": "target",
    "data_images": "images in the data set",
    "data_crc32": "CRC-32 of the image names",
    "inputs_crc32": "CRC-32 of the inputs",
    "patterns_crc32": "CRC-32 of the patterns",
    "objects": "masks",
    "images": "images drawn",
    "half": "half of the data set",
    "tuned": "tuned rows",
    "top_k": "pixels of the top-k intersection",
    "changes": "random changes",
    "deletion_grid": "patches of single deletion",
}
"""The labels of entries that are not settings."""

_OF_CONTROLS = (
    "The controls, in italics below the methods, are maps that explain nothing. A method that is no "
    "better than the controls has shown nothing."
)
_OF_SHIFT = (
    "The controls, in italics below the methods, are noise, and LRP-alpha-1-beta-0 minus its mean, "
    "which shows what a constant offset changes."
)


def introduction(protocol: Json, summary: Json) -> Iterator[Block]:
    """What was run, and how to read the tables."""
    yield Paragraph(f"Comparison of attribution methods: {counts(protocol, summary)}")
    errors = (
        "There is only one image, so there are no standard errors."
        if summary["kept"] == 1
        else f"Standard errors (±) are from {summary['resamples']} bootstrap resamples of the kept "
        "images. All methods share these resamples."
    )
    yield Paragraph(f"{errors} The best method of each column is bold.")
    if any(method["control"] for method in summary["methods"].values()):
        yield Paragraph(_OF_SHIFT if is_of_units(protocol) else _OF_CONTROLS)


def few_images(protocol: Json, summary: Json) -> list[str]:
    """The warning below `FEW_IMAGES`."""
    if summary["kept"] >= FEW_IMAGES or is_of_units(protocol):
        return []
    return [
        f"Only {counted(summary['kept'], 'image')} kept: with fewer than {FEW_IMAGES}, the order of "
        "methods with similar values is mostly chance."
    ]


def counts(protocol: Json, summary: Json) -> str:
    """How many images were measured."""
    if is_of_units(protocol):
        return f"networks whose relevance is known, {counted(summary['kept'], 'input')} of each."
    total = sum(summary[status] for status in STATUSES)
    return (
        f"{summary['kept']} of {counted(total, 'image')} kept, "
        f"{summary['misclassified']} misclassified, {summary['skipped']} skipped."
    )


def subject(protocol: Json) -> str:
    """The title of the benchmark; without one, the model and the data set."""
    model = protocol.get("model", "Mechanism tests")  # which have several
    return str(protocol.get("title") or f"{model} on {protocol['data']}")


def protocol_blocks(protocol: Json, summary: Json, images: Sequence[Json]) -> Iterator[Block]:
    """Everything that the results depend on."""
    yield Heading("Protocol")
    if "command" in protocol:
        yield Code(protocol["command"])
    # Unknown entries are shown as well.
    keys = [key for key in _ORDER if key in protocol]
    keys += [key for key in protocol if key not in {*_ORDER, "methods", "command"}]
    rows = [
        [_label(key), _readable(key, protocol[key])] for key in keys if protocol[key] is not None
    ]
    rows += [[f"images {name}", str(summary[name])] for name in STATUSES]
    yield Table(["setting", "value"], rows)
    yield Heading("Methods", 3)
    yield Table(
        ["row", "method", "options", "foreground above"],
        [_method_row(method) for method in protocol["methods"] if not method.get("control")],
        [_method_row(method) for method in protocol["methods"] if method.get("control")],
    )
    ordered = sorted(images, key=lambda record: record["position"])
    skipped = [[r["name"], r["reason"]] for r in ordered if r["status"] == "skipped"]
    yield from _list("Undefined scores", ["method", "network", "reason"], _undefined(images))
    yield from _list("Skipped images", ["image", "reason"], skipped)
    misclassified = (record for record in ordered if record["status"] == "misclassified")
    wrong = [[r["name"], str(r["label"]), str(r["predicted"])] for r in misclassified]
    yield from _list("Misclassified images", ["image", "class", "predicted"], wrong)


def _undefined(images: Sequence[Json]) -> list[list[str]]:
    """Why scores of mechanism tests are undefined: the method, the network and the reason of each."""
    rows = {
        (title, network): reason
        for record in images
        for title, reasons in record.get("undefined", {}).items()
        for network, reason in reasons.items()
    }
    return [[*key, rows[key]] for key in sorted(rows)]


def _method_row(method: Json) -> list[str]:
    options = ", ".join(f"{name}={plain(value)}" for name, value in method["options"].items())
    threshold = method["threshold"]
    where = {"zero": "zero", "mean": "the map's mean"}.get(threshold, f"percentile {threshold}")
    return [method["title"], method["method"], options, where]


def _label(key: str) -> str:
    setting = described().get(key)
    return _LABELS.get(key) or (setting.label if setting else "") or key


def _list(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Block]:
    """The first rows of a list that may be long."""
    if not rows:
        return
    yield Heading(title, 3)
    yield Table(columns, rows[:MAX_LISTED])
    if len(rows) > MAX_LISTED:
        yield Paragraph(f"And {len(rows) - MAX_LISTED} more.", note=True)


def _readable(key: str, value: Any) -> str:
    setting = described().get(key)
    if setting and isinstance(value, str | bool) and value in setting.values:
        return setting.values[value]
    if key == "weights" and value == "own":
        return "those of the model"
    if key == "perturbation":
        return _perturbation(value)
    if key == "changes":
        return (
            f"{counted(value['draws'], 'set')} of pixels or squares, "
            f"{counted(value['neighbours'], 'input')} changed by up to {value['radius']:g} of the "
            "input's range"
        )
    if key == "grid":
        return f"{value['shape']}, {value['cells']} cells, confidence {value['confidence']:g}"
    if key == "input_size":
        return " x ".join(map(str, value)) + " pixels"
    return plain(value)


def _perturbation(value: Json) -> str:
    pixels, patch = value.get("pixels_per_step"), value.get("patch", 1)
    # Squares at the border may be cut off, so that their pixels differ.
    unit, whole, size = "pixel", "image", ""
    if patch > 1:
        unit, whole, size = "square", "squares", f" of {patch} x {patch} pixels"
    if pixels is None:
        of = (f" in squares{size}" if size else "") + ", each the same share of an image"
    else:
        share = 100 * value["fractions"][-1]
        of = f" of {counted(pixels // patch**2, unit)}{size}, up to {share:.4g} % of the {whole}"
    return (
        f"{counted(value['steps'], 'step')}{of}; "
        f"replacement: {', '.join(value.get('replacements', [value['replacement']]))}"
    )


def plain(value: Any) -> str:
    """A value of the protocol as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def listed(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def colours(methods: Sequence[Json]) -> str:
    """The meaning of the colours of the heat maps of these methods."""
    meanings: dict[str, list[str]] = {}
    for method in methods:
        record = find_method(method["method"])
        meaning = "" if record is None else record.negative_means(method["options"])
        if meaning:
            meanings.setdefault(meaning, []).append(method["title"])
    listed = "; ".join(f"{meaning} ({', '.join(titles)})" for meaning, titles in meanings.items())
    meaning_of_blue = f" Blue shows {listed}." if listed else ""
    return f"Red is positive relevance, blue is negative relevance.{meaning_of_blue}"
