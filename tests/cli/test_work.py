"""What the commands do once only, names of any kind, patterns, and ends before time."""

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers.command_line import fail, files, run, succeed
from PIL import Image

from rap_keras import cli, patterns
from rap_keras.cli.options import ModelFlags
from rap_keras.cli.parts import shared_flags
from rap_keras.models.loading import load_model
from rap_keras.pipeline import images as pipeline_images
from rap_keras.support import images, signals
from rap_keras.support.files import replacing_together
from rap_keras.support.progress import track

MODEL = """
import keras

def make(size=12):
    keras.utils.set_random_seed(3)
    return keras.Sequential([
        keras.Input((size, size, 3), name="pixels"),
        keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(name="mean"),
        keras.layers.Dense(5, name="head"),
    ])

def any_size():
    return make(None)
"""


@pytest.fixture
def common(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    return ["--model", f"{tmp_path / 'net.py'}:make", "--preprocess", "unit"]


def photo(path, size=(12, 12)):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, "png")
    return path


@pytest.fixture
def counted_calls(monkeypatch):
    """How often each image is read, and how often each analyzer runs."""
    from rap_keras.analyzers.base import Analyzer
    from rap_keras.models.loading import LoadedModel

    calls = {"read": 0, "explain": 0, "logits": 0}

    def counting(name, original):
        def call(*arguments, **options):
            calls[name] += 1
            return original(*arguments, **options)

        return call

    counted_read = counting("read", images.read_image)
    monkeypatch.setattr(pipeline_images, "read_image", counted_read)
    monkeypatch.setattr(images, "read_image", counted_read)
    monkeypatch.setattr(Analyzer, "explain", counting("explain", Analyzer.explain))
    monkeypatch.setattr(LoadedModel, "logits", counting("logits", LoadedModel.logits))
    return calls


def test_compare_reads_each_image_once_and_runs_each_method_once(common, tmp_path, counted_calls):
    for k in range(3):
        photo(tmp_path / "in" / f"{k}.png")
    methods = "rap,gradient,input_t_gradient,lrp.alpha_1_beta_0,input"
    out = ["--out", tmp_path / "out"]
    succeed("compare", tmp_path / "in", *common, "--methods", methods, *out, "--batch-size", 2)
    assert counted_calls == {"read": 3, "explain": 2 * 5, "logits": 0}
    succeed("explain", tmp_path / "in", *common, *out)
    assert counted_calls == {"read": 6, "explain": 11, "logits": 0}


def test_images_of_one_figure_have_one_size(common, tmp_path):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "b.png", (9, 12))
    any_size = [text.replace(":make", ":any_size") for text in common]
    arguments = ["compare", tmp_path / "in", *any_size, "--methods", "input", "--out"]
    assert "pass --size N" in fail(*arguments, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    succeed(*arguments, tmp_path / "out", "--size", 12)
    message = fail(*arguments, tmp_path / "no", "--size", 100_000)
    assert "Expected images that fit into memory" in message


ESCAPE = "\x1b[31mred\x1b]0;title\x07\x9b1m\u202e"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(["explain", "{}.png"], 0, marks=pytest.mark.drawn),
        (["layers", "{}.png"], 0),
        (["compare", "{}.png", "--methods", "input"], 0),
        (["patterns", "fit", "{}.png"], 0),
        (["explain", "{}.png", "--out", "{}.png"], 2),
        (["explain", "{}"], 2),
        (["explain", "{}.png", "--model", "{}"], 2),
        (["explain", "{}.png", "--neuron", "{}"], 2),
        (["explain", "{}.png", "--region", "{}"], 2),
        (["demo", "{}"], 2),
        (["{}"], 2),
        (["demo", "--{}"], 2),
        (["benchmark", "--config", "{}"], 2),
        (["merge", "{}"], 2),
    ],
)
def test_no_name_gives_orders_to_a_terminal(command, code, common, tmp_path, monkeypatch):
    """A file that somebody else has named is a file, and so is a folder."""
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / f"{ESCAPE}.png")
    arguments = [word.format(ESCAPE) for word in command]
    if "{}.png" in command:
        options = dict(zip(common[::2], common[1::2], strict=True))
        missing = [flag for flag in options if flag not in command]
        arguments += [word for flag in missing for word in (flag, options[flag])]
        if "--out" not in command:
            arguments += ["--out", f"{ESCAPE}.npz" if "fit" in command else ESCAPE]
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert "31m" in result.output  # the name is told
    for sign in ESCAPE:
        assert sign.isprintable() or sign not in result.output


@pytest.mark.drawn
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_of_any_kind(common, tmp_path):
    odd = os.fsdecode(b"caf\xe9 $a$ b$")
    photo(tmp_path / "in" / f"{odd}.png")
    shown = "caf\N{REPLACEMENT CHARACTER} $a$ b$"
    out = tmp_path / odd
    arguments = [tmp_path / "in" / f"{odd}.png", *common, "--out", out]
    assert f"{shown}.png: output" in succeed("explain", *arguments)
    succeed("layers", *arguments)
    assert f"are in {tmp_path / shown}." in succeed("compare", *arguments, "--methods", "input")
    made = [f"{odd}.npy", f"{odd}.png", f"{odd}-layers.json", f"{odd}-layers.png"]
    made += [f"compare.{kind}" for kind in ("json", "npz", "png")]
    assert set(files(out)) == {*made, "explain.json"}
    (record,) = json.loads((out / "explain.json").read_text("utf-8"))["images"]
    assert record["map"].encode() == f"{shown}.npy".encode()
    assert record["file"] == str(tmp_path / "in" / f"{shown}.png")


