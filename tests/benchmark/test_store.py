"""Results outlive a process that is killed and a disk that is full."""

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from helpers.benchmarks import MAIN, QUICK, assert_same_report, records
from helpers.command_line import fail, files, run, succeed

from rap_keras.benchmark import filling
from rap_keras.benchmark.sameness import check_same
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


def add(store, record, maps=None):
    store.add([(record, maps or {})])


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


@pytest.mark.slow
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


def test_what_a_killed_run_leaves_is_gone_on_with(whole, common, tmp_path, monkeypatch):
    """What is on the disk while the third image is written, as kill -9 would leave it."""
    out, left = tmp_path / "out", tmp_path / "left"
    arguments = ["benchmark", *common, *MAIN, "--out"]
    held = Store._insert_maps

    def insert(self, position, maps):
        held(self, position, maps)
        if self._database.execute("SELECT count(*) FROM images").fetchone() == (3,):
            shutil.copytree(out, left)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_insert_maps", insert)
        assert run(*arguments, out).exit_code
    assert (left / f"{FILE}-journal").exists()  # it was at work
    assert list(records(left)) == ["a", "b"]
    before = records(left)
    succeed(*arguments, left)
    assert_same_report(left, whole)
    assert {name: records(left)[name] for name in before} == before
    assert records(left) == records(whole)


def test_a_disk_that_is_full_while_images_are_added(whole, common, tmp_path):
    out = tmp_path / "out"
    arguments = ["benchmark", *common, *MAIN, "--out", out]
    with small_files(36 * 1024):
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
        add(store, record(0))
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(InputError, match="database or disk is full"):
            add(store, record(1), {"a": np.zeros(4), "b": np.zeros(10_000)})
        assert store.positions() == {0}
        assert store.maps() == {}
        add(store, record(2))
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
        add(store, numbers, maps)
        add(store, record(1))
        store.add_maps(1, {"z": maps["z"]})
    with Store(tmp_path / "new" / "folder") as store:
        assert store.protocol == PROTOCOL
        assert store.images() == [record(1), numbers]
        assert store.positions() == store.positions_of_maps() == {1, 5}
        held = dict(store.maps())
        assert list(held) == [1, 5]
        assert list(store.maps(1)) == [1]
        assert 5 not in store.maps(1)
        assert list(held[5]) == ["", "z", "a"]  # in the order of the methods
        for title, array in maps.items():
            assert held[5][title].dtype == array.dtype
            np.testing.assert_array_equal(held[5][title], array)


def test_an_image_is_replaced_only_if_it_was_skipped(tmp_path):
    with Store(tmp_path, PROTOCOL) as store:
        add(store, record(0, status="skipped", reason="a"))
        add(store, record(1, value=1))
        assert store.finished() == {1}
        add(store, record(1, value=2), {"a": np.zeros(1)})
        add(store, record(0, value=3), {"a": np.zeros(1)})
        assert store.finished() == {0, 1}
        assert store.images() == [record(0, value=3), record(1, value=1)]
        assert store.positions_of_maps() == {0}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"command": "b"}, True),
        ({"title": "b"}, True),
        ({"seed": 1}, False),
        ({"new": 1}, False),
    ],
)
def test_another_protocol_is_refused(changed, same, tmp_path):
    Store(tmp_path, PROTOCOL).close()
    if same:
        Store(tmp_path, PROTOCOL | changed).close()
        return
    (key,) = changed
    was = json.dumps(PROTOCOL.get(key))
    with pytest.raises(InputError, match=f"but {key} was {was} and now is 1"):
        Store(tmp_path, PROTOCOL | changed)


def test_tuples_are_lists(tmp_path):
    Store(tmp_path, PROTOCOL | {"size": (1, 2)}).close()
    Store(tmp_path, PROTOCOL | {"size": (1, 2)}).close()


