"""The errors that a user can cause, each told in one sentence."""

from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used; the message says what was expected, what came, what to do.

    Args:
        message: One sentence. It names arguments as Python does: `steps`, or `steps=3`.
        argument: The argument, or the arguments, that the message names; the command line puts its
            flags in their place.
    """

    def __init__(self, message: str, argument: str | Iterable[str] | None = None) -> None:
        super().__init__(message)
        self.arguments = (argument,) if isinstance(argument, str) else tuple(argument or ())


class UnwritableError(InputError):
    """A file cannot be written, as on a full disk; what was there before is still there.

    Args:
        path: The file.
        reason: What the system says.
    """

    def __init__(self, path: object, reason: object) -> None:
        super().__init__(f"The file {str(path)!r} cannot be written ({reason}).")
        self.reason = reason


class UnknownLayerError(InputError):
    """The model has a layer for which the method has no rule."""
