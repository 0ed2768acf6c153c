"""How many small faults the tests find: a sample of mutations of rules, networks and metrics.

    make mutations

Each mutation changes one operator, comparison, number or condition in a copy of the project. The tests
of the rooms that use the changed file run on it: first, for every mutation, those of `make test`; then,
for those that pass them, the slow ones. A mutation that no test finds may change nothing visible.
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import apply_mutation, mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[1]
# The rooms that are mutated, and the tests that are asked of each, the nearest first.
TESTS = {
    "rules": ("rules", "analyzers", "patterns"),
    "network": ("network", "rules", "backends", "analyzers", "models"),
    "evaluation": ("evaluation", "benchmark"),
}
KINDS = (
    "Comparison",
    "BinaryOperator",
    "UnaryOperator",
    "Number",
    "True",
    "False",
    "And",
    "Or",
    "Not",
)
# Of other operators the new one makes no sense, and every test would find it.
SENSELESS = ("Shift", "Bit", "Mod", "FloorDiv", "Is", "In")


def main() -> None:
    """Reads the command line, and prints every outcome and their numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=50, help="mutations in the sample")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the tests")
    parser.add_argument("--workers", type=int, default=2, help="copies that are tested at a time")
    arguments = parser.parse_args()
    scratch = ROOT / "build" / "mutations"
    shutil.rmtree(scratch, ignore_errors=True)
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(arguments.workers):
        copies.put(copy_of_project(scratch / str(number)))
    chosen = sample(scratch, arguments.number, arguments.seed)
    missed = chosen
    for kind in ("fast", "slow"):
        tried = partial(outcome, copies, arguments.python, kind)
        with ThreadPoolExecutor(arguments.workers) as pool:
            passed = [mutation for mutation, found in pool.map(tried, missed) if not found]
        missed = passed
        found = f"{len(chosen) - len(missed)} of {len(chosen)} mutations (seed {arguments.seed})"
        print(f"{'`make test`' if kind == 'fast' else 'All tests'} found {found}.", flush=True)


def copy_of_project(folder: Path) -> Path:
    """The tracked files in a folder of their own, with the optional data folder beside them."""
    project = folder / "project"
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    (folder / "shared").symlink_to(ROOT.parent / "shared")
    return project


def sample(scratch: Path, number: int, seed: int) -> list[MutationSpec]:
    """Mutations of as many places, each place as likely as another."""
    files = [
        path.relative_to(ROOT)
        for room in TESTS
        for path in (ROOT / "rap_keras" / room).glob("*.py")
    ]
    with use_db(str(scratch / "mutations.sqlite")) as database:
        init(sorted(files), database, {})
        specs = [spec for item in database.work_items for spec in item.mutations]
    places: dict[tuple[str, tuple[int, int]], list[MutationSpec]] = {}
    for spec in specs:
        _, _, change = spec.operator_name.partition("/")
        if any(kind in change for kind in KINDS) and not any(word in change for word in SENSELESS):
            places.setdefault((str(spec.module_path), spec.start_pos), []).append(spec)
    draw = random.Random(seed)
    drawn = (draw.choice(places[place]) for place in draw.sample(sorted(places), len(places)))
    return list(itertools.islice(filter(is_python, drawn), number))


def is_python(mutation: MutationSpec) -> bool:
    """Whether the changed file can still be compiled: of a lone `*` among parameters, it cannot."""
    code = (ROOT / mutation.module_path).read_text("utf-8")
    try:
        compile(
            mutate_code(code, get_operator(mutation.operator_name)(), mutation.occurrence),
            str(mutation.module_path),
            "exec",
        )
    except SyntaxError:
        return False
    return True


def outcome(
    copies: "SimpleQueue[Path]", python: str, kind: str, mutation: MutationSpec
) -> tuple[MutationSpec, bool]:
    """Makes a mutation in a free copy, asks tests of a kind, takes it back; and whether they fail."""
    project = copies.get()
    path = project / mutation.module_path
    before = path.read_bytes()
    try:
        old, new = apply_mutation(path, get_operator(mutation.operator_name)(), mutation.occurrence)
        found = fails(project, python, path.parent.name, kind)
    finally:
        path.write_bytes(before)
        copies.put(project)
    row = mutation.start_pos[0]
    lines = [text.splitlines()[row - 1].strip() for text in (old, new)]
    verdict = f"{kind} {'found' if found else 'missed'}"
    print(f"{verdict}: {mutation.module_path}:{row}: {lines[0]}  =>  {lines[1]}", flush=True)
    return mutation, found


def fails(project: Path, python: str, room: str, kind: str) -> bool:
    """Whether a test of a kind, "fast" or "slow", fails."""
    marks = "slow" if kind == "slow" else "not slow"
    tests = [f"tests/{folder}" for folder in TESTS[room]]
    command = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", marks, *tests]
    threads = dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"
    )
    environment = os.environ | threads | {"PYTHONPATH": str(project)}
    try:
        return (
            subprocess.run(
                command, cwd=project, env=environment, capture_output=True, timeout=3600
            ).returncode
            == 1
        )
    except subprocess.TimeoutExpired:  # an endless loop is found too
        return True


if __name__ == "__main__":
    main()
