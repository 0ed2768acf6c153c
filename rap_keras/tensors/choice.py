"""Which tensor library Keras uses; imports none of them."""

import keras

from rap_keras.errors import InputError

KNOWN = ("tensorflow", "jax", "torch")


def backend_name() -> str:
    """The backend of Keras: "tensorflow", "jax" or "torch".

    Raises:
        InputError: Keras uses another backend.
    """
    name = str(keras.backend.backend())
    if name not in KNOWN:
        raise InputError(
            f"Expected Keras to use one of the backends {', '.join(KNOWN)}, got {name!r}: set "
            "KERAS_BACKEND to one of them before Keras is imported."
        )
    return name
