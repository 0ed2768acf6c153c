"""Model files that Keras cannot load: their format, and how to explain the model."""

from pathlib import Path

from rap_keras.backends.version import has_keras3
from rap_keras.support.keras_backend import configured

_WRAP = (
    "wrap it in Keras, layer = keras.layers.{layer}, and name FILE.py:function that returns "
    "keras.Model(x, layer({x})). Then gradient, integrated_gradients, smoothgrad, occlusion and rise "
    "can explain it; methods with rules need its layers"
)
_SAVED_MODEL = 'TFSMLayer({folder!r}, call_endpoint="serving_default")'
_MODULE = "TorchModuleWrapper(module, output_shape=(None, CLASSES))"
_LOAD = "name FILE.py:function that returns tf.keras.models.load_model({folder!r})"
_REBUILD = (
    "build the model in Keras with these weights, or use the Keras model that it was made from"
)
# File extension => format.
_KINDS = {
    **dict.fromkeys((".tflite", ".lite"), "a TensorFlow Lite model"),
    ".onnx": "an ONNX model",
    **dict.fromkeys((".pth", ".pt"), "a PyTorch file"),
    ".safetensors": "a weights file of another library",
    ".ckpt": "a TensorFlow checkpoint",
    ".mlmodel": "a Core ML model",
}


def what_it_is(spec: str) -> str:
    """Describes the format of a file that Keras cannot load, and what to do; "" if it is unknown."""
    path = Path(spec)
    if path.name == "saved_model.pb" and path.is_file():
        path = path.parent
    if (path / "saved_model.pb").is_file():
        how = _LOAD.format(folder=str(path))
        if has_keras3():
            how = _WRAP.format(layer=_SAVED_MODEL.format(folder=str(path)), x="x")
        if configured() != "tensorflow":
            how = f"set KERAS_BACKEND=tensorflow, and {how}"
        return f"{spec!r} is a TensorFlow SavedModel, not a Keras file: {how}."
    if not path.is_file():
        return ""
    if path.suffix == ".pb":
        return f"{spec!r} is a frozen TensorFlow graph, which has no Keras layers: {_REBUILD}."
    if path.suffix == ".json":
        return (
            f"{spec!r} is a model without weights: name FILE.py:function that calls "
            "keras.models.model_from_json and loads the weights."
        )
    if path.suffix in (".pth", ".pt") and configured() == "torch":
        how = _WRAP.format(layer=_MODULE, x="keras.ops.transpose(x, (0, 3, 1, 2))")
        return f"{spec!r} is a PyTorch file, which has no Keras layers: load the module, {how}."
    kind = _KINDS.get(path.suffix)
    return f"{spec!r} is {kind}, which has no Keras layers: {_REBUILD}." if kind else ""
