import errno
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rap_keras.errors import InputError
from rap_keras.patterns.patterns import Patterns
from rap_keras.plot import fonts
from rap_keras.support import memory
from rap_keras.support.files import replacing, replacing_together
from rap_keras.support.images import check_image
from rap_keras.support.lazy import lazy
from rap_keras.support.quiet import logged_from, warnings_once, without_warnings
from rap_keras.support.text import did_you_mean, shown


@pytest.mark.parametrize("name", ["picture.png", "text.npz", "array.npy"])
def test_what_is_no_file_of_arrays_is_told_as_that(tmp_path, name):
    Image.new("RGB", (3, 3)).save(tmp_path / "picture.png")
    (tmp_path / "text.npz").write_text("no arrays")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(InputError, match=f"file with patterns, got .*{name}', which is not a .npz"):
        Patterns.load(tmp_path / name)


def test_memory_is_asked_for_all_images_of_a_batch(monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: 8 * 1000 * 1000 * memory.BYTES_A_PIXEL)
    memory.check_memory((1000, 1000), 8)
    with pytest.raises(
        InputError, match="1000 x 1000 pixels: a batch of 9 needs at least 2 GB"
    ) as error:
        memory.check_memory((1000, 1000), 9)
    assert error.value.arguments == ("size", "batch_size")
    monkeypatch.setattr(memory, "physical_memory", lambda: None)
    memory.check_memory((10**6, 10**6), 9)


def test_an_image_is_checked_without_its_pixels(tmp_path, monkeypatch):
    Image.new("RGB", (3, 3)).save(tmp_path / "good.png")
    Image.new("F", (3, 3)).save(tmp_path / "float.tiff")
    (tmp_path / "text.png").write_text("no image")
    monkeypatch.setattr(Image.Image, "convert", None)
    check_image(tmp_path / "good.png")
    for name, message in {
        "float.tiff": "pixels of an unknown range",
        "text.png": "is not in an image format",
        "none.png": "There is no image",
    }.items():
        with pytest.raises(InputError, match=message):
            check_image(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["0", "1"])
@pytest.mark.tensorflow("its kernels")
def test_onednn_is_told_apart(asked):
    code = "from rap_keras.tensors import tensorflow_convolutions as tf; print(tf.uses_onednn())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": asked, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split()[-1] == str(asked == "1")


def test_no_planted_link_is_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    shared = tmp_path / "shared"
    shared.mkdir()
    for name in (f".report.md.{os.getpid()}", f".report.md.{os.getpid()}-0a", "report.md"):
        (shared / name).symlink_to(victim)
    with replacing(shared / "report.md") as file:
        file.write(b"report")
    (shared / "other.md").symlink_to(victim)
    with replacing_together(shared) as folder:
        (folder / "other.md").write_text("other")
    assert victim.read_text() == "precious"
    for name, text in {"report.md": "report", "other.md": "other"}.items():
        assert not (shared / name).is_symlink()
        assert (shared / name).read_text() == text


@pytest.mark.parametrize("out", ["out", "deep/out"])
def test_errors_of_other_files_are_not_those_of_the_folder(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    def closed(folder):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    for work, kind in {
        full: InputError,
        lambda folder: (folder / "no" / "a.txt").write_text(""): InputError,
        lambda folder: (folder / "no" / "a.txt").rename(folder / "b.txt"): InputError,
        lambda folder: (tmp_path / "none.txt").read_text(): FileNotFoundError,
        closed: BrokenPipeError,
    }.items():
        with pytest.raises(kind), replacing_together(Path(out)) as folder:
            work(folder)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_with_the_name_of_a_leftover_is_in_nobodys_way(tmp_path):
    planted = tmp_path / f".report.md.{2**22 + 1}"  # no process has such a number
    planted.mkdir()
    with replacing(tmp_path / "report.md") as file:
        file.write(b"report")
    assert (tmp_path / "report.md").read_bytes() == b"report"
    assert planted.is_dir()


def test_two_of_a_process_write_to_files_of_their_own(tmp_path):
    with replacing(tmp_path / "report") as one, replacing(tmp_path / "report") as two:
        one.write(b"one")
        two.write(b"two")
    assert (tmp_path / "report").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_written_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "report"):
        pass
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "plain").stat().st_mode


