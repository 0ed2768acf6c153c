"""Flags that several commands share: each is defined once, as a field of a dataclass."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rap_keras.cli.options import in_group
from rap_keras.cli.session import echo
from rap_keras.errors import InputError
from rap_keras.support.signals import Stopped
from rap_keras.support.text import counted, one_line

if TYPE_CHECKING:
    from rap_keras.benchmark.distributed import Workers


def shared_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Turns each parameter of a command that is annotated with a dataclass into one flag per field.

    Fields have the same annotations as parameters. The caller adds the flags of a `**` parameter.
    """
    expected = inspect.signature(command).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in expected if is_dataclass(p.annotation)}
    flags: list[inspect.Parameter] = []
    for parameter in expected:
        if parameter.name in groups:
            flags += map(_flag, fields(parameter.annotation))
        elif parameter.kind != parameter.VAR_KEYWORD:
            flags.append(parameter.replace(kind=parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    run.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return run


def _flag(field: "Field[Any]") -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=field.type)


worker_option = in_group("Several machines or processes")


@dataclass(frozen=True)
class WorkFlags:
    """The flags of every command whose work can be divided."""

    shard: Annotated[
        str, worker_option(metavar="I/N", help="Measure only part I of N of the images.")
    ] = "1/1"
    workers: Annotated[
        int | None,
        worker_option(min=1, metavar="N", help="Measure in this many processes, with Ray."),
    ] = None
    cpus_per_worker: Annotated[
        float | None,
        worker_option(metavar="NUMBER", help="CPU cores that Ray reserves per worker. Default: 1."),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        worker_option(
            metavar="NUMBER",
            help="GPUs that Ray reserves per worker, or a fraction such as 0.5. Default: 0.",
        ),
    ] = None
    ray_address: Annotated[
        str | None,
        worker_option(metavar="ADDRESS", help="Address of the Ray cluster. Default: this machine."),
    ] = None

    def read_shard(self) -> tuple[int, int]:
        """The part of the work, I/N."""
        number, _, count = self.shard.partition("/")
        try:
            part = int(number), int(count)
        except ValueError:
            raise InputError(
                f"Expected shard to be I/N, such as 2/4, got {self.shard!r}.", "shard"
            ) from None
        from rap_keras.benchmark.filling import check_shard

        check_shard(part)
        return part

    def read_workers(self) -> "Workers | None":
        """The processes that measure, with Ray; None if no flag is given."""
        flags: dict[str, Any] = {
            "cpus": self.cpus_per_worker,
            "gpus": self.gpus_per_worker,
            "address": self.ray_address,
        }
        given = {name: value for name, value in flags.items() if value is not None}
        if self.workers is None and not given:
            return None
        from rap_keras.benchmark.distributed import Workers, check_ray

        found = Workers(self.workers or 1, **given)
        check_ray()
        return found


@contextlib.contextmanager
def reporting_progress(out: Path) -> Iterator[None]:
    """If the command is stopped, prints how many images are measured and how to resume."""
    try:
        yield
    except Stopped as stop:
        from rap_keras.benchmark.store import FILE, Store

        kept = 0
        if (out / FILE).is_file():
            with contextlib.suppress(InputError), Store(out) as store:
                kept = len(store.positions())
        echo(
            f"rap-keras: stopped by {stop}; {counted(kept, 'image')} measured and kept in "
            f"{one_line(out)}. Rerun the same command to resume.",
            err=True,
        )
        raise typer.Exit(128 + stop.number) from stop
