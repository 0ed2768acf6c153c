"""The command line tells the library's errors in its own words."""

import pickle

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from rap_keras.cli.messages import Commands, in_flags
from rap_keras.errors import InputError, UnknownLayerError
from rap_keras.support.options import choose, read_integer, read_number

FLAGS = {"keep": "--keep", "pixels_per_step": "--pixels-per-step", "pattern_type": "--type"}


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("Expected keep to be 'keep'.", ["keep"], "Expected --keep to be 'keep'."),
        ("Lower pixels_per_step.", ["pixels_per_step"], "Lower --pixels-per-step."),
        ("Expected pattern_type here.", ["pattern_type"], "Expected --type here."),
        ('To keep: keep=FILE or keep="all".', ["keep"], "To keep: --keep FILE or --keep all."),
        ("keep or pixels_per_step", ["pixels_per_step", "keep"], "--keep or --pixels-per-step"),
        ("Expected seed and keep.", ["seed"], "Expected seed and keep."),
        ("Expected keeper and not-keep.", ["keep"], "Expected keeper and not-keep."),
        ("Expected keep.", [], "Expected keep."),
    ],
)
def test_arguments_become_flags(message, arguments, expected):
    assert in_flags(message, arguments, FLAGS) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: choose("keep", "x", ("a", "b")),
            "Expected --keep to be one of 'a', 'b', got 'x'.",
        ),
        (
            lambda: read_integer("steps", 0, 1),
            "Expected steps to be an integer of at least 1, got 0.",
        ),
        (lambda: read_number("keep", "x", 0), "Expected a finite --keep >= 0, got 'x'."),
    ],
)
@pytest.mark.parametrize("depth", [0, 1])
def test_only_the_flags_of_the_command_are_named(call, message, depth):
    app = typer.Typer(cls=Commands)
    group = typer.Typer(cls=Commands)

    @app.command()
    @group.command()
    def run(keep: str = "all"):
        call()

    @app.command()
    @group.command()
    def other(steps: int = 1):
        call()

    app.add_typer(group, name="group")
    result = CliRunner().invoke(app, ["group"] * depth + ["run"])
    assert result.exit_code == 2
    assert result.stderr == f"rap-keras: {message}\n"


@pytest.mark.parametrize("kind", [InputError, UnknownLayerError])
def test_an_error_keeps_its_arguments_on_the_way_between_processes(kind):
    one, several, none = kind("No.", "seed"), kind("No.", ["seed", "keep"]), kind("No.")
    for error, arguments in ((one, ("seed",)), (several, ("seed", "keep")), (none, ())):
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == "No."
        assert copy.arguments == error.arguments == arguments


@pytest.mark.parametrize("value", [True, np.True_])
def test_truth_is_no_number(value):
    with pytest.raises(InputError, match="Expected steps"):
        read_integer("steps", value, 0)
    with pytest.raises(InputError, match="Expected a finite alpha"):
        read_number("alpha", value, 0)


def test_numbers_of_numpy_become_plain():
    assert type(read_integer("steps", np.int64(3), 0)) is int
    assert type(read_number("alpha", np.float32(0.5), 0)) is float
