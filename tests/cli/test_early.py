"""Wrong input is told before TensorFlow is loaded, which takes its time."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Store

EXPLAINING = [
    ("--method gradcam", "no method 'gradcam': did you mean 'grad_cam'? (rap-keras methods"),
    ("--method no.py:f", "no Python file 'no.py'"),
    ("--method rap:add", "NAME:OPTION=VALUE"),
    ("--method rap:batch_size=2", "because the command sets it"),
    ("--method rap:varient=paper", "got 'varient': did you mean 'variant'?"),
    ("--method lrp.epsilon:eps=1", "Expected options of 'lrp.epsilon' among"),
    (
        "--method smoothgrad --contrast softmax",
        "Expected no --contrast for the method 'smoothgrad'",
    ),
    ("--method smoothgrad --against 3", "Expected no --against for the method 'smoothgrad'"),
    ("--method pattern.net", "needs --patterns FILE.npz"),
    ("--method pattern.net --patterns no.npz", "no.npz"),
    ("--method pattern.net --patterns a.png", "not a .npz file"),
    ("--model resnet51", "no model 'resnet51': did you mean 'resnet50'"),
    ("--model bundled:vggg", "no bundled model 'vggg': did you mean 'vgg'?"),
    ("--model no.keras", "no model file"),
    ("--model no.py:f", "no model file"),
    ("--model a.png", "There is no model 'a.png'"),
    ("--model net.onnx", "is an ONNX model"),
    ("--model bad.keras", "not a valid Keras archive"),
    (
        "--model m.weights.h5",
        "which contains only weights: name the model, and pass --weights FILE",
    ),
    ("--model=", "There is no model ''"),
    ("--weights no.h5", "no weights file"),
    ("--model bundled:vgg --weights none", "its weights: leave weights out"),
    ("--preprocess unti", "no preprocessing 'unti': did you mean 'unit'?"),
    ("--mean a", "Expected --mean to be one number or R,G,B"),
    ("--mean 1,2", "Expected --mean to be one number or three"),
    ("--std 0", "Expected --std to be positive, got 0"),
    ("--std 1,nan,1", "--std"),
    ("--size 0", "Expected a --size of at least 1 pixel"),
    ("--size 1000000", "fit into memory"),
    ("--colormap jett", "'jett': did you mean 'jet'"),
    ("--percentile 0", "Expected --percentile to be above 0"),
    ("--scale 0", 'Expected --scale to be "each", "shared" or a number above 0'),
    ("--fit zoom", "--fit"),
    ("--region 1;2", "Expected --region to be a pixel"),
    (
        "--neuron -1",
        "--neuron to be max, all, top:K (K at least 1), the name of a class or its index (at least 0)",
    ),
    ("--target 1,-2", "its index (at least 0), got '1,-2'"),
    ("--target=", "its index (at least 0), got ''"),
    ("--target 1,", "its index (at least 0), got '1,'"),
    ("--target top:0", "--target to be max, all, top:K (K at least 1)"),
    ("--contrast both", "softmax or uniform"),
    ("--against -1", "Expected --against to be one or several classes"),
    ("--classes a,a", "different names"),
    ("--out a.png", "cannot be written to"),
    ("--out=", "Expected a path, got an empty text"),
]
WITH_IMAGES = [
    ("no.png", "no image or folder 'no.png'"),
    ("empty", "contains no images"),
    ("*.jpg", "No image matches"),
    ("", "the name of an image or a folder, got an empty text"),
    ("text.png", "is not in an image format that can be read"),
]
BENCHMARK = [
    ("--methods gradcam", "no method 'gradcam': did you mean 'grad_cam'?"),
    ("--methods rap,rap", "each method once"),
    ("--methods rap,ig:steps=3", "did you mean 'integrated_gradients'?"),
    ("--methods rap:varient=paper", "did you mean 'variant'?"),
    ("--methods pattern.net --patterns no.npz", "no.npz"),
    ("--model resnet51", "did you mean 'resnet50'"),
    ("--model no.keras", "no model file"),
    ("--preprocess unti", "did you mean 'unit'"),
    ("--std 0", "--std"),
    ("--size 0", "--size"),
    ("--metrics pointng", "no metric 'pointng' for --metrics: did you mean 'pointing"),
    ("--keep corect", "did you mean 'correct'"),
    ("--data folders:x", "got 'folders:x': did you mean 'folder'"),
    ("--data folder:no", "no folder 'no'"),
    ("--data cluttered-digits:x", "number of scenes"),
    ("--classes a,a", "different names"),
    ("--shard 3/2", "--shard"),
    ("--steps 0", "--steps"),
    ("--batch-size 0", "--batch-size"),
    ("--workers 0", "--workers"),
    ("--cpus-per-worker 1.5", "--cpus-per-worker"),
    ("--config no.toml", "no.toml"),
    ("--config=", "Expected a path, got an empty text"),
    ("--out a.png/b", "cannot be written to"),
    ("--out begun --seed 1", "seed was 0 and now is 1; choose another folder"),
    ("--out text.png", "cannot be written to"),
    ("--out=", "Expected a path, got an empty text"),
]
COMMANDS = [
    *((["explain", "a.png", *flags.split()], words) for flags, words in EXPLAINING),
    *(([command, name], words) for name, words in WITH_IMAGES for command in ("explain", "layers")),
    *((["benchmark", *flags.split()], words) for flags, words in BENCHMARK),
    (["compare", "a.png", "--methods", "rap,smooth_grad"], "did you mean 'smoothgrad'?"),
    (["compare", "a.png", "--methods", ","], "different names"),
    (["layers", "a.png", "--colormap", "jett"], "did you mean 'jet'"),
    (["doctor", "resnet51"], "did you mean 'resnet50'"),
    (["doctor", ""], "There is no model ''"),
    (["doctor", "--image", ""], "got an empty text"),
    (["patterns", "fit", "a.png", "--type", "relu.positiv"], "did you mean 'relu.positive' or"),
    (["patterns", "fit", "a.png", "--out", ""], "Expected a path, got an empty text"),
    (["patterns", "fit", "a.png", "--std", "0"], "--std"),
    (["patterns", "fit", "no.png"], "no image or folder"),
    (["demo", "--out", "a.png"], "cannot be written to"),
    (["demo", "--out", " "], "Expected a path, got an empty text"),
    (["methods", "ig"], "did you mean 'integrated_gradients'?"),
    (["report", ""], "Expected a path, got an empty text"),
    (["report", "empty"], "no results in 'empty'"),
    (["merge", ""], "Expected a path, got an empty text"),
]

ASK = """
import functools, json, sys
from typer import testing
from typer.testing import CliRunner
from rap_keras.cli.app import app

