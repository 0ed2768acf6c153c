"""The command `rap-keras doctor`."""

import dataclasses
import shlex
from collections import Counter
from typing import Annotated, Any

import numpy as np
import typer

from rap_keras.cli.flags import shared_flags
from rap_keras.cli.options import ModelFlags, open_image
from rap_keras.cli.session import import_native, tell
from rap_keras.errors import InputError, UnknownLayerError
from rap_keras.network.graph import Graph
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.images import Images
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.support.text import counted, one_line

TOLERATED = 1e-3
"""A conservation error that single precision explains."""


@shared_flags
def doctor(
    named: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The same as --model.")
    ] = None,
    *,
    model: ModelFlags,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Check with this image; default: noise.")
    ] = None,
) -> None:
    """Show whether and how RAP explains a model: input, output, rules, conservation of relevance."""
    if named is not None:
        model = dataclasses.replace(model, model=named)
    images = None if image is None else open_image(image)
    import_native()
    loaded, model = _loaded(model)
    from rap_keras.rules import name_of

    graph = loaded.network.graph
    shape = graph.shapes[graph.output][1:]
    classes = "with names" if loaded.labels else "without names"
    if loaded.is_binary:
        classes += ", 0 and 1 by a sigmoid"
    _say(
        "model",
        f"{loaded.name}, {loaded.model.count_params():,} parameters, weights {loaded.weights}",
    )
    _say("input", f"{_size(loaded.input_size)} pixels")
    _say("output", f"logits of shape {tuple(shape)}, classes {classes}")
    try:
        explainer = Explainer(loaded, MethodSpec("rap", "rap"))
    except UnknownLayerError as error:
        sentence, _, table = str(error).partition("\n\n")
        tell(f"rules\n{table}\n")
        raise UnknownLayerError(sentence) from error
    rows = explainer.analyzer.rules().rows
    counts = Counter((type(node.layer).__name__, name_of(rule)) for node, rule in rows if rule)
    _say("rules", counted(len(rows), "layer"))
    for (kind, rule), count in counts.items():
        tell(f"  {count:4} x {kind}: {rule}")
    x = _sample(loaded, images)
    target = "all" if len(shape) > 1 else None
    explained = explainer.explain(x, target)
    report = explainer.analyzer.conservation(x, target)
    what = "noise" if images is None else images.sources[0].name
    logit = float(explained.explained_logits[0])
    _say("checked on", f"{what}: {explained.decisions[0]}")
    worst = max([*report.layers, report.model], key=lambda row: float(row.error.max()))
    _say("sum kept", f"to {report.max_error:.1g} of the relevance (worst: {worst.name})")
    if logit < 0:
        _say("note", "the logit is negative, so the map sums to a negative number")
    if report.max_error > TOLERATED:
        _say(
            "verdict",
            f"explained, but {worst.name} does not keep the sum: see analyzer.conservation(x)",
        )
    else:
        _say("verdict", f"explained: {_command(model, image, len(shape) > 1)}")


def _say(what: str, text: str) -> None:
    tell(f"{what:<11} {one_line(text)}")


def _loaded(model: ModelFlags) -> tuple[Any, ModelFlags]:
    """The model, and the flags that load it; without preprocessing if that is unknown."""
    try:
        return model.load(), model
    except InputError as error:
        if "preprocess" not in error.arguments or model.preprocess != "auto":
            raise
    model = dataclasses.replace(model, preprocess="none")
    loaded = model.load()
    scaling = _scaling(loaded.network.graph)
    _say(
        "pixels",
        "unknown preprocessing, none used here: pass --preprocess, or --mean and --std, as in training"
        if scaling is None
        else f"scaled by its own {scaling}: --preprocess none",
    )
    return loaded, model


# Layers that scale pixels by constants, and layers that may precede them.
_SCALING = {"Rescaling", "Normalization", "Divide", "TrueDivide", "Multiply", "Subtract"}
_BEFORE = {"Cast", "Identity", "Resizing", "CenterCrop", "ZeroPadding2D", "GetItem", "Flip"}


def _scaling(graph: Graph) -> str | None:
    """The name of the layer that scales a model's input; None if there is none."""
    slots = set(graph.inputs)
    for node in graph.nodes:
        kind = type(node.layer).__name__
        if len(node.inputs) == 1 and slots.issuperset(node.inputs):
            if kind in _SCALING:
                return f"{kind} ({node.name})"
            if kind in _BEFORE:
                slots.update(node.outputs)
    return None


def _command(model: ModelFlags, image: str | None, is_map: bool) -> str:
    """The command that explains an image with the checked settings."""
    words = ["rap-keras", "explain", "IMAGE" if image is None else image, "--model", model.model]
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name != "model" and value != field.default:
            words += [f"--{field.name}", str(value)]
    return shlex.join([*words, *(["--target", "all"] if is_map else [])])


def _size(size: tuple[int, int] | None) -> str:
    return "any number of" if size is None else f"{size[0]} x {size[1]}"


def _sample(loaded: Any, images: Images | None) -> Any:
    if images is not None:
        ((_, _, x),) = images.batches(loaded, 1)
        return x
    size = loaded.input_size or (64, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    return loaded.preprocess(pixels)