@pytest.mark.parametrize("command", ["explain", "layers", "compare"])
@pytest.mark.quick("explain")
def test_patterns(command, common, tmp_path):
    image = photo(tmp_path / "in" / "a.png")
    model = load_model(common[1], preprocess="unit").model
    x = np.asarray(Image.open(image), np.float32)[np.newaxis] / 255
    patterns.fit(model, x, progress=False).save(tmp_path / "patterns.npz")
    one = "--methods" if command == "compare" else "--method"
    start = [command, image, *common, "--out", tmp_path / "out"]
    assert "needs --patterns FILE.npz" in fail(*start, one, "pattern.net")
    for file in ("patterns.npz", "nofile.npz"):
        message = fail(*start, one, "gradient", "--patterns", tmp_path / file)
        assert "Expected no --patterns, because gradient does not use any" in message
    message = fail(*start, one, "pattern.net", "--patterns", tmp_path / "nofile.npz")
    assert "nofile.npz" in message
    message = fail(*start, one, "pattern.net", "--patterns", image)
    assert "not a .npz file" in message
    assert not (tmp_path / "out").exists()
    succeed(*start, one, "pattern.net", "--patterns", tmp_path / "patterns.npz")


def test_shared_flags_are_defined_once():
    seen = []

    @shared_flags
    def command(images: list[str], model: ModelFlags, *, out: str = "x"):
        seen.append((images, model, out))

    names = ["images", "model", "weights", "preprocess", "mean", "std", "size", "output", "out"]
    assert list(command.__annotations__) == names
    told = dict.fromkeys(names[4:-1]) | {"preprocess": "unit", "weights": "none", "model": "vgg19"}
    command(images=["a"], out="y", **told)
    ((given, model, out),) = seen
    assert (given, model.model, model.size, out) == (["a"], "vgg19", None, "y")


def test_a_signal_in_this_process_leaves_nothing_behind(tmp_path, monkeypatch, capfd):
    def stopped(**options):
        with replacing_together(tmp_path / "new" / "out") as folder:
            (folder / "half.png").write_text("half")
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("rap_keras.cli.app.app", stopped)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 128 + signal.SIGTERM
    assert tuple(capfd.readouterr()) == (
        "",
        "rap-keras: stopped by SIGTERM; no incomplete files are left. Run the same command again.\n",
    )
    assert files(tmp_path) == []


END = """
import signal, sys, time
from pathlib import Path
from rap_keras import cli
from rap_keras.cli import app
from rap_keras.support import files

def wait(*arguments, **options):
    with files.replacing_together(Path(sys.argv[1])) as folder:
        (folder / "half.png").write_text("half")
        print("ready", flush=True)
        time.sleep(60)

app.app = wait
cli.main()
"""
# Without the command, whose modules take long to load.
KILLED = """
import sys, time
from pathlib import Path
from rap_keras.support import files

with files.replacing_together(Path(sys.argv[1])) as folder:
    (folder / "half.png").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def start(code, out):
    process = subprocess.Popen(
        [sys.executable, "-c", code, out], stdout=-1, stderr=-1, text=True, env={**os.environ}
    )
    assert process.stdout.readline() == "ready\n"
    assert any(name.startswith(".rap-keras-") for name in os.listdir(out))
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(number, tmp_path):
    process = start(END, tmp_path / "new" / "out")
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == 128 + number
    assert told == (
        f"rap-keras: stopped by {number.name}; no incomplete files are left. Run the same command "
        "again.\n"
    )
    assert files(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path):
    process = start(KILLED, tmp_path)
    lives = tmp_path / f".rap-keras-{platform.node()}-{os.getpid()}-x"
    elsewhere = tmp_path / ".rap-keras-another.machine-1-x"
    for folder in (lives, elsewhere):
        folder.mkdir()
    process.kill()
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 3
    with replacing_together(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([lives, elsewhere])


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_files_are_moved_all_or_none(tmp_path, monkeypatch):
    replace, moved = os.replace, []

    def interrupted(source, target):
        replace(source, target)
        moved.append(target.name)
        if len(moved) == 1:
            signal.raise_signal(signal.SIGTERM)

    def write():
        with signals.raising(), replacing_together(tmp_path) as folder:
            for name in "ab":
                (folder / name).write_text(name)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(signals.Stopped):
        write()
    assert moved == files(tmp_path) == ["a", "b"]


def test_a_signal_that_a_library_catches_still_stops(tmp_path):
    def caught():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)

    def write():
        with signals.raising(), replacing_together(tmp_path) as folder:
            (folder / "a").write_text("a")
            caught()

    def work():
        with signals.raising():
            for item in track(iter("abc"), "working"):
                done.append(item)
                caught()

    with pytest.raises(signals.Stopped):
        write()
    assert files(tmp_path) == []
    done = []
    with pytest.raises(signals.Stopped):
        work()
    assert done == ["a"]
    signals.check()  # it was of another command


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with signals.raising():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
@pytest.mark.parametrize("command", ["explain", "layers", "compare"])
def test_a_line_break_in_a_name_does_not_break_a_line(command, common, tmp_path):
    image = photo(tmp_path / "in\nput" / "a\nb.png")
    more = ["--methods", "input"] if command == "compare" else []
    told = succeed(command, image, *common, *more, "--out", tmp_path / "out\nput")
    assert r"out\nput." in told
    assert told.count("\n") == (2 if command == "explain" else 1)
    if command == "explain":
        assert told.startswith(str(image).replace("\n", r"\n"))
