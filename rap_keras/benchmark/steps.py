"""The number of pixels that each step of a perturbation replaces."""

from collections.abc import Sequence
from typing import Any

from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError


def check_steps(settings: Settings, size: Sequence[int] | None) -> None:
    """Refuses more steps than an image of a size has pixels for, and fixed steps for any size (None)."""
    if not settings.perturbs:
        return
    if size is None:
        if settings.pixels_per_step is not None:
            raise InputError(
                "Expected images of one size for pixels_per_step=N, got a model for any size: pass "
                "size=N, or steps=N alone.",
                ("pixels_per_step", "size", "steps"),
            )
        return
    regions, patch = _regions(settings, size), settings.patch
    wanted = settings.steps * max(_pixels_each_step(settings, size) // patch**2, 1)
    if wanted > regions:
        what = "pixels" if patch == 1 else f"patches of {patch} x {patch} pixels"
        raise InputError(
            f"Expected at most the {regions} {what} of an image to be replaced, but "
            f"{settings.steps} steps need {wanted}: lower steps or pixels_per_step.",
            ("steps", "pixels_per_step"),
        )


def recorded_steps(settings: Settings, size: Sequence[int] | None) -> dict[str, Any]:
    """The protocol's entries of the steps, for images of a size; None is any size."""
    steps, patch = settings.steps, settings.patch
    pixels, whole = None, steps
    if size is not None:
        pixels, whole = _pixels_each_step(settings, size), _regions(settings, size) * patch**2
    return {
        "steps": steps,
        "pixels_per_step": pixels,
        "replacement": settings.replacement[0],
        **({"replacements": list(settings.replacement)} if settings.replacement[1:] else {}),
        "fractions": [k * (pixels or 1) / whole for k in range(steps + 1)],
        **({} if patch == 1 else {"patch": patch}),
    }


def _regions(settings: Settings, size: Sequence[int]) -> int:
    """The number of patches, or pixels, of an image of this size."""
    return -(-size[0] // settings.patch) * -(-size[1] // settings.patch)


def _pixels_each_step(settings: Settings, size: Sequence[int]) -> int:
    """The number of pixels of an image of this size that each step replaces."""
    regions = _regions(settings, size)
    return settings.pixels_per_step or regions // settings.steps * settings.patch**2
