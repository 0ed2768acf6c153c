"""Optional local data: the folder `shared` next to the project. Tests that need it skip without it."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

from helpers.thinned import ABSENT

SHARED = Path(__file__).parents[3] / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(),
    reason=f"the optional data folder {SHARED.name!r} next to the project is absent",
)


def fixture_files(pattern: str) -> list[Any]:
    """The fixture files as parameters; one that skips where there are none."""
    files = sorted((SHARED / "fixtures").glob(pattern))
    if not files:
        return [pytest.param(None, marks=needs_shared, id=pattern + ABSENT)]
    return [pytest.param(file, id=file.stem) for file in files]


def load(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a fixture file."""
    with np.load(file) as data:
        return dict(data)


def shared_models() -> ModuleType:
    """The builders of the real networks."""
    spec = importlib.util.spec_from_file_location("shared_models", SHARED / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arch_model(data: dict[str, np.ndarray], dtype: str, keras: Any = keras) -> Any:
    """The network that the fixture's `arch` describes, with its weights."""
    arch = json.loads(str(data["arch"]))
    with_policy = {"dtype": dtype}
    tensors: dict[str, Any] = {}
    for node in arch["nodes"]:
        name, kind = node["name"], node["type"]
        if kind == "Input":
            tensors[name] = keras.Input(tuple(node["shape"]), name=name, dtype=dtype)
            continue
        sources = [tensors[source] for source in node["inputs"]]
        x = sources if len(sources) > 1 else sources[0]
        options = with_policy | {"name": name}
        padding = "same" if node.get("keras_padding") == "same" else "valid"
        explicit = node.get("keras_padding", "").startswith("explicit") and np.any(node["pads"])
        if explicit:
            # -inf for a maximum; zeros do as well after a ReLU.
            x = keras.layers.ZeroPadding2D(node["pads"], name=name + "_pad", dtype=dtype)(x)
        window = {"strides": node.get("strides"), "padding": padding}
        match kind:
            case "Conv2D":
                layer = keras.layers.Conv2D(
                    node["filters"],
                    node["kernel_size"],
                    use_bias=node["use_bias"],
                    **window,
                    **options,
                )
            case "Dense":
                layer = keras.layers.Dense(node["units"], use_bias=node["use_bias"], **options)
            case "BatchNormalization":
                layer = keras.layers.BatchNormalization(epsilon=node["epsilon"], **options)
            case "MaxPooling2D" | "AveragePooling2D":
                layer = getattr(keras.layers, kind)(node["pool_size"], **window, **options)
            case "Dropout":
                layer = keras.layers.Dropout(0.5, **options)
            case _:
                layer = getattr(keras.layers, kind)(**options)
        tensors[name] = layer(x)
        weights = {k.split("/")[2]: data[k] for k in data if k.startswith(f"w/{name}/")}
        order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
        if weights:
            layer.set_weights([weights[key] for key in order if key in weights])
    return keras.Model(tensors[arch["nodes"][0]["name"]], tensors[arch["output"]])


def pattern_model(data: dict[str, np.ndarray], keras: Any = keras) -> Any:
    """The network of a fixture of PatternNet, a chain of layers, with its weights."""
    specs = json.loads(str(data["model_json"]))["config"]["layers"]
    x = inputs = keras.Input(tuple(specs[0]["config"]["batch_input_shape"][1:]))
    for spec in specs[1:]:
        options = {
            key: value
            for key, value in spec["config"].items()
            if not key.endswith(("initializer", "regularizer", "constraint"))
        }
        x = getattr(keras.layers, spec["class_name"])(**options)(x)
    model = keras.Model(inputs, x)
    for layer in model.layers:
        keys = sorted(k for k in data if k.startswith("weights/") and f"_{layer.name}/" in k)
        if keys:
            layer.set_weights([data[key] for key in keys])
    return model


PATTERN_METHODS = {"patternnet": "pattern.net", "patternattribution": "pattern.attribution"}


def pattern_attributions(data: dict[str, np.ndarray]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Key, method, pattern type and options of each map in a fixture of PatternNet."""
    cases = []
    for key in data:
        method, _, rest = key.partition("/")
        if method in PATTERN_METHODS and rest.count("/") == 2:
            pattern_type, project, mode = rest.split("/")
            options = {"project": project == "project", "neuron_selection_mode": mode}
            cases.append((key, PATTERN_METHODS[method], pattern_type, options))
    return cases


def fixture_patterns(data: dict[str, np.ndarray], pattern_type: str) -> dict[str, np.ndarray]:
    """The patterns of one type in a fixture of PatternNet, by layer."""
    prefix = f"patterns/{pattern_type}/"
    return {key.removeprefix(prefix): data[key] for key in data if key.startswith(prefix)}
