"""Count how many small faults the tests find: a sample of mutations of rules, models and metrics.

    make mutations

Each mutation changes one operator, comparison, number or condition in a copy of the project. The tests
of the packages that use the changed file run on the copy. The tests of `make test` run first, on each
mutation. The slow tests then run on all mutations that passed, together, and one by one only if a slow
test fails. A mutation that no test finds may have no visible effect.
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Collection
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
# The mutated packages, and the tests that run for each, the most specific first.
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
# Mutations of these operators make no sense, and every test would find them.
SENSELESS = ("Shift", "Bit", "Mod", "FloorDiv", "Is", "In")


def main() -> None:
    """Read the command line, and print every outcome and their numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=50, help="mutations in the sample")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs the tests")
    parser.add_argument(
        "--workers", type=int, default=2, help="copies that are tested at the same time"
    )
    arguments = parser.parse_args()
    scratch = ROOT / "build" / "mutations"
    shutil.rmtree(scratch, ignore_errors=True)
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(arguments.workers):
        copies.put(copy_of_project(scratch / str(number)))
    chosen = sample(scratch, arguments.number, arguments.seed)
    groups = [[mutation] for mutation in chosen]
    for kind, by in (("fast", "`make test`"), ("slow", "All tests")):
        tried = partial(missed_of, copies, arguments.python, kind)
        with ThreadPoolExecutor(arguments.workers) as pool:
            missed = [mutation for left in pool.map(tried, groups) for mutation in left]
        found = f"{len(chosen) - len(missed)} of {len(chosen)} mutations (seed {arguments.seed})"
        print(f"{by} found {found}.", flush=True)
        groups = in_different_files(missed)


def in_different_files(mutations: list[MutationSpec]) -> list[list[MutationSpec]]:
    """Groups of mutations that can be applied together."""
    groups: list[dict[Path, MutationSpec]] = []
    for mutation in mutations:
        free = next((group for group in groups if mutation.module_path not in group), None)
        if free is None:
            groups.append(free := {})
        free[mutation.module_path] = mutation
    return [list(group.values()) for group in groups]


def copy_of_project(folder: Path) -> Path:
    """Copy the tracked files to a separate folder, with a link to the optional data next to it."""
    project = folder / "project"
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    (folder / "shared").symlink_to(ROOT.parent / "shared")
    return project


def sample(scratch: Path, number: int, seed: int) -> list[MutationSpec]:
    """Mutations of different places, all places with the same probability."""
    files = [
        path.relative_to(ROOT)
        for package in TESTS
        for path in (ROOT / "rap_keras" / package).glob("*.py")
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
    """Whether the changed file still compiles. A changed lone `*` among parameters does not."""
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


def missed_of(
    copies: "SimpleQueue[Path]", python: str, kind: str, mutations: list[MutationSpec]
) -> list[MutationSpec]:
    """Apply mutations in a free copy, run tests of a kind, undo them; return the missed ones."""
    project = copies.get()
    changed = {mutation.module_path: project / mutation.module_path for mutation in mutations}
    before = {path: path.read_bytes() for path in changed.values()}
    lines = []
    try:
        for mutation in mutations:
            operator, path = get_operator(mutation.operator_name)(), changed[mutation.module_path]
            texts = apply_mutation(path, operator, mutation.occurrence)
            old, new = (text.splitlines()[mutation.start_pos[0] - 1].strip() for text in texts)
            lines.append(f"{mutation.module_path}:{mutation.start_pos[0]}: {old}  =>  {new}")
        found = fails(project, python, {path.parent.name for path in before}, kind)
    finally:
        for path, content in before.items():
            path.write_bytes(content)
        copies.put(project)
    verdict = f"{kind} {'found' if found else 'missed'}"
    print("\n".join(f"{verdict}: {line}" for line in lines), flush=True)
    if not found:
        return mutations
    if len(mutations) == 1:
        return []
    return [left for one in mutations for left in missed_of(copies, python, kind, [one])]


def fails(project: Path, python: str, packages: Collection[str], kind: str) -> bool:
    """Whether a test of a kind, "fast" or "slow", fails."""
    marks = "slow" if kind == "slow" else "not slow"
    folders = dict.fromkeys(folder for package in sorted(packages) for folder in TESTS[package])
    tests = [f"tests/{folder}" for folder in folders]
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
