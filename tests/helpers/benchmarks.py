"""Small benchmarks: a network, photographs, and functions that read the results."""

import functools

import numpy as np
import pytest
from PIL import Image

from helpers.command_line import files, succeed
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Store

# Classifies an image by its mean colour. Its first layer also sees the neighbours a little.
MODEL = """
import keras
import numpy as np

def make(scale=1.0, classes=3):
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, keras.layers.Dense(classes, name="head")(x))
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.005, (3, 3, 3, 3))
    kernel[1, 1] += np.eye(3)
    head = 10 * np.eye(3, classes) - 2 + rng.normal(0, 0.1, (3, classes))
    model.set_weights([kernel, np.full(3, 0.01), scale * head, np.zeros(classes)])
    return model

def other():
    return make(1.001)

def four():
    return make(classes=4)

def any_size():
    model = make()
    inputs = keras.Input((None, None, 3))
    x = inputs
    for layer in model.layers[1:]:
        x = layer(x)
    return keras.Model(inputs, x)
"""


COLOURS = ("red", "green", "blue")


# Of the images of `photos`, all of which are seen in the order of their names.
KEPT = ["a", "b", "c", "d", "h"]


# The files of a report without figures.
ALWAYS = ("report.md", "report.html", "tables.tex", "summary.json", "results.csv")
# Those of most tests.
METRICS = (
    *("ratio", "segmentation", "average_precision", "pointing_game", "conservation", "sparsity"),
    *("lerf", "morf"),
)
QUICK = ["--methods", "gradient", "--no-controls", "--metrics", "ratio,pointing_game"]
QUICK += ["--figures", 0, "--resamples", 2]
MAIN = ["--methods", "rap,gradient:postprocess=abs,gradient", "--steps", 4, "--figures", 2]
MAIN += ["--metrics", ",".join(METRICS)]
MAIN += ["--resamples", 20, "--batch-size", 3, "--chunk", 2]


def pixels(seed, colour, box, size=(12, 12)):
    """Grey noise with a box of one colour, and where that is."""
    image = np.random.default_rng(seed).integers(90, 110, (*size, 1), np.uint8).repeat(3, axis=2)
    mask = np.zeros(size, bool)
    mask[box] = True
    image[mask, colour] = 250
    return image, mask


def put(folder, name, seed, colour, box, size=(12, 12)):
    """Adds an image and its mask to a folder of data."""
    image, mask = pixels(seed, colour, box, size)
    for kind, array in {"images": image, "masks": mask}.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{name}.png")


def make_photos(folder):
    """Eight images: five to keep, one classified wrong, one whose mask is missing, one torn."""
    boxes = [np.s_[k : k + 5, 2 : 9 - k % 3] for k in range(8)]
    for k, name in enumerate("abcdefgh"):
        put(folder, name, k, k % 3, boxes[k], size=(24, 24) if name == "d" else (12, 12))
    rows = [f"{name},{COLOURS[k % 3]}" for k, name in enumerate("abcdefgh")]
    rows[4] = "e,red"  # It is green.
    (folder / "labels.csv").write_text("\n".join(["name,class", *rows, ""]))
    (folder / "masks" / "f.png").unlink()
    torn = folder / "images" / "g.png"
    torn.write_bytes(torn.read_bytes()[:100])
    return folder


def once(make):
    """A fixture that is made once, although pytest sees one in each module that imports it."""
    made = []

    @functools.wraps(make)
    def get(**fixtures):
        if not made:
            made.append(make(**fixtures))
        return made[0]

    return pytest.fixture(scope="session")(get)


@once
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"))


@once
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.py"
    path.write_text(MODEL)
    return f"{path}:make"


@once
def common(photos, network):
    """The model and the data."""
    arguments = ["--model", network, "--preprocess", "unit", "--classes", ",".join(COLOURS)]
    return (*arguments, "--data", f"folder:{photos}")


@once
def whole(common, tmp_path_factory):
    """A run over all images, which tests only read."""
    out = tmp_path_factory.mktemp("whole") / "out"
    succeed("benchmark", *common, *MAIN, "--out", out)
    return out


def records(out):
    """What a store holds, by the name of the image."""
    with Store(out) as store:
        return {record["name"]: record for record in store.images()}


def assert_same_report(out, expected):
    assert files(out) == files(expected)
    for name in files(expected):
        if "." in name and not name.endswith(".sqlite"):
            assert (out / name).read_bytes() == (expected / name).read_bytes(), name


def settings(common, **options):
    """Settings of the command line with one quick method."""
    given = dict(zip((flag[2:] for flag in common[::2]), common[1::2], strict=True))
    quick = {"methods": ("gradient",), "controls": False, "metrics": ("ratio",), "figures": 0}
    return Settings(**(given | quick | options))


def measure_one(bench, position, strict=False):
    """The record and the maps of one image, measured alone."""
    (measured,) = bench.measure(bench.read([position]), strict)
    return measured


def drawn(bench):
    """The places of all images of a benchmark."""
    return [position for chunk in bench.chunks for position in chunk]
