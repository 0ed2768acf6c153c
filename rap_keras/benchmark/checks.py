"""Checks of a benchmark's settings: functions of a setting's name and its value, which they return."""

from collections.abc import Callable, Sequence
from typing import Any

from rap_keras.benchmark.metrics import METRICS, unit_metrics
from rap_keras.errors import InputError
from rap_keras.models.names import full_name
from rap_keras.support.options import as_json, choose, read_integer, read_number
from rap_keras.support.text import did_you_mean, shown

Check = Callable[[str, Any], Any]

REPLACEMENTS = ("zero", "mean", "uniform", "blur", "road", "infill")
_SEEDS = 2**32  # the seeds of NumPy's global generator, which Keras uses


def integer(least: int) -> Check:
    """An integer of at least `least`."""
    return lambda name, value: read_integer(name, value, least)


def number(where: str, lies: Callable[[float], bool]) -> Check:
    """A number of at least 0 for which `lies` is true; `where` describes it."""

    def check(name: str, value: Any) -> float:
        found = read_number(name, value, 0)
        if not lies(found):
            raise InputError(f"Expected {name} to be {where}, got {found:g}.", name)
        return found

    return check


def numbers(name: str, value: Any) -> tuple[float, ...]:
    """One number or one per channel, also as an array."""
    found = as_json(value)
    try:
        return tuple(map(float, found if isinstance(found, list) else [found]))
    except (TypeError, ValueError):
        raise InputError(
            f"Expected {name} to be one number or one per channel, got {shown(value)}.", name
        ) from None


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(name: str, value: Any) -> Any:
        choose(name, value, choices)
        return value

    return check


def model(name: str, value: Any) -> str:
    """A model, with one name for each bundled model."""
    return full_name(str(value))


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of names."""
    if isinstance(value, str):
        raise InputError(
            f"Expected {name} as a list of names, such as ['rap', 'gradient'], got the text {value!r}.",
            name,
        )
    return tuple(value)


def metrics(name: str, value: Any) -> Any:
    """Metrics, each once."""
    for metric in value:
        if metric not in METRICS:
            hint, known = did_you_mean(str(metric), METRICS), ", ".join(METRICS)
            advice = f"{hint} (Metrics: {known}.)" if hint else f"choose one of {known}."
            raise InputError(f"There is no metric {metric!r} for {name}: {advice}", name)
    if not value or len(set(value)) < len(value):
        raise InputError(f"Expected {name} to name each metric once, got {value}.", name)
    return value


def fits_data(name: str, metrics: Any, units: bool) -> None:
    """Refuses metrics of images for mechanism tests, and those of mechanism tests for images."""
    of_units = unit_metrics()
    wrong = [metric for metric in metrics if (metric in of_units) != units]
    if not wrong:
        return
    advice = (
        f"leave it out (data=units has {', '.join(of_units)})"
        if units
        else "choose data=units for it"
    )
    kind = "mechanism tests" if units else "images"
    raise InputError(
        f"Expected {name} of {kind} for these data, got {wrong[0]}: {advice}.", (name, "data")
    )


def number_of_inputs(data: str) -> int:
    """The number of inputs of each network, from `units` or `units:N`."""
    count = data.partition(":")[2]
    if ":" in data and (not count.isdecimal() or int(count) < 1):
        raise InputError(
            f"Expected a number of inputs after 'units:', got {count!r}: write for example units:32.",
            "data",
        )
    return int(count or 32)


def seed(name: str, value: Any) -> int:
    """A seed of NumPy's global generator."""
    found = read_integer(name, value, 0)
    if found >= _SEEDS:
        raise InputError(f"Expected {name} to be from 0 to {_SEEDS - 1}, got {value!r}.", name)
    return found


def grid(name: str, value: Any) -> str:
    """Rows and columns of a grid, such as 2x3."""
    rows, _, columns = str(value).partition("x")
    numbers = [int(n) if n.isdecimal() and len(n) < 3 else 0 for n in (rows, columns)]
    if min(numbers) < 1 or max(numbers) < 2:
        raise InputError(
            f"Expected {name} as ROWSxCOLUMNS with at least two cells, such as 2x2, got {value!r}.",
            name,
        )
    return f"{numbers[0]}x{numbers[1]}"


def replacements(name: str, value: Any) -> tuple[str, ...]:
    """What replaces pixels: words or grey levels, each once; one may be given as a text."""
    given = tuple(map(str, (value,) if isinstance(value, str | int | float) else value))
    for one in given:
        if one not in REPLACEMENTS and not 0 <= grey_level(one) <= 255:
            raise InputError(
                f"Expected {name} to be {', '.join(REPLACEMENTS)} or a whole grey level from 0 to 255, "
                f"got {one!r}.",
                name,
            )
    if not given or len(set(given)) < len(given):
        raise InputError(f"Expected {name} to name each replacement once, got {value}.", name)
    return given


def fits_replacements(given: Sequence[str], metrics: Sequence[str], keep: str) -> None:
    """Refuses several replacements of pixels that no metric uses, and `infill` of other objects."""
    if given[1:] and not any(METRICS[name].by_imputer for name in metrics):
        raise InputError(
            f"Expected one replacement for {', '.join(metrics)}, got {', '.join(given)}: add lerf, morf "
            "or srg, which use each, or name only one.",
            ("replacement", "metrics"),
        )
    if "infill" in given and keep == "all":
        raise InputError(
            "Expected keep=correct for replacement=infill, which removes the object of the explained "
            "class, got keep=all: change one of them.",
            ("replacement", "keep"),
        )


def fits_validation(images: int, metrics: Sequence[str]) -> None:
    """Refuses to validate metrics of which none has a better direction."""
    if images and not any(c.better for name in metrics for c in METRICS[name].columns):
        raise InputError(
            f"Expected a metric with a better direction to validate, got {', '.join(metrics)}: choose "
            "another metric, or validate=0.",
            ("validate", "metrics"),
        )


def grey_level(text: Any) -> float:
    """The whole number in a text; -1 if there is none."""
    try:
        level = float(text)
    except ValueError:
        return -1.0
    return level if level.is_integer() else -1.0


def title(name: str, value: Any) -> str:
    """A text that is not empty, on one line."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            f"Expected {name} to be a text, got {value!r}: leave it out for none.", name
        )
    return " ".join(value.split())
