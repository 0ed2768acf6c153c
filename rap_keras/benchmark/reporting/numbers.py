"""Numbers with their standard errors, as text."""

import math

UNDEFINED = "–"


def format_estimate(
    value: float | None, standard_error: float | None, scale: float = 1, signed: bool = False
) -> str:
    """Writes a value with its standard error, to the digits that the standard error allows.

    The standard error gets two significant digits if it begins with 1 or 2, otherwise one: for example
    "0.523 ± 0.012" or "(4.1 ± 0.3)e-7"; "0.523" without a standard error; "–" without a value. Both are
    multiplied by `scale`; positive values get a sign if they are `signed`.
    """
    if value is None:
        return UNDEFINED
    sign = "+" if signed else ""
    value *= scale
    error = None if standard_error is None else standard_error * scale
    if not error:
        # Adding zero removes the sign of a negative zero.
        known = f"{float(f'{value:.4g}') + 0.0:{sign}.4g}"
        return known if error is None else f"{known} ± 0"
    largest = max(abs(value), error)
    if not 1e-3 <= largest < 1e6:
        exponent = math.floor(math.log10(largest))
        return f"({_with_error(value / 10**exponent, error / 10**exponent, sign)})e{exponent}"
    return _with_error(value, error, sign)


def two_digits(value: float | None) -> str:
    """A correlation with two digits after the point."""
    return UNDEFINED if value is None else f"{value:.2f}"


def format_p(p_value: float) -> str:
    """A p-value as text: "= 0.012", or "< 0.001"."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}"


def _with_error(value: float, error: float, sign: str) -> str:
    exponent = math.floor(math.log10(error))
    decimals = (1 if error / 10**exponent < 3 else 0) - exponent
    shown = max(decimals, 0)
    return f"{round(value, decimals) + 0.0:{sign}.{shown}f} ± {round(error, decimals):.{shown}f}"
