"""Results outlive a process that is killed and a disk that is full."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from command_line import fail, files, succeed

from benchmarks import MAIN, QUICK, assert_same_report, records
from rap_keras.benchmark.store import FILE, Store
from rap_keras.errors import InputError

PROTOCOL = {"methods": ["rap"], "seed": 0, "command": "a", "shard": [1, 1]}
# Kills itself, as kill -9 does, while the third image that is kept is written.
KILLED = """
import os, signal, sys
from rap_keras.cli.app import app
from rap_keras.benchmark.store import Store

held = Store._insert_maps
def insert(self, position, maps):
    held(self, position, maps)
    if self._database.execute("SELECT count(*) FROM images").fetchone() == (3,):
        os.kill(os.getpid(), signal.SIGKILL)
Store._insert_maps = insert
app(sys.argv[1:])
"""


def record(position, **entries):
    return {"position": position, "name": f"{position}", "status": "kept"} | entries


@contextmanager
def small_files(size):
    """No file of this process grows beyond a size: each writing fails, as where the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_killed_run_goes_on(whole, common, tmp_path):
    out = tmp_path / "out"
    arguments = [str(value) for value in ("benchmark", *common, *MAIN, "--out", out)]
    result = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert (out / f"{FILE}-journal").exists()  # it was at work
    assert list(records(out)) == ["a", "b"]
    before = records(out)
    succeed(*arguments)
    assert_same_report(out, whole)
    assert {name: records(out)[name] for name in before} == before
    assert records(out) == records(whole)


def test_a_disk_that_is_full_while_images_are_added(whole, common, tmp_path):
    out = tmp_path / "out"
    arguments = ["benchmark", *common, *MAIN, "--out", out]
    with small_files(24 * 1024):
        message = fail(*arguments)
    assert "run the same command again" in message
    assert 0 < len(records(out)) < 8
    assert files(out) == [FILE]
    succeed(*arguments)
    assert_same_report(out, whole)


@pytest.mark.parametrize("size", [0, 4096])
def test_a_disk_that_is_full_from_the_start(size, common, tmp_path):
    arguments = ["benchmark", *common, *QUICK, "--limit", 2, "--out", tmp_path / "out"]
    with small_files(size):
        assert "cannot be read or written" in fail(*arguments)
    succeed(*arguments)


def test_a_disk_that_is_full_while_the_report_is_written(common, tmp_path):
    out = tmp_path / "out"
    arguments = ["benchmark", *common, *QUICK, "--limit", 2, "--out", out]
    succeed(*arguments)
    expected = {name: (out / name).read_bytes() for name in files(out)}
    for name in set(expected) - {FILE}:
        (out / name).write_text("as before")
    with small_files(1024):
        message = fail(*arguments)
        assert "report cannot be written" in message
        assert "the results are kept" in message
        assert "report cannot be written" in fail("merge", out, "--out", out)
    assert files(out) == sorted(expected)
    assert (out / "report.md").read_text() == "as before"
    succeed(*arguments)
    assert {name: (out / name).read_bytes() for name in files(out)} == expected


def test_an_image_is_added_as_a_whole_or_not_at_all(tmp_path):
    with Store(tmp_path, PROTOCOL) as store:
        store.add(record(0))
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(InputError, match="database or disk is full"):
            store.add(record(1), {"a": np.zeros(4), "b": np.zeros(10_000)})
        assert store.positions() == {0}
        assert store.maps() == {}
        store.add(record(2))
    with Store(tmp_path) as store:
        assert [r["position"] for r in store.images()] == [0, 2]


def test_what_is_stored_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    maps = {
        "": rng.integers(0, 256, (3, 4, 3), np.uint8),
        "z": rng.normal(size=(3, 4)).astype(np.float32),
        "a": rng.normal(size=(3, 4)),
    }
    numbers = record(5, logit=0.1 + 0.2, tiny=5e-324, none=None, list=[1, 2.5])
    with Store(tmp_path / "new" / "folder", PROTOCOL) as store:
        store.add(numbers, maps)
        store.add(record(1))
        store.add_maps(1, {"z": maps["z"]})
    with Store(tmp_path / "new" / "folder") as store:
        assert store.protocol == PROTOCOL
        assert store.images() == [record(1), numbers]
        assert store.positions() == store.positions_of_maps() == {1, 5}
        held = store.maps()
        assert list(held) == [1, 5]
        assert list(store.maps(1)) == [1]
        assert list(held[5]) == ["", "z", "a"]  # in the order of the methods
        for title, array in maps.items():
            assert held[5][title].dtype == array.dtype
            np.testing.assert_array_equal(held[5][title], array)


def test_an_image_is_replaced_only_if_it_was_skipped(tmp_path):
    with Store(tmp_path, PROTOCOL) as store:
        store.add(record(0, status="skipped", reason="a"))
        store.add(record(1, value=1))
        assert store.finished() == {1}
        store.add(record(1, value=2), {"a": np.zeros(1)})
        store.add(record(0, value=3), {"a": np.zeros(1)})
        assert store.finished() == {0, 1}
        assert store.images() == [record(0, value=3), record(1, value=1)]
        assert store.positions_of_maps() == {0}


@pytest.mark.parametrize(
    ("changed", "same"),
    [({}, True), ({"command": "b"}, True), ({"seed": 1}, False), ({"new": 1}, False)],
)
def test_another_protocol_is_refused(changed, same, tmp_path):
    Store(tmp_path, PROTOCOL).close()
    if same:
        Store(tmp_path, PROTOCOL | changed).close()
        return
    (key,) = changed
    was = json.dumps(PROTOCOL.get(key))
    with pytest.raises(InputError, match=f"there {key} was {was} and now is 1"):
        Store(tmp_path, PROTOCOL | changed)


def test_tuples_are_lists(tmp_path):
    Store(tmp_path, PROTOCOL | {"size": (1, 2)}).close()
    Store(tmp_path, PROTOCOL | {"size": (1, 2)}).close()


def test_a_store_of_another_version(tmp_path):
    Store(tmp_path, PROTOCOL).close()
    database = sqlite3.connect(tmp_path / FILE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    for protocol in (None, PROTOCOL):
        with pytest.raises(InputError, match="version 99"):
            Store(tmp_path, protocol)


def test_two_processes_do_not_spoil_each_others_results(tmp_path):
    with Store(tmp_path, PROTOCOL) as one, Store(tmp_path, PROTOCOL) as two:
        for position in range(4):
            (one, two)[position % 2].add(record(position))
            (two, one)[position % 2].add(record(position, late=True))
        assert one.images() == two.images() == [record(position) for position in range(4)]


def test_nothing_is_begun_to_read(tmp_path):
    with pytest.raises(InputError, match="no results"):
        Store(tmp_path / "none")
    assert files(tmp_path) == []
