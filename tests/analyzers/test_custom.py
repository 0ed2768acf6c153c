"""Custom methods, registered or in a file."""

import json

import keras
import numpy as np
import pytest
from helpers.command_line import fail, succeed
from helpers.compare import assert_same
from PIL import Image

import rap_keras
from rap_keras import InputError, create_analyzer, load_analyzer, register_method

FILE = """
import numpy as np
import next_to_mine

def gradient_like(model, x, neurons, factor=1.0):
    import next_to_mine as again
    return factor * next_to_mine.SIGN * x

def pixels(model, x, neurons):
    return x.sum(-1)

def broken(model, x, neurons):
    raise RuntimeError("no map today")

def two(model, x):
    return x

NUMBER = 3
"""


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 5, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 6, 5, 3)).astype("float32")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "next_to_mine.py").write_text("SIGN = -1\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_function_is_a_method(model, x):
    seen = []

    @register_method("mine")
    def mine(model, x, neurons, scale=2.0):
        seen.append((x.copy(), neurons.copy()))
        x *= scale  # its arguments are copies
        return x * neurons[:, None, None, None]

    assert "mine" in rap_keras.analyzer_names()
    before = x.copy()
    analyzer = create_analyzer("mine", model, scale=3.0, batch_size=3)
    found = analyzer.explain(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(found.neurons, model.predict(x, verbose=0).argmax(1))
    np.testing.assert_allclose(found.relevance, 3 * x * found.neurons[:, None, None, None])
    assert found.method == analyzer.name == "mine"
    assert [len(s[0]) for s in seen] == [3, 1]
    chosen = create_analyzer("mine", model).analyze(x, [0, 1, 2, 1])
    np.testing.assert_allclose(chosen, 2 * x * np.array([0, 1, 2, 1])[:, None, None, None])


def test_several_neurons_are_explained_one_after_the_other(model, x):
    register_method("mine", lambda model, x, neurons: x * neurons[:, None, None, None])
    analyzer = create_analyzer("mine", model)
    found = analyzer.analyze(x, np.array([[0, 1]] * 4))
    np.testing.assert_allclose(found[:, 1], x)
    assert not found[:, 0].any()


@pytest.mark.parametrize("keep", [False, True])
def test_a_value_for_each_pixel_is_shared_by_its_channels(model, x, keep):
    register_method("mine", lambda model, x, neurons: x.sum(-1, keepdims=keep))
    found = create_analyzer("mine", model).analyze(x)
    np.testing.assert_allclose(found.sum(-1), x.sum(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_several_inputs(rng):
    inputs = [keras.Input((4,)), keras.Input((3,))]
    out = keras.layers.Dense(2)(keras.layers.Concatenate()(inputs))
    register_method("mine", lambda model, x, neurons: [2 * part for part in x])
    x = [rng.normal(size=(2, n)).astype("float32") for n in (4, 3)]
    found = create_analyzer("mine", keras.Model(inputs, out)).analyze(x)
    for part, map_ in zip(x, found, strict=True):
        np.testing.assert_array_equal(map_, 2 * part)


def test_a_function_of_a_file_is_a_method(model, x, file):
    analyzer = create_analyzer(f"{file}:gradient_like", model, factor=4)
    np.testing.assert_array_equal(analyzer.analyze(x), -4 * x)


def test_it_is_saved_and_loaded(model, x, file, tmp_path):
    analyzer = create_analyzer(f"{file}:gradient_like", model, factor=4)
    analyzer.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "analyzer.json").read_text())["options"]["factor"] == 4
    loaded = load_analyzer(tmp_path / "saved", safe_mode=False)
    np.testing.assert_array_equal(loaded.analyze(x), analyzer.analyze(x))


def test_numpy_options_are_saved_and_other_objects_refused(model, x, tmp_path):
    register_method("mine", lambda model, x, neurons, weights=None: weights * x)
    analyzer = create_analyzer("mine", model, weights=np.float32([1, 2, 3]))
    analyzer.save(tmp_path)
    assert json.loads((tmp_path / "analyzer.json").read_text())["options"]["weights"] == [1, 2, 3]
    assert_same(load_analyzer(tmp_path).analyze(x), analyzer.analyze(x))
    with pytest.raises(InputError, match=r"options that JSON can store .* weights=<"):
        create_analyzer("mine", model, weights=lambda x: x).save(tmp_path)


def test_a_custom_method_can_be_registered_again(model, x):
    register_method("mine", lambda model, x, neurons: x)
    register_method("mine", lambda model, x, neurons: 5 * x)
    np.testing.assert_array_equal(create_analyzer("mine", model).analyze(x), 5 * x)


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("rap", lambda model, x, neurons: x, "no method of rap_keras"),
        ("a,b", lambda model, x, neurons: x, "commas"),
        ("a:b", lambda model, x, neurons: x, "colons"),
        ("", lambda model, x, neurons: x, "name"),
        ("mine", lambda model, x: x, "model, samples and neurons"),
        ("mine", lambda m, x, neurons, method="a": x, "names than 'method', which is an argument"),
        ("mine", lambda m, x, neurons, *, name=1, model=2: x, "names than 'model'"),
    ],
)
def test_objects_that_are_not_methods_are_refused(name, function, words):
    with pytest.raises(InputError, match=words):
        register_method(name, function)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda model, x, neurons: x[:, :3], r"of the shape of x, \(4, 6, 5, 3\)"),
        (lambda model, x, neurons: "map", "numbers"),
        (lambda model, x, neurons: x * np.nan, "finite"),
        (lambda model, x, neurons: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_results_are_refused(model, x, function, words):
    register_method("mine", function)
    with pytest.raises(InputError, match=words):
        create_analyzer("mine", model).analyze(x)


def test_all_neurons_at_once_are_refused(model, x):
    register_method("mine", lambda model, x, neurons: x)
    for target, chosen in (("all", "all"), (np.ones(3, bool), "a region")):
        with pytest.raises(InputError, match=f"a class of each sample .*'mine', got {chosen}"):
            create_analyzer("mine", model).analyze(x, target)
    with pytest.raises(InputError, match="options of 'mine' among"):
        create_analyzer("mine", model, steps=3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{file}:absent", "AttributeError"),
        ("{file}:two", "model, samples and neurons"),
        ("{file}:NUMBER", r"loaded \(TypeError: NUMBER is not a function\)"),
        ("{file}x.py:mine", "FileNotFoundError"),
    ],
)
def test_files_without_such_a_function_are_refused(model, file, name, words):
    with pytest.raises(InputError, match=words):
        create_analyzer(name.format(file=file), model)


