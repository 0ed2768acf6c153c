"""Which tensor library Keras uses; imports none of them."""

from rap_keras.support.keras_backend import TITLES, import_keras, unknown


def backend_name() -> str:
    """The backend of Keras: "tensorflow", "jax" or "torch".

    Raises:
        InputError: Keras uses another backend, or it is not installed.
    """
    name = str(import_keras().backend.backend())
    if name not in TITLES:
        raise unknown(name)
    return name