def test_a_title_is_replaced_by_a_new_one_only(tmp_path):
    for given, title in ((None, None), ("a", "a"), (None, "a"), ("b", "b")):
        with Store(tmp_path, PROTOCOL) as store:
            store.rename(given)
            protocol = store.protocol
        assert protocol.get("title") == title
        with Store(tmp_path) as store:
            assert store.protocol == protocol
            assert {**protocol, "title": None} == {**PROTOCOL, "title": None}
            assert title is None or next(iter(protocol)) == "title"


@pytest.mark.parametrize("version", [1, 99])
def test_a_store_of_another_version(version, tmp_path):
    Store(tmp_path, PROTOCOL).close()
    database = sqlite3.connect(tmp_path / FILE)
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    for protocol in (None, PROTOCOL):
        with pytest.raises(InputError, match=f"version {version}"):
            Store(tmp_path, protocol)


def test_a_chunk_with_a_skipped_image_is_replaced_as_a_whole(tmp_path):
    with Store(tmp_path, PROTOCOL) as store:
        store.add([(record(0, value=1), {"a": np.zeros(1)}), (record(1, status="skipped"), {})])
        store.add([(record(2, value=1), {}), (record(3, value=1), {})])
        store.add([(record(0, value=2), {}), (record(1, value=2), {"a": np.ones(1)})])
        store.add([(record(2, value=2), {}), (record(3, value=2), {})])
        assert [one["value"] for one in store.images()] == [2, 2, 1, 1]
        assert list(store.maps()) == [1]


def test_two_processes_do_not_spoil_each_others_results(tmp_path):
    with Store(tmp_path, PROTOCOL) as one, Store(tmp_path, PROTOCOL) as two:
        for position in range(4):
            add((one, two)[position % 2], record(position))
            add((two, one)[position % 2], record(position, late=True))
        assert one.images() == two.images() == [record(position) for position in range(4)]


def changed(data, seed):
    """The bytes of a file, some of which were changed."""
    rng = np.random.default_rng(seed)
    result = np.frombuffer(data, np.uint8).copy()
    at = rng.integers(0, len(data), rng.choice([1, 1, 2, 8]))
    if seed % 2:
        result[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    else:
        result[at] = rng.integers(32, 127, len(at))
    if seed % 11 == 0:
        return result[: at[0]].tobytes()
    if seed % 13 == 0:
        result[at[0] : at[0] + 500] = 0
    return result.tobytes()


def content(folder):
    with Store(folder) as store:
        maps = {p: {t: a.tolist() for t, a in own.items()} for p, own in store.maps().items()}
        return store.protocol, store.images(), maps, store.finished()


def test_bytes_that_were_changed_never_give_other_results(whole, tmp_path):
    """Of 200 files the results are those that were written, or none: the report is made of them."""
    data, expected = (whole / FILE).read_bytes(), content(whole)
    same, told = 0, set()
    for seed in range(200):
        (tmp_path / FILE).write_bytes(changed(data, seed))
        try:
            assert content(tmp_path) == expected, seed
            same += 1
        except InputError as error:
            sentence = str(error)
            assert "\n" not in sentence
            if "of version" not in sentence:
                assert re.search(rf"{FILE}' are damaged \(.+\); put a copy", sentence), sentence
            told.add(sentence)
    assert 0 < same < 60  # in what SQLite does not use
    assert any("the record of image" in sentence for sentence in told)
    assert any("a map of image" in sentence for sentence in told)


def test_results_that_were_changed_are_told_on_the_command_line(whole, common, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    database = sqlite3.connect(out / FILE)
    database.execute("UPDATE images SET content = replace(content, '\"logit\": ', '\"logit\": 1')")
    database.commit()
    database.close()
    before = {name: (out / name).read_bytes() for name in ("report.md", FILE)}
    for command in (["benchmark", *common, *MAIN], ["merge", out]):
        message = fail(*command, "--out", out)
        assert f"{FILE}' are damaged (the record of image 0 was changed); put a copy" in message
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE images SET position = position + 10",
        "UPDATE images SET status = 'kept'",
        "UPDATE maps SET title = 'b'",
        "UPDATE maps SET content = x'00'",
        "UPDATE protocol SET content = '{}'",
        "DELETE FROM protocol",
        "INSERT INTO protocol SELECT * FROM protocol",
        "ALTER TABLE images DROP COLUMN checksum",
        "DROP TABLE maps",
    ],
)
def test_any_change_is_damage(change, tmp_path):
    with Store(tmp_path, PROTOCOL) as store:
        add(store, record(0, status="skipped"))
        add(store, record(1), {"a": np.zeros(2)})
    database = sqlite3.connect(tmp_path / FILE)
    database.execute(change)
    database.commit()
    database.close()
    with pytest.raises(InputError, match=f"{FILE}' are damaged"):
        content(tmp_path)
    with pytest.raises(InputError, match=f"{FILE}' are damaged"):
        Store(tmp_path, PROTOCOL)  # before anything is measured