METHODS = (
    "rap",
    "grad_cam",
    "layer_cam",
    "integrated_gradients",
    "smoothgrad",
    "lrp.epsilon",
    "random",
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gradcam", ["grad_cam"]),
        ("Grad-CAM", ["grad_cam"]),
        ("ig", ["integrated_gradients"]),
        ("IntegratedGradients", ["integrated_gradients"]),
        ("smooth_grad", ["smoothgrad"]),
        ("lrp_epsilon", ["lrp.epsilon"]),
        ("epsilon", ["lrp.epsilon"]),
        ("cam", ["grad_cam", "layer_cam"]),
        ("RAP", ["rap"]),
        ("xyzzy", []),
        ("", []),
        ("-", []),
    ],
)
def test_what_was_meant(typed, meant):
    asked = f"did you mean {' or '.join(map(repr, meant))}?" if meant else ""
    assert did_you_mean(typed, METHODS) == asked


def test_plus_signs_are_words():
    names = ["grad_cam", "grad_cam_plus_plus"]
    assert did_you_mean("gradcam++", names) == "did you mean 'grad_cam_plus_plus'?"


LOGS = (
    b"W0000 00:00:1.5 1 a.cc:1] w\nplain\n2026-01-01 00:00:00.1: E tensorflow/b.cc:2] e\nI0000 x\n"
)


@pytest.mark.parametrize(("level", "shown"), [(0, "WPEI"), (1, "WE"), (2, "E"), (3, "")])
def test_logs_of_the_severity_that_was_asked_for(level, shown, capfd):
    with logged_from(level):
        os.write(2, LOGS)
    told = capfd.readouterr().err.splitlines()
    kinds = {"w": "W", "plain": "P", "e": "E", "x": "I"}
    assert "".join(kinds[line.split()[-1]] for line in told) == shown


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((2, 900)), "an array of shape (2, 900)"),
        ((np.zeros(3), 1), "(an array of shape (3,), 1)"),
        ([np.zeros(3)], "[an array of shape (3,)]"),
        ((...,), "(...,)"),
        ("text", "'text'"),
        ([0.5] * 3, "[0.5, 0.5, 0.5]"),
        ([0] * 900, "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...]"),
        (None, "None"),
    ],
)
def test_values_are_shown_short(value, words):
    assert shown(value) == words


def test_what_is_shown_has_one_line_and_an_end():
    deep = {"weights": np.ones((3, 4, 5)), "rows": [[list(range(99))] * 99] * 99}
    assert "\n" not in shown(deep)
    assert len(shown(deep)) < 1000


def test_warnings_that_differ_in_numbers_are_warnings_once(recwarn):
    warnings.simplefilter("always")
    with warnings_once("PIL"):
        for words in ("zero for 1 of 2", "zero for 2 of 2", "other"):
            warnings.warn(words, UserWarning, stacklevel=1)
    assert [str(one.message) for one in recwarn] == ["zero for 1 of 2", "other"]


@pytest.mark.parametrize("ignoring", [without_warnings, fonts.without_warnings])
def test_a_thread_that_ignores_warnings_leaves_those_of_others(ignoring):
    def reading():
        with ignoring():
            entered.set()
            left.wait()

    entered, left = threading.Event(), threading.Event()
    filters = list(warnings.filters)
    with ThreadPoolExecutor(1) as thread:
        read = thread.submit(reading)
        entered.wait()
        with warnings.catch_warnings():
            left.set()
            read.result()
    assert warnings.filters == filters


def test_a_lazy_package_loads_its_names_and_modules_and_nothing_else():
    names = ["PATTERN_TYPES", "cases"]
    load, listed = lazy("rap_keras.patterns", names, {"PATTERN_TYPES": "cases"})
    assert listed() == names
    assert load("PATTERN_TYPES") is load("cases").PATTERN_TYPES
    with pytest.raises(AttributeError, match=r"'rap_keras\.patterns' has no attribute 'sums'"):
        load("sums")
