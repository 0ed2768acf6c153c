"""Models in formats that Keras does not load: what a file is, and how its model is explained."""

from pathlib import Path

from rap_keras.backends.version import has_keras3

_WRAP = (
    'wrap it in Keras, layer = keras.layers.TFSMLayer({folder!r}, call_endpoint="serving_default"), and '
    "name FILE.py:function that returns keras.Model(x, layer(x)); gradient, integrated_gradients, "
    "smoothgrad, occlusion and rise explain that, but methods with rules need its layers"
)
_LOAD = "name FILE.py:function that returns tf.keras.models.load_model({folder!r})"
_REBUILD = (
    "build the network in Keras and give it these weights, or name the Keras model it was made of"
)
# The end of a file's name => what the file is.
_KINDS = {
    **dict.fromkeys((".tflite", ".lite"), "a TensorFlow Lite model"),
    ".onnx": "an ONNX model",
    **dict.fromkeys((".pth", ".pt"), "a file of PyTorch"),
    ".safetensors": "a file of weights of another library",
    ".ckpt": "a checkpoint of TensorFlow",
    ".mlmodel": "a Core ML model",
}


def what_it_is(spec: str) -> str:
    """What an existing file or folder is and what to do with it, in one sentence.

    Args:
        spec: A path that names no model that can be loaded.

    Returns:
        The sentence; "" where there is no such file, or it is of no known kind.
    """
    path = Path(spec)
    if path.name == "saved_model.pb" and path.is_file():
        path = path.parent
    if (path / "saved_model.pb").is_file():
        how = (_WRAP if has_keras3() else _LOAD).format(folder=str(path))
        return f"{spec!r} is a SavedModel of TensorFlow, and no file of Keras: {how}."
    if not path.is_file():
        return ""
    if path.suffix == ".pb":
        return (
            f"{spec!r} is a frozen graph of TensorFlow, which has no layers of Keras: {_REBUILD}."
        )
    if path.suffix == ".json":
        return (
            f"{spec!r} is no model with weights: name FILE.py:function that calls "
            "keras.models.model_from_json and loads the weights."
        )
    kind = _KINDS.get(path.suffix)
    return f"{spec!r} is {kind}, which has no layers of Keras: {_REBUILD}." if kind else ""
