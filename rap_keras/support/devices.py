"""What TensorFlow takes of the machine."""

import os


def share_gpu() -> None:
    """Lets TensorFlow take a GPU's memory as it needs it, not all at once; before it is imported.

    Several processes can then share a GPU. What the user has set stays.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