def test_a_pipe_in_the_place_of_results(tmp_path):
    os.mkfifo(tmp_path / FILE)
    for protocol in (None, PROTOCOL):
        with pytest.raises(InputError, match="There are no results"):
            Store(tmp_path, protocol)


def test_nothing_is_begun_to_read(tmp_path):
    with pytest.raises(InputError, match="no results"):
        Store(tmp_path / "none")
    assert files(tmp_path) == []


WHOLE = PROTOCOL | {"images": 2}


@pytest.mark.parametrize("kept", [False, True])
def test_results_without_an_image_are_not_in_the_way(kept, tmp_path):
    """As a process leaves them that was killed."""
    with Store(tmp_path, WHOLE) as store:
        add(store, record(0, status="kept" if kept else "misclassified"))
    changed = WHOLE | {"seed": 1}
    if kept:
        with pytest.raises(InputError, match="seed was 0 and now is 1"):
            filling._begun(tmp_path, changed)
        return
    with filling._begun(tmp_path, WHOLE) as store:  # the same goes on
        assert store.positions() == {0}
    with filling._begun(tmp_path, changed) as store:
        assert (store.protocol["seed"], store.positions()) == (1, set())


def test_results_that_cannot_be_read_stay(tmp_path):
    (tmp_path / FILE).write_text("no database " * 99)
    with pytest.raises(InputError, match="not a database"):
        filling._begun(tmp_path, WHOLE)
    assert (tmp_path / FILE).read_text().startswith("no database")


@pytest.mark.parametrize(
    ("statuses", "shard", "stays"),
    [
        ([], (1, 1), False),
        (["skipped"], (1, 1), False),
        (["skipped", "kept"], (1, 1), True),
        ([], (1, 2), None),
        (["misclassified"], (1, 2), True),
    ],
)
@pytest.mark.parametrize("failure", [None, InputError("No."), KeyboardInterrupt()])
def test_a_run_that_kept_nothing_leaves_nothing(statuses, shard, stays, failure, tmp_path):
    out = tmp_path / "out"
    try:
        with filling._begun(out, WHOLE) as store, filling._without_empty_results(store, shard):
            for k, status in enumerate(statuses):
                add(store, record(k, status=status))
            if failure is not None:
                raise failure
    except (InputError, KeyboardInterrupt) as error:
        assert error is failure  # noqa: PT017
    # A shard without any image, of more shards than chunks, is complete.
    assert out.exists() == (failure is None if stays is None else stays)


def test_shards_without_images_are_merged(tmp_path):
    folders = [tmp_path / "1", tmp_path / "2"]
    for k, folder in enumerate(folders):
        protocol = PROTOCOL | {"shard": [k + 1, 2], "images": 1}
        with (
            filling._begun(folder, protocol) as store,
            filling._without_empty_results(store, (k + 1, 2)),
        ):
            if k == 0:
                add(store, record(0))
    with filling.merged(folders, tmp_path / "whole") as whole:
        assert whole.positions() == {0}


