"""The command `rap-keras doctor`."""

import dataclasses
import shlex
from collections import Counter
from typing import Annotated, Any

import numpy as np
import typer

from rap_keras.cli.options import ModelFlags, image_option, open_image
from rap_keras.cli.parts import shared_flags
from rap_keras.cli.session import echo, import_native
from rap_keras.errors import InputError, UnknownLayerError
from rap_keras.network.graph import Graph
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.images import Images
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.support.keras_backend import TITLES
from rap_keras.support.text import counted, one_line

TOLERATED = 1e-3
"""The largest conservation error that single precision can explain."""


@shared_flags
def doctor(
    named: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The model; the same as --model.")
    ] = None,
    *,
    model: ModelFlags,
    image: Annotated[
        str | None,
        image_option(metavar="IMAGE", help="Check with this image. Default: random noise."),
    ] = None,
) -> None:
    """Check whether RAP can explain a model, and by which rules."""
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
    _row(
        "model",
        f"{loaded.name}, {loaded.model.count_params():,} parameters"
        + ("" if loaded.weights == "own" else f", weights {loaded.weights}"),
    )
    _row("backend", _backend())
    size = " x ".join(map(str, loaded.input_size or ())) or "any number of"
    _row("input", f"{size} pixels")
    _row("output", f"logits of shape {tuple(shape)}, classes {classes}")
    try:
        explainer = Explainer(loaded, MethodSpec("rap", "rap"))
    except UnknownLayerError as error:
        sentence, _, table = str(error).partition("\n\n")
        echo(f"rules\n{table}\n")
        raise UnknownLayerError(sentence) from error
    rows = explainer.analyzer.rules().rows
    counts = Counter((type(node.layer).__name__, name_of(rule)) for node, rule in rows if rule)
    _row("rules", counted(len(rows), "layer"))
    for (kind, rule), count in counts.items():
        echo(f"  {count:4} x {kind}: {rule}")
    x = _sample(loaded, images)
    target = "all" if len(shape) > 1 else None
    explained = explainer.explain(x, target)
    report = explainer.analyzer.conservation(x, target)
    checked = "noise" if images is None else images.sources[0].name
    logit = float(explained.explained_logits[0])
    _row("checked on", f"{checked}: {explained.decisions[0]}")
    worst = max([*report.layers, report.model], key=lambda row: float(row.error.max()))
    _row("sum", f"conserved with a relative error of {report.max_error:.1g} (worst: {worst.name})")
    if logit < 0:
        _row("note", "the logit is negative, so the map has a negative sum")
    if report.max_error > TOLERATED:
        _row(
            "verdict",
            f"explained, but {worst.name} does not conserve the sum: see analyzer.conservation(x)",
        )
    else:
        _row("verdict", f"explained: {_command(model, image, len(shape) > 1)}")


def _backend() -> str:
    """Returns the versions of Keras and its backend, and the device."""
    import keras

    from rap_keras import tensors as ops
    from rap_keras.tensors.choice import backend_name

    title = TITLES[backend_name()]
    return f"Keras {keras.__version__} on {title} {ops.version()}, {ops.device()}"


def _row(name: str, text: str) -> None:
    echo(f"{name:<11} {one_line(text)}")


def _loaded(model: ModelFlags) -> tuple[Any, ModelFlags]:
    """Returns the model and the flags that load it; without preprocessing if that is unknown."""
    try:
        return model.load(), model
    except InputError as error:
        if "preprocess" not in error.arguments or model.preprocess != "auto":
            raise
    model = dataclasses.replace(model, preprocess="none")
    loaded = model.load()
    scaling = _scaling(loaded.network.graph)
    _row(
        "pixels",
        "unknown preprocessing, none used here: pass the same --preprocess, or --mean and --std, as in "
        "training"
        if scaling is None
        else f"scaled by the model's {scaling}: --preprocess none",
    )
    return loaded, model


# Layers that scale pixels by constants, and layers that may precede them.
_SCALING = {"Rescaling", "Normalization", "Divide", "TrueDivide", "Multiply", "Subtract"}
_BEFORE = {"Cast", "Identity", "Resizing", "CenterCrop", "ZeroPadding2D", "GetItem", "Flip"}


def _scaling(graph: Graph) -> str | None:
    """Returns the name of the layer that scales a model's input, or None."""
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
    """Returns the command that explains an image with the checked settings."""
    words = ["rap-keras", "explain", "IMAGE" if image is None else image, "--model", model.model]
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name != "model" and value != field.default:
            words += [f"--{field.name}", str(value)]
    return shlex.join([*words, *(["--target", "all"] if is_map else [])])


def _sample(loaded: Any, images: Images | None) -> Any:
    if images is not None:
        ((_, _, x),) = images.batches(loaded, 1)
        return x
    size = loaded.input_size or (64, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    return loaded.preprocess(pixels)
