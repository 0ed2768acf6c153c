"""Which backend Keras uses, and what is said where it is not installed."""

import json
import os
import subprocess
import sys

import pytest

from rap_keras.support import keras_backend
from rap_keras.support.devices import share_gpu

NONE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
names = ("tensorflow", "jax", "torch")
PathFinder.find_spec = lambda name, *more: None if name in names else find(name, *more)
"""
INSTALL = (
    "Expected a backend of Keras, got none: run pip install 'rap-keras[tensorflow]', 'rap-keras[jax]' "
    "or 'rap-keras[torch]'."
)
CALLS = [
    "rap_keras.bundled.load('vgg')",
    "rap_keras.create_analyzer('rap', None)",
    "rap_keras.load_analyzer('folder')",
    "rap_keras.models.load_model('bundled:vgg')",
    "rap_keras.explain('bundled:vgg', np.zeros((64, 64, 3), np.uint8))",
    "rap_keras.benchmark.run(rap_keras.benchmark.Settings(limit=1), 'folder')",
    "rap_keras.callbacks",
    "rap_keras.RAPAnalyzer",
    "rap_keras.register_rule",
    "rap_keras.rules",
    "importlib.import_module('rap_keras.rules')",
]


def answers(code, **environment):
    """What the lines of a program that is run without a backend print."""
    given = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


COMMANDS = ["models", "demo", "doctor bundled:vgg", "methods rap", "benchmark --out out"]


@pytest.fixture(scope="module")
def without_backend(tmp_path_factory):
    """What the calls and the commands say, in one process, and the folder where it ran."""
    folder = tmp_path_factory.mktemp("none")
    lines = [NONE, "import importlib, os, numpy as np, rap_keras", f"os.chdir({str(folder)!r})"]
    for call in CALLS:
        lines += ["try:", f"    {call}", "except Exception as error:"]
        lines += ["    print(type(error).__name__, error)"]
    code = f"""
from typer.testing import CliRunner
from rap_keras.cli.app import app
for command in {[*COMMANDS, "methods", "--help"]}:
    told = CliRunner().invoke(app, command.split())
    print(told.exit_code, told.stderr.strip())
"""
    return answers("\n".join(lines) + code), folder


def test_the_first_call_says_what_to_install(without_backend):
    told, _ = without_backend
    assert told[: len(CALLS)] == [f"InputError {INSTALL}"] * len(CALLS)


def test_commands_say_what_to_install(without_backend):
    told, folder = without_backend
    assert told[len(CALLS) :] == [f"2 rap-keras: {INSTALL}"] * len(COMMANDS) + ["0 "] * 2
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_another_backend_can_be_set_after_the_error():
    there, *_ = keras_backend.installed()
    absent = [name for name in keras_backend.TITLES if name not in keras_backend.installed()]
    code = """
import os, rap_keras
try:
    rap_keras.bundled
except ValueError as error:
    print(error)
os.environ["KERAS_BACKEND"] = "{}"
print(rap_keras.bundled.load("vgg").output_shape)
"""
    first, second = answers(code.format(there), KERAS_BACKEND=(*absent, "numpy")[0])
    if absent:
        assert (
            f"Expected {keras_backend.TITLES[absent[0]]}, which Keras uses as its backend" in first
        )
        assert f"set KERAS_BACKEND={there} before" in first
        assert f"pip install 'rap-keras[{absent[0]}]'" in first
    else:
        assert "one of the backends tensorflow, jax, torch, got 'numpy'" in first
    assert second == "(None, 10)"


@pytest.fixture
def nothing_set(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "")  # and not deleted: `choose` may set it
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_backend.metadata, "version", lambda package: "3.15.1")
    return tmp_path / "keras.json"


def test_the_backend_is_read_as_keras_reads_it(nothing_set, monkeypatch):
    assert keras_backend.configured() == "tensorflow"
    for text in ("no JSON", "[]", "{}"):
        nothing_set.write_text(text)
        assert keras_backend.configured() == "tensorflow"
    nothing_set.write_text(json.dumps({"backend": "jax"}))
    assert keras_backend.configured() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert keras_backend.configured() == "torch"
    monkeypatch.setattr(keras_backend.metadata, "version", lambda package: "2.14.0")
    assert keras_backend.configured() == "tensorflow"


def test_a_user_without_a_home_has_a_backend(nothing_set, monkeypatch):
    def unknown(user):
        raise KeyError(user)

    monkeypatch.setattr(pytest.importorskip("pwd"), "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    assert keras_backend.configured() == "tensorflow"


@pytest.mark.parametrize(
    ("found", "in_file", "before", "chosen"),
    [
        (["jax"], "tensorflow", "", "jax"),
        (["torch"], None, "", "torch"),
        (["jax"], "tensorflow", "torch", "torch"),
        (["jax", "torch"], "tensorflow", "", ""),
        (["tensorflow", "jax"], "jax", "", ""),
        ([], "tensorflow", "", ""),
    ],
)
def test_the_only_backend_is_chosen(found, in_file, before, chosen, nothing_set, monkeypatch):
    if in_file is not None:
        nothing_set.write_text(json.dumps({"backend": in_file}))
    monkeypatch.setattr(keras_backend, "installed", lambda: found)
    monkeypatch.setenv("KERAS_BACKEND", before)
    keras_backend.choose()
    assert os.environ["KERAS_BACKEND"] == chosen


def test_a_folder_is_no_backend(tmp_path, monkeypatch):
    before = keras_backend.installed()
    for name in keras_backend.TITLES:
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert keras_backend.installed() == before
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert keras_backend.installed() == []


def test_other_errors_stay():
    with pytest.raises(ImportError, match="no_such_module"), keras_backend.explained():
        import no_such_module  # noqa: F401


def test_gpu_memory_is_shared(monkeypatch):
    for name, shared, own in (
        ("TF_FORCE_GPU_ALLOW_GROWTH", "true", "false"),
        ("XLA_PYTHON_CLIENT_PREALLOCATE", "false", "true"),
    ):
        monkeypatch.setenv(name, own)
        share_gpu()
        assert os.environ[name] == own
        monkeypatch.delenv(name)
        share_gpu()
        assert os.environ[name] == shared


@pytest.mark.skipif(keras_backend.configured() == "tensorflow", reason="needs another backend")
def test_innvestigate_needs_tensorflow():
    with pytest.raises(ImportError, match=r"TensorFlow as the backend of Keras.*set KERAS"):
        import rap_keras.innvestigate  # noqa: F401
