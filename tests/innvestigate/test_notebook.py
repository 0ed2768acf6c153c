"""The notebook of the plugin, also in iNNvestigate's environment."""

import subprocess
import sys

import pytest
from helpers.documents import ROOT

# A separate process, because the notebook may switch off eager execution.
CODE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from helpers.documents import run_notebook
run_notebook(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_the_notebook_runs():
    arguments = [ROOT / "notebooks" / "05_innvestigate.ipynb", ROOT / "tests"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    logits, sums = (
        [
            float(number)
            for line in lines
            if line.startswith(name)
            for number in line.split("[")[1][:-1].split()
        ]
        for name in ("logits ", "rap ")
    )
    assert len(sums) == 3
    assert sums == pytest.approx(logits, abs=2e-3)  # of each map and its logit, as printed
