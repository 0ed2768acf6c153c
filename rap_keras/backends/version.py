"""Which Keras is installed: the one place that asks for its version."""


def has_keras3() -> bool:
    """Whether `keras` is Keras 3, which the native backend needs."""
    import keras

    return int(keras.__version__.split(".")[0]) >= 3