def test_what_another_process_began_stays(tmp_path):
    with (
        filling._begun(tmp_path, WHOLE) as store,
        filling._begun(tmp_path, WHOLE) as other,
        filling._without_empty_results(other, (1, 1)),
    ):
        add(store, record(0, status="skipped"))
    assert (tmp_path / FILE).exists()


METHODS = [{"title": name, "options": {"steps": 9}} for name in ("rap", "ig", "lrp.epsilon")]
LONG = "/a/long/folder" * 9


@pytest.mark.parametrize(
    ("held", "given", "told"),
    [
        (
            {"methods": METHODS},
            {"methods": METHODS[:2]},
            "methods was with lrp.epsilon and now is without",
        ),
        (
            {"methods": METHODS[1:]},
            {"methods": METHODS},
            "methods was without rap and now is with rap",
        ),
        (
            {"methods": METHODS[:1]},
            {"methods": METHODS[1:2]},
            "methods was with rap and now is with ig",
        ),
        (
            {"methods": METHODS},
            {"methods": [*METHODS[:2], METHODS[2] | {"options": {"steps": 8}}]},
            "methods lrp.epsilon options steps was 9 and now is 8",
        ),
        (
            {"methods": METHODS},
            {"methods": METHODS[::-1]},
            "methods was rap, ig, lrp.epsilon and now is lrp.epsilon, ig, rap",
        ),
        (
            {"metrics": ["lerf"]},
            {"metrics": ["lerf", "morf"]},
            "metrics was without morf and now is with",
        ),
        (
            {"seed": 0, "methods": [{"title": "a", "options": {"seed": 0}}]},
            {"seed": 1, "methods": [{"title": "a", "options": {"seed": 1}}]},
            "seed was 0 and now is 1, and methods a options seed was 0 and now is 1",
        ),
        (
            {"data": f"folder:{LONG}/one"},
            {"data": f"folder:{LONG}/two"},
            'data was ...ng/folder/one" and now is ...ng/folder/two"',
        ),
        (
            dict.fromkeys("abcde", 1),
            dict.fromkeys("abcde", 2),
            "a was 1 and now is 2, and b was 1 and now is 2, and c was 1 and now is 2 (2 more differ)",
        ),
    ],
)
def test_what_differs_is_shown(held, given, told):
    with pytest.raises(InputError) as error:
        check_same(held, given, "out")
    assert told in str(error.value)
    check_same(held | {"command": "a"}, held | {"command": "b"}, "out")


def test_a_link_that_leads_nowhere_is_no_place_for_results(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"results.sqlite' to be a file, got a broken link"):
        Store(tmp_path / "out", {})
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_written_to_a_file_that_another_process_replaced(tmp_path):
    with Store(tmp_path, PROTOCOL) as first:
        with filling._begun(tmp_path, PROTOCOL | {"seed": 1}) as second:
            second.add([({"position": 0, "status": "kept"}, {})])
        with pytest.raises(InputError, match="another process has removed or replaced it"):
            first.add([({"position": 0, "status": "kept"}, {})])
    with Store(tmp_path) as held:
        assert held.protocol["seed"] == 1
        assert held.has_kept()


def test_costs_are_kept_with_the_results(tmp_path):
    with Store(tmp_path, {}) as store:
        assert store.costs() is None
        store.set_costs({"images": 1})
        store.set_costs({"images": 2})
        assert store.costs() == {"images": 2}


def test_costs_of_a_shard_are_merged(tmp_path):
    folders = [tmp_path / "1", tmp_path / "2"]
    for k, folder in enumerate(folders):
        protocol = PROTOCOL | {"shard": [k + 1, 2], "images": 2}
        with Store(folder, protocol) as store:
            add(store, record(k))
    with Store(folders[1]) as store:
        store.set_costs({"images": 1})
    with filling.merged(folders, tmp_path / "whole") as whole:
        assert whole.costs() == {"images": 1}
