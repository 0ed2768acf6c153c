"""The errors that a user can cause, each told in one sentence."""


class InputError(ValueError):
    """What the user gave cannot be used; the message says what was expected, what came, what to do."""


class UnknownLayerError(InputError):
    """The model has a layer for which the method has no rule."""
