"""How TensorFlow uses the machine."""

import os


def share_gpu() -> None:
    """Makes TensorFlow allocate a GPU's memory when needed. Call it before importing TensorFlow.

    Several processes can then share a GPU. A setting of the user is kept.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def choose_tensorflow() -> str | None:
    """Makes TensorFlow the backend of Keras, also in child processes. Call it before importing Keras.

    The environment overrides `keras.json`.

    Returns:
        The previous value of KERAS_BACKEND, if it was different.
    """
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    return before if before and before != "tensorflow" else None


def uses_onednn() -> bool:
    """Whether TensorFlow uses oneDNN, which is the default on processors with AVX-512 VNNI.

    True if it is unknown, because TensorFlow's public interface does not report it.
    """
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return True
    return bool(getattr(_pywrap_util_port, "IsMklEnabled", lambda: True)())
