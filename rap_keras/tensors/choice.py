"""Which tensor library Keras uses; imports none."""

from rap_keras.errors import InputError
from rap_keras.tensors.installed import KNOWN


def backend_name() -> str:
    """The backend of Keras: "tensorflow", "jax" or "torch".

    Raises:
        InputError: Keras uses another backend.
    """
    import keras

    name = str(keras.backend.backend())
    if name not in KNOWN:
        raise InputError(
            f"Expected Keras to use one of the backends {', '.join(KNOWN)}, got {name!r}: set "
            "KERAS_BACKEND before Keras is imported."
        )
    return name