def test_the_command_line_takes_it(file, tmp_path, monkeypatch):
    image = tmp_path / "image.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(image)
    common = ["--model", "bundled:vgg", "--out", tmp_path / "out"]
    succeed("compare", image, *common, "--methods", f"rap,{file}:pixels")
    succeed("explain", image, *common, "--method", f"{file}:pixels")
    arrays = np.load(tmp_path / "out" / "image.npy")
    np.testing.assert_allclose(arrays.sum(-1), 3 * (90 / 127.5 - 1), rtol=1e-4)
    assert "no map today" in fail("explain", image, *common, "--method", f"{file}:broken")


def test_the_benchmark_takes_it(file, tmp_path):
    out = tmp_path / "out"
    text = succeed(
        "benchmark", "--data", "cluttered-digits:3", "--methods",
        f"rap,{file}:gradient_like:factor=2,{file}:pixels:threshold=mean", "--metrics",
        "ratio,segmentation", "--resamples", 5, "--figures", 1, "--no-controls", "--out", out,
    )  # fmt: skip
    assert f"{file}:gradient_like:factor=2" in text
    protocol = json.loads((out / "summary.json").read_text())["protocol"]
    assert [m["threshold"] for m in protocol["methods"]] == ["zero", "zero", "mean"]
    assert protocol["methods"][1]["options"] == {"factor": 2}
    assert protocol["methods"][1]["file_crc32"] == protocol["methods"][2]["file_crc32"] > 0
    assert "file_crc32" not in protocol["methods"][0]


def test_a_saved_analyzer_does_not_run_code(model, file, tmp_path):
    saved = tmp_path / "saved"
    create_analyzer("rap", model).save(saved)
    (saved / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for name in (f"{saved / 'evil.py'}:f", f"{file}:gradient_like"):
        (saved / "analyzer.json").write_text(json.dumps({"analyzer": name, "options": {}}))
        with pytest.raises(InputError, match=r"runs no code, .*safe_mode=False"):
            load_analyzer(saved)
    assert not (tmp_path / "ran").exists()
    load_analyzer(saved, safe_mode=False)
    with pytest.raises(InputError, match="Expected safe_mode to be True or False, got 1"):
        load_analyzer(saved, safe_mode=1)


def test_a_saved_model_does_not_run_code(tmp_path):
    given = keras.Input((3,))
    model = keras.Model(given, keras.layers.Dense(2)(keras.layers.Lambda(lambda x: x + 1)(given)))
    create_analyzer("random", model).save(tmp_path)
    with pytest.raises(InputError, match=r"Lambda.*load_analyzer\(folder, safe_mode=False\)"):
        load_analyzer(tmp_path)
    load_analyzer(tmp_path, safe_mode=False)
