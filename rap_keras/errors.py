"""The errors that a user can cause. The message of each is one sentence."""

from collections.abc import Iterable


class InputError(ValueError):
    """An argument or a file of the user is wrong.

    Args:
        message: One sentence: what was expected, what was given, and what to do. It names arguments as
            Python does: `steps`, or `steps=3`.
        argument: The argument or the arguments that the message names. The command line replaces them
            by its flags.

    Example:
        >>> rap_keras.create_analyzer("rapp", None)
        Traceback (most recent call last):
        rap_keras.errors.InputError: There is no method 'rapp': did you mean 'rap'? ...
    """

    def __init__(self, message: str, argument: str | Iterable[str] | None = None) -> None:
        super().__init__(message)
        self.arguments = (argument,) if isinstance(argument, str) else tuple(argument or ())


class UnwritableError(InputError):
    """A file cannot be written, for example on a full disk. An existing file is unchanged.

    Args:
        path: The file.
        reason: The system's error message.
    """

    def __init__(self, path: object, reason: object) -> None:
        super().__init__(f"The file {str(path)!r} cannot be written ({reason}).")
        self.reason = reason


class UnknownLayerError(InputError):
    """The model has a layer for which the method has no rule."""
