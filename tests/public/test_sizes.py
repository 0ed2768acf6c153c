"""What a reader downloads stays small: a clone, a wheel, the results and each notebook."""

import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from helpers.documents import ROOT

PACKAGE = ROOT / "rap_keras"
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


@pytest.fixture(scope="module")
def tracked():
    """The sizes of the files that git tracks, by their paths."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("This is not a git checkout, so no file is tracked.")
    # Another user may own the checkout, for example in a container.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return {path.relative_to(ROOT): path.stat().st_size for path in paths if path.is_file()}


def test_tracked_files(tracked):
    assert 1e6 < sum(tracked.values()) < 15e6


def test_results(tracked):
    results = {path: size for path, size in tracked.items() if Path("docs/results") in path.parents}
    assert 1e6 < sum(results.values()) < 5e6
    figures = {path: size for path, size in results.items() if path.suffix == ".png"}
    assert figures
    assert [str(path) for path, size in figures.items() if size > 200_000] == []


def test_wheel():
    """The files of the package, compressed one by one as in a wheel, and 100 KB for their names.

    `make release` refuses a wheel above the limit.
    """
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    limit = re.search(r"^LARGEST := (\d+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert limit
    assert 5e5 < sum(len(zlib.compress(path.read_bytes())) for path in files) < int(limit[1]) - 1e5


def test_modules_are_short():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert lengths
    assert {str(path): length for path, length in lengths.items() if length > 350} == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook(path):
    assert path.stat().st_size < 250_000
