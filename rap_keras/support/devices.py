"""What TensorFlow takes of the machine."""

import os


def share_gpu() -> None:
    """Lets TensorFlow take a GPU's memory as it needs it, not all at once; before it is imported.

    Several processes can then share a GPU. What the user has set stays.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def choose_tensorflow() -> str | None:
    """Makes TensorFlow the backend of Keras in this process and its children; call it before the import.

    The environment overrides `keras.json`. Returns the previous KERAS_BACKEND, if it was another.
    """
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    return before if before and before != "tensorflow" else None


def uses_onednn() -> bool:
    """Whether TensorFlow computes by oneDNN's kernels: by default on processors with AVX-512 VNNI.

    TensorFlow's public interface does not say; True where it is unknown.
    """
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return True
    return bool(getattr(_pywrap_util_port, "IsMklEnabled", lambda: True)())
