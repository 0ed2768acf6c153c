"""`rap-keras methods`, `models` and `doctor`; what is said while it loads."""

import re
import shlex
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from helpers.command_line import fail, run, succeed
from PIL import Image

from rap_keras import analyzer_names
from rap_keras.analyzers import registry
from rap_keras.models import bundled
from rap_keras.models.applications import applications
from rap_keras.models.names import BundledName, application_names
from rap_keras.support.progress import announced


def test_every_method_has_a_line():
    lines = dict(line.split(maxsplit=1) for line in succeed("methods").splitlines())
    assert list(lines) == analyzer_names()
    for name, line in lines.items():
        assert line == registry.read_method(name).summary
    assert len(set(lines.values())) > 30
    assert lines["lrp.alpha_2_beta_1"] == "LRP: alpha_beta, alpha=2, beta=1, bias=True"
    assert "epsilon for Dense, flat at the input" in lines["lrp.sequential_preset_a_flat"]
    assert max(map(len, succeed("methods").splitlines())) <= 100


def test_a_method_is_described_with_its_options():
    told = succeed("methods", "rise")
    assert told.startswith("RISE (Petsiuk")
    options = told.rpartition("\n\nOptions: ")[2]
    assert options.replace(",", "").split() == registry.read_method("rise").option_names()
    assert max(map(len, succeed("methods", "rap").splitlines())) <= 100
    assert 'input_rule: "box": eq. 10 at the first linear layer' in succeed("methods", "rap")
    assert "--method rise:OPTION=VALUE" in told
    assert "did you mean 'rise'" in fail("methods", "rize")


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("rap", "blue what has less influence than the rest. With `contrast`, red is"),
        ("grad_cam", "There is no blue if the logit is positive. With `relu=False`, blue is"),
        ("score_cam", "There is no blue."),
        ("random", "The colours mean nothing."),
        ("guided_backprop", "Neither colour has a clear meaning."),
    ],
)
def test_the_colours_of_every_method_are_described(name, meaning):
    colours = succeed("methods", name).partition("\n\nColours: ")[2]
    assert meaning in " ".join(colours.split())


def test_a_custom_method_is_described(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        'def ones(model, x, neurons):\n    """Ones."""\n    return x\n'
        "def silent(model, x, neurons): return x\n"
    )
    assert succeed("methods", f"{file}:ones").startswith("Ones.\n")
    assert succeed("methods", f"{file}:silent").startswith("Your own method silent")


@pytest.mark.slow
def test_lists_need_no_tensorflow():
    code = "import sys; from rap_keras.cli.app import app; app(['methods'], standalone_mode=False)"
    code += "; print({'tensorflow', 'sklearn', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


def test_every_model_has_a_line():
    names = [line.split("  ")[0] for line in succeed("models").splitlines()]
    assert set(applications()) < set(names)
    assert {"bundled:vgg", "bundled:vit", "hub:PRESET", "FILE.py:function"} < set(names)
    assert len(names) == len(set(names))


def test_doctor_of_a_model_that_is_explained(tmp_path):
    told = succeed("doctor", "bundled:residual")
    assert "78,714 parameters" in told
    assert re.search(
        r"^backend +Keras 3\.\S+ on (TensorFlow|JAX|PyTorch) \d\S+, [CGTM]PU$", told, re.M
    )
    assert "9 x BatchNormalization: routing.pass_on" in told
    assert "explained: rap-keras explain IMAGE --model bundled:residual" in told
    photo = tmp_path / "a.png"
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(photo)
    assert "checked on  a.png: class " in succeed("doctor", "bundled:vgg", "--image", photo)


@pytest.mark.slow
def test_doctor_of_segmentation_and_of_the_model_by_its_flag():
    assert "all outputs" in succeed("doctor", "bundled:segmentation")
    told = succeed("doctor", "bundled:residual")
    assert told == succeed("doctor", "--model", "bundled:residual")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "import keras\n"
        "class Odd(keras.layers.Layer):\n"
        "    def call(self, x): return keras.ops.sort(x)\n"
        "def net(*more):\n"
        "    return keras.Sequential([keras.Input((8, 8, 3)), *more, keras.layers.Flatten(),\n"
        "        keras.layers.Dense(3)])\n"
        "def odd(): return net(Odd())\n"
        "def negative():\n"
        "    model = net()\n"
        "    model.set_weights([w - 9 for w in model.get_weights()])\n"
        "    return model\n"
    )
    return path


