"""A run that is told to stop cleans up, and says how to go on."""

import os
import signal
import subprocess
import sys

import pytest
from helpers.benchmarks import MAIN, QUICK, assert_same_report, records
from helpers.command_line import files, succeed

from rap_keras.benchmark.store import FILE, Store
from rap_keras.cli import main
from rap_keras.support.files import replacing

# Is told to stop while the third image is written, or while the report is.
TOLD = """
import os, sys
from rap_keras.benchmark.store import Store
from rap_keras.benchmark.reporting import report
from rap_keras.cli import main

where, number = sys.argv[1], int(sys.argv[2])
insert, markdown = Store._insert_maps, report.png

def at_third(self, position, maps):
    insert(self, position, maps)
    if self._database.execute("SELECT count(*) FROM images").fetchone() == (3,):
        os.kill(os.getpid(), number)

def at_report(figure):
    os.kill(os.getpid(), number)
    return markdown(figure)

if where == "image":
    Store._insert_maps = at_third
else:
    report.png = at_report
sys.argv = ["rap-keras", *sys.argv[3:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "number", "count"),
    [
        ("image", signal.SIGTERM, 2),
        ("image", signal.SIGINT, 2),
        ("report", signal.SIGTERM, 8),
    ],
)
def test_a_run_that_is_told_to_stop(where, number, count, whole, common, tmp_path):
    out = tmp_path / "out"
    arguments = [str(value) for value in ("benchmark", *common, *MAIN, "--out", out)]
    # As a user has it: what is set for tests would let TensorFlow talk.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(
        [sys.executable, "-c", TOLD, where, str(int(number)), *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 128 + number, result.stderr
    assert result.stderr == (
        f"rap-keras: stopped by {number.name}; {count} images measured and kept in {out}. Rerun the "
        "same command to resume.\n"
    )
    assert result.stdout == ""
    assert files(out) == [FILE]  # and no journal
    succeed(*arguments)
    assert_same_report(out, whole)
    assert records(out) == records(whole)


def test_a_run_in_this_process_that_is_told_to_stop(whole, common, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    arguments = [str(value) for value in ("benchmark", *common, *MAIN, "--out", out)]
    insert = Store._insert_maps

    def at_third(self, position, maps):
        insert(self, position, maps)
        if self._database.execute("SELECT count(*) FROM images").fetchone() == (3,):
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_insert_maps", at_third)
        patch.setattr(sys, "argv", ["rap-keras", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 128 + signal.SIGTERM
    assert tuple(capfd.readouterr()) == (
        "",
        f"rap-keras: stopped by SIGTERM; 2 images measured and kept in {out}. Rerun the same command "
        "to resume.\n",
    )
    assert files(out) == [FILE]  # and no journal
    succeed(*arguments)
    assert_same_report(out, whole)
    assert records(out) == records(whole)


# Is told to stop while a module is being imported.
AT_IMPORT = """
import os, sys
from rap_keras.cli import main

module, number = sys.argv[1], int(sys.argv[2])

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder())
sys.argv = ["rap-keras", *sys.argv[3:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "number", "told"),
    [
        ("tensorflow.python", signal.SIGTERM, "; 0 images measured and kept in "),
        ("rap_keras.cli.benchmark", signal.SIGINT, "; no incomplete files are left. "),
    ],
)
def test_a_run_that_is_told_to_stop_at_once(module, number, told, common, tmp_path):
    arguments = [str(value) for value in ("benchmark", *common, *QUICK, "--out", tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", AT_IMPORT, module, str(int(number)), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 128 + number, result.stderr
    assert result.stderr.startswith(f"rap-keras: stopped by {number.name}{told}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_killed_runs_have_left_is_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    names = {
        f".report.md.{gone.pid}": False,  # of versions before
        f".report.md.{gone.pid}-0a": False,
        f".report.md.{os.getppid()}-0a": True,
        f".report.md.{os.getppid()}": True,  # may still be written
        f".report.html.{gone.pid}": True,  # is another file's
        ".report.md.mine": True,
        f"report.md.{gone.pid}": True,
    }
    for name in names:
        (tmp_path / name).write_text("half")
    with replacing(tmp_path / "report.md") as file:
        file.write(b"whole")
    assert (tmp_path / "report.md").read_bytes() == b"whole"
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_report_removes_what_a_killed_one_has_left(common, tmp_path):
    out = tmp_path / "out"
    succeed("benchmark", *common, *QUICK, "--limit", 2, "--out", out)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    expected = files(out)
    (out / f".summary.json.{gone.pid}").write_text("half")
    (out / f".report.html.{gone.pid}").write_text("half")
    with Store(out) as store:
        assert store.positions()
    succeed("benchmark", *common, *QUICK, "--limit", 2, "--out", out)
    assert files(out) == expected
