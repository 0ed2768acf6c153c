"""The benchmark on several processes."""

import json
import os
import pickle
import signal
import sys
from functools import partial

import numpy as np
import psutil
import pytest
from helpers.benchmarks import QUICK, assert_same_report, put, records, settings
from helpers.command_line import fail, succeed
from helpers.ray import Lost, Rows

from rap_keras.benchmark import distributed
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.store import Store

# Ray's own, while it is imported and at its end.
ignore_warnings_of_ray = pytest.mark.filterwarnings(
    *(f"ignore::{kind}Warning" for kind in ("Deprecation", "Future", "Resource"))
)
# Long enough for a worker to be killed while it is at work.
SLOW = ["--methods", "rap", "--no-controls", "--metrics", "lerf,morf,ratio", "--steps", 72]
SLOW += ["--batch-size", 1, "--figures", 2, "--resamples", 20, "--limit", 10, "--chunk", 2]


def workers():
    """Ray's processes that measure, of those that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[0].startswith("ray::MapWorker"):
                found.append(process)
        except (psutil.Error, IndexError):
            continue
    return found


@pytest.fixture
def data(tmp_path):
    for k in range(16):
        put(tmp_path / "data", f"{k:02}", k, k % 3, np.s_[2:8, 3:9])
    (tmp_path / "data" / "masks" / "03.png").unlink()
    return f"folder:{tmp_path / 'data'}"


@pytest.mark.slow
@ignore_warnings_of_ray
def test_a_killed_worker_loses_nothing(data, common, tmp_path, monkeypatch, capfd):
    pytest.importorskip("ray")
    arguments = ["benchmark", *common, "--data", data, *SLOW]
    succeed(*arguments, "--out", tmp_path / "one")
    killed = []
    add = Store.add

    def add_and_kill(self, chunk):
        add(self, chunk)
        at_work = workers()
        if not killed and at_work:
            killed.append(at_work[0].pid)
            os.kill(at_work[0].pid, signal.SIGKILL)

    monkeypatch.setattr(Store, "add", add_and_kill)
    capfd.readouterr()
    succeed(*arguments, "--out", tmp_path / "two", "--workers", 2)
    assert len(killed) == 1
    assert tuple(capfd.readouterr()) == ("", "")  # Ray is silent
    assert_same_report(tmp_path / "two", tmp_path / "one")
    assert records(tmp_path / "two") == records(tmp_path / "one")
    assert workers() == []


def test_workers_give_the_report_of_one_process(ray_here, common, tmp_path, monkeypatch):
    arguments = ["benchmark", *common, *QUICK, "--chunk", 2]
    succeed(*arguments, "--out", tmp_path / "one")
    on_two = [*arguments, "--workers", 2, "--out"]
    succeed(*on_two, tmp_path / "two")
    assert_same_report(tmp_path / "two", tmp_path / "one")
    assert records(tmp_path / "two") == records(tmp_path / "one")
    assert [(options["address"], options["num_cpus"]) for options in ray_here] == [("local", 2)]
    assert "for 2 workers with --gpus-per-worker 64, but Ray has 0: lower" in fail(
        *on_two, tmp_path / "none", "--gpus-per-worker", 64
    )

    def lost(self):
        yield self.rows[0]
        raise Lost("a worker died.\nmore")

    monkeypatch.setattr(Rows, "iter_rows", lost)
    message = fail(*on_two, tmp_path / "lost")
    assert "Ray has lost its workers (a worker died); earlier results are kept" in message
    assert list(records(tmp_path / "lost")) == ["a", "b"]


def test_ray_is_missing(common, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = [*common, *QUICK, "--out", tmp_path / "out", "--workers", 2]
    message = fail("benchmark", *arguments)
    assert "Expected Ray for --workers" in message
    assert "pip install 'ray[data]>=2.40'" in message
    assert not (tmp_path / "out").exists()


@ignore_warnings_of_ray
@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nonsense", "no.invalid:1"]
)
def test_a_cluster_that_is_not_there(address, common, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    if ":" in address:  # Ray is not asked, which would try for minutes
        monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray was asked"))
    arguments = [*common, *QUICK, "--out", tmp_path / "out", "--ray-address", address]
    assert f"cluster '{address}' cannot be reached" in fail("benchmark", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@ignore_warnings_of_ray
def test_workers_without_room_are_refused(common, tmp_path):
    """Ray would wait for a GPU that never comes."""
    pytest.importorskip("ray")
    arguments = [*common, *QUICK, "--out", tmp_path / "out", "--workers", 2]
    message = fail("benchmark", *arguments, "--gpus-per-worker", 64)
    assert "Expected 128 GPUs for 2 workers with --gpus-per-worker 64, but Ray has" in message
    assert not (tmp_path / "out").exists()


def test_a_worker_gets_the_backend_of_keras(common, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "none")
    distributed.Worker(partial(Bench, settings(common)), {}, False)
    assert os.environ["KERAS_BACKEND"] == "none"  # what this machine has chosen
    distributed.Worker(partial(Bench, settings(common)), {}, False, "torch")
    assert os.environ["KERAS_BACKEND"] == "torch"


def test_a_worker_measures_the_same_model_only(common):
    """Its answers are records, or why there are none."""
    quick = settings(common, chunk=1)
    protocol = json.loads(json.dumps(Bench(quick).protocol()))
    batch = {"chunk": np.array([1, 6])}
    answer = distributed.Worker(partial(Bench, quick), protocol, False)(batch)
    assert list(answer["error"]) == ["", ""]
    answers = map(pickle.loads, answer["measured"])
    assert [[record["status"] for record, _ in one] for one in answers] == [["kept"], ["skipped"]]
    answer = distributed.Worker(partial(Bench, quick), protocol, True)(batch)
    assert [bool(error) for error in answer["error"]] == [False, True]
    other = protocol | {"weights_crc32": 1}
    answer = distributed.Worker(partial(Bench, quick), other, False)(batch)
    assert all("weights_crc32" in error for error in answer["error"])