def test_doctor_tells_what_is_missing(file):
    told = succeed("doctor", f"{file}:net")
    assert "unknown preprocessing, none used here: pass the same --preprocess" in told
    assert "unknown preprocessing" not in succeed("doctor", f"{file}:net", "--preprocess", "unit")
    assert "the map has a negative sum" in succeed("doctor", f"{file}:negative")
    result = run("doctor", f"{file}:odd")
    assert result.exit_code == 2
    assert "Sort     ??? none" in result.stdout
    assert "rap_keras.register_rule(Sort, my_rule)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "There is no model file 'no.keras'" in fail("doctor", "no.keras")
    result = run("doctor", f"{file}:net", "--preprocess", "unite")
    assert result.exit_code == 2
    assert "no preprocessing 'unite'" in result.stderr


def test_doctor_names_the_layer_that_loses_relevance(file, monkeypatch):
    from rap_keras.cli import doctor

    monkeypatch.setattr(doctor, "TOLERATED", -1.0)
    assert "does not conserve the sum: see analyzer.conservation(x)" in succeed(
        "doctor", f"{file}:net"
    )


def test_what_loads_is_said_on_a_terminal_only(monkeypatch, capsys):
    with announced("loading it"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(KeyError), announced("loading [it]"):
        raise KeyError
    assert "loading [it] ..." in (said := capsys.readouterr().err)
    assert said.endswith(" s\n")


@pytest.mark.parametrize("command", ["explain", "layers", "compare", "doctor"])
def test_files_are_looked_for_before_tensorflow_is_loaded(command, tmp_path, monkeypatch):
    photo = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(photo)
    for name in ("explain", "doctor"):
        monkeypatch.setattr(
            f"rap_keras.cli.{name}.import_native", lambda: pytest.fail("it was loaded")
        )
    images = [] if command == "doctor" else [photo]
    for model in ("no.keras", "no.h5", "no.py:f"):
        assert "There is no model file 'no." in fail(command, *images, "--model", model)
    assert "no weights file 'w.h5'" in fail(command, *images, "--weights", "w.h5")


def test_completion_can_be_installed():
    assert "--install-completion" in succeed("--help")


@pytest.mark.parametrize(
    ("flags", "told", "pixels"),
    [
        ([":net"], "--preprocess none", "pass the same --preprocess"),
        ([":net", "--preprocess", "unit"], "--preprocess unit", ""),
        ([":net", "--mean", "-1,2,3.5", "--std", "2"], "--mean -1,2,3.5 --std 2", ""),
        (
            [":scaling"],
            "--preprocess none",
            "scaled by the model's Rescaling (scale): --preprocess none",
        ),
        ([":dividing"], "--preprocess none", "the model's "),
        ([":map"], "--preprocess none --target all", "pass the same --preprocess"),
        ([":two", "--output", "b"], "--preprocess none --output b", "pass the same --preprocess"),
    ],
)
@pytest.mark.quick(
    "flags1---preprocess unit-",
    "flags2---mean -1,2,3.5 --std 2-",
    "flags6---preprocess none --output b-pass the same --preprocess",
)
def test_the_command_that_doctor_tells_runs(flags, told, pixels, file, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "net.py").write_text(
        file.read_text()
        + "def scaling(): return net(keras.layers.Rescaling(1 / 255, name='scale'))\n"
        "def dividing(): return net(keras.layers.Lambda(lambda x: x / 255))\n"
        "def map(): return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])\n"
        "def two():\n"
        "    x = keras.Input((8, 8, 3))\n"
        "    flat = keras.layers.Flatten()(x)\n"
        "    heads = [keras.layers.Dense(2, name=name)(flat) for name in 'ab']\n"
        "    return keras.Model(x, heads)\n"
    )
    photo = folder / "a b.png"
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(photo)
    model = f"{folder / 'net.py'}{flags[0]}"
    words = succeed("doctor", model, *flags[1:], "--image", photo).splitlines()
    command = shlex.split(words[-1].partition("explained: ")[2])
    assert command[:5] == ["rap-keras", "explain", str(photo), "--model", model]
    assert " ".join(command[5:]) == told
    shown = [line for line in words if line.startswith("pixels")]
    assert (pixels in shown[0]) if pixels else not shown
    succeed(*command[1:], "--out", tmp_path / "out")
    assert "IMAGE --model" in succeed("doctor", model, *flags[1:]).splitlines()[-1]


def test_doctor_takes_one_image(tmp_path):
    for name in "ab":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{name}.png")
    assert "Expected one image, got 2" in fail("doctor", "bundled:vgg", "--image", tmp_path)


def test_names_of_applications_are_those_of_keras():
    assert application_names() == set(applications())
    assert set(get_args(BundledName)) == set(get_args(bundled.Name))
