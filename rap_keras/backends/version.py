"""The installed version of Keras. No other module reads it."""

from rap_keras.support.keras_backend import import_keras


def has_keras3() -> bool:
    """Whether `keras` is Keras 3, which the native backend needs."""
    return keras_release() >= (3, 0)


def keras_release() -> tuple[int, int]:
    """The release of `keras`, such as `(3, 15)`."""
    major, minor = import_keras().__version__.split(".")[:2]
    return int(major), int(minor)