testing._get_command = functools.cache(testing._get_command)  # which takes longest

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            raise RuntimeError("TensorFlow is loaded")

sys.meta_path.insert(0, Refuse())
told = [CliRunner().invoke(app, arguments) for arguments in json.load(sys.stdin)]
loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
json.dump([loaded, [(one.exit_code, one.stderr, repr(one.exception)) for one in told]], sys.stdout)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("early")
    (folder / "empty").mkdir()
    (folder / "text.png").write_text("no image")
    for name in ("net.onnx", "bad.keras", "m.weights.h5"):
        (folder / name).write_text("no model of Keras")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    with Store(folder / "begun", Settings().recorded() | {"shard": [1, 1]}) as store:
        store.add([({"position": 0, "status": "kept"}, {})])
    before = sorted(path.name for path in folder.iterdir())
    asked = json.dumps([arguments for arguments, _ in COMMANDS])
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=asked, capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    loaded, told = json.loads(done.stdout)
    assert sorted(path.name for path in folder.iterdir()) == before
    return loaded, told


def test_tensorflow_is_not_loaded(answers):
    assert answers[0] == []


@pytest.mark.parametrize(
    "k", range(len(COMMANDS)), ids=[" ".join(arguments) for arguments, _ in COMMANDS]
)
def test_wrong_input_is_told_early(k, answers):
    code, stderr, error = answers[1][k]
    assert code == 2, error
    assert COMMANDS[k][1] in " ".join(stderr.replace("│", " ").split())
