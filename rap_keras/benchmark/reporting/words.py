"""The sentences of the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rap_keras.analyzers.registry import find_method
from rap_keras.benchmark.reporting.document import Block, Code, Heading, Paragraph, Table
from rap_keras.benchmark.settings import described
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.summary import STATUSES
from rap_keras.support.text import counted

MAX_LISTED = 20
FEW_IMAGES = 100

_ORDER = (
    *("model", "weights", "weights_crc32", "preprocess", "mean", "std", "input_size", "backend"),
    *("neuron", "data", "data_images", "data_crc32", "patterns_crc32", "classes", "objects"),
    *("foreground", "images", "limit", "seed", "keep", "chunk", "metrics", "pooled", "tolerance"),
    *("perturbation", "grid", "top_k", "changes", "figures", "resamples", "device", "rap_keras"),
    "versions",
)
"""The protocol's entries in the order of the report."""

_LABELS = {
    "weights_crc32": "CRC-32 of the weights",
    "input_size": "input size",
    "neuron": "explained neuron",
    "data_images": "images in the data set",
    "data_crc32": "CRC-32 of their names",
    "patterns_crc32": "CRC-32 of the patterns",
    "objects": "masks",
    "images": "images drawn",
    "top_k": "pixels of top-k intersection",
    "changes": "changes drawn by chance",
    "device": "computed by",
}
"""Those of entries that are no settings."""


def introduction(protocol: Json, summary: Json) -> Iterator[Block]:
    """The title, and what was run."""
    yield Heading("Attribution methods compared", 1)
    yield Paragraph(what_was_run(protocol, summary))
    errors = (
        "There is only one image, and so no standard error."
        if summary["kept"] == 1
        else "Values are given ± their standard errors, by "
        f"{summary['resamples']} bootstrap resamples of the kept images, the same for every method."
    )
    yield Paragraph(f"{errors} Bold is the best method of a column.")
    if summary["kept"] < FEW_IMAGES:
        yield Paragraph(few_images(summary))
    if any(method["control"] for method in summary["methods"].values()):
        yield Paragraph(
            "Controls, in italics below the methods, are maps that explain nothing: a method that is no "
            "better than they are has shown nothing."
        )


def few_images(summary: Json) -> str:
    """The warning below `FEW_IMAGES`."""
    return (
        f"Only {counted(summary['kept'], 'image')} counted: below {FEW_IMAGES} the order of methods "
        "that are near to each other is chance."
    )


def what_was_run(protocol: Json, summary: Json) -> str:
    """What was run, in one sentence."""
    total = sum(summary[status] for status in STATUSES)
    return (
        f"{protocol['model']} on {protocol['data']}: {summary['kept']} of {counted(total, 'image')} "
        f"kept, {summary['misclassified']} misclassified, {summary['skipped']} skipped."
    )


def protocol_blocks(protocol: Json, summary: Json, images: Sequence[Json]) -> Iterator[Block]:
    """All that the results depend on, for readers."""
    yield Heading("Protocol")
    if "command" in protocol:
        yield Code(protocol["command"])
    # Other entries are shown, too.
    keys = [key for key in _ORDER if key in protocol]
    keys += [key for key in protocol if key not in {*_ORDER, "methods", "command"}]
    rows = [
        [_label(key), _readable(key, protocol[key])] for key in keys if protocol[key] is not None
    ]
    rows += [[f"images {name}", str(summary[name])] for name in STATUSES]
    yield Table(["what", "value"], rows)
    yield Heading("Methods", 3)
    yield Table(
        ["row", "method", "options", "foreground above"],
        [_method_row(method) for method in protocol["methods"] if not method.get("control")],
        [_method_row(method) for method in protocol["methods"] if method.get("control")],
    )
    ordered = sorted(images, key=lambda record: record["position"])
    skipped = [[r["name"], r["reason"]] for r in ordered if r["status"] == "skipped"]
    yield from _list("Skipped images", ["image", "reason"], skipped)
    wrong = [
        [r["name"], str(r["label"]), str(r["predicted"])]
        for r in ordered
        if r["status"] == "misclassified"
    ]
    yield from _list("Misclassified images", ["image", "class", "predicted"], wrong)


def _method_row(method: Json) -> list[str]:
    options = ", ".join(f"{name}={plain(value)}" for name, value in method["options"].items())
    threshold = method["threshold"]
    where = {"zero": "zero", "mean": "the map's mean"}.get(threshold, f"percentile {threshold}")
    return [method["title"], method["method"], options, where]


def _label(key: str) -> str:
    setting = described().get(key)
    return _LABELS.get(key) or (setting.label if setting else "") or key


def _list(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Block]:
    """The first of what may be many."""
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
    if key == "perturbation":
        return _perturbation(value)
    if key == "changes":
        return (
            f"{counted(value['draws'], 'set')} of pixels or squares, "
            f"{counted(value['neighbours'], 'input')} changed by at most {value['radius']:g} of their "
            "range"
        )
    if key == "grid":
        return f"{value['shape']}, {value['cells']} cells, confidence {value['confidence']:g}"
    if key == "input_size":
        return " x ".join(map(str, value)) + " pixels"
    return plain(value)


def _perturbation(value: Json) -> str:
    pixels = value.get("pixels_per_step")
    of = "" if pixels is None else f" of {counted(pixels, 'pixel')}"
    share = 100 * value["fractions"][-1]
    if "patch" in value:
        of += f" in patches of {value['patch']} x {value['patch']}"
    return (
        f"{counted(value['steps'], 'step')}{of}, {share:.4g} % of the image in the end, "
        f"replaced by: {value['replacement']}"
    )


def plain(value: Any) -> str:
    """A value of the protocol as readers take it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def colours(methods: Sequence[Json]) -> str:
    """What the colours of the heat maps of a protocol's methods mean."""
    meanings: dict[str, list[str]] = {}
    for method in methods:
        record = find_method(method["method"])
        meaning = "" if record is None else record.negative_means(method["options"])
        if meaning:
            meanings.setdefault(meaning, []).append(method["title"])
    listed = "; ".join(f"{meaning} ({', '.join(titles)})" for meaning, titles in meanings.items())
    return f"Red is positive relevance, blue negative{': ' + listed if listed else ''}."
