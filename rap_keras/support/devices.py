"""How the backend of Keras uses the machine."""

import os


def share_gpu() -> None:
    """Makes TensorFlow and JAX allocate a GPU's memory when needed. Call it before importing them.

    Several processes can then share a GPU, as they can with PyTorch. A setting of the user is kept.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
