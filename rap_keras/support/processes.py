"""Other processes of this machine."""

import os


def runs(process: int) -> bool:
    """Whether a process is there; true where that cannot be told."""
    if os.name != "posix":
        return True  # to ask elsewhere may end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # somebody else's
    return True
