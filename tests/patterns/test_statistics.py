"""Statistics of patterns: in parts, from streams, files and folders, and what is refused."""

import pickle
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.streams import Pages, batched
from helpers.tensors import tensor

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.compare import FLOAT32, FLOAT64
from helpers.networks import plain
from helpers.patterns import (
    assert_equal_patterns,
    classifier,
    fit,
    gathered,
    images,
    save_photographs,
    sequential,
)
from helpers.shared_data import (
    fixture_files,
    fixture_patterns,
    load,
    pattern_model,
)
from helpers.thinned import slow_unless
from keras import layers
from PIL import Image

from rap_keras import InputError
from rap_keras.analyzers.pattern import PatternNetAnalyzer
from rap_keras.patterns.patterns import PATTERN_TYPES, Patterns
from rap_keras.patterns.statistics import Statistics
from rap_keras.support.images import read_image

FILES = fixture_files("innvestigate/pattern109_*.npz")


@pytest.fixture
def model():
    return plain()


@pytest.fixture
def exact():
    """In double precision: splitting the data changes the sums far less than any error would."""
    return plain("float64")


@pytest.fixture
def x(rng):
    return images(rng, 30, (12, 12, 3))


@pytest.fixture
def photographs(tmp_path, rng):
    return save_photographs(tmp_path / "photographs", rng)


def test_statistics_serve_all_types(exact, x):
    statistics = gathered(exact, x)
    for pattern_type in PATTERN_TYPES:
        assert_equal_patterns(statistics.patterns(pattern_type), fit(exact, x, pattern_type))
    linear, positive = statistics.patterns("linear"), statistics.patterns("relu")
    assert any(abs(linear[name] - positive[name]).max() > 0.01 for name in linear)


def test_merged_shards_equal_one_pass(exact, x, tmp_path):
    a, b = gathered(exact, x[:11]), gathered(exact, x[11:])
    before = a.patterns("linear")
    together = a + b
    assert_equal_patterns(a.patterns("linear"), before, 0)  # the parts stay as they are
    assert (a.samples, b.samples, together.samples) == (11, 19, 30)
    for path, part in ((tmp_path / "a", a), (tmp_path / "b", b)):
        part.save(path)
    loaded = Statistics.load(tmp_path / "a")
    loaded.merge(Statistics.load(tmp_path / "b"))
    whole = gathered(exact, x)
    for pattern_type in PATTERN_TYPES:
        expected = whole.patterns(pattern_type)
        assert_equal_patterns(together.patterns(pattern_type), expected)
        assert_equal_patterns(loaded.patterns(pattern_type), expected)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [pytest.param("float64", FLOAT64, marks=pytest.mark.slow), ("float32", FLOAT32)],
)
def test_resumed_statistics_equal_one_pass(dtype, tolerance, x, tmp_path):
    model = plain(dtype)
    gathered(model, x[:11]).save(tmp_path / "statistics.npz")
    resumed = Statistics.load(tmp_path / "statistics.npz", model)
    for start in range(11, 30, 7):
        resumed.update(x[start : start + 7])
    assert resumed.samples == 30
    for pattern_type in PATTERN_TYPES:
        expected = fit(model, x, pattern_type)
        assert_equal_patterns(resumed.patterns(pattern_type), expected, tolerance)


STREAMS = {
    "dataset": lambda x: batched(x, 7),
    "dataset_with_labels": lambda x: batched(x, 7, np.arange(30)),
    "generator": lambda x: (x[k : k + 4] for k in range(0, 30, 4)),
    "generator_with_labels": lambda x: ((x[k : k + 4], None) for k in range(0, 30, 4)),
    "iterator": lambda x: iter([x[:2], x[2:2], x[2:]]),
    "py_dataset": lambda x: Pages(x, 10, np.zeros(30)),
    "tensor": tensor,
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize(
    "stream",
    slow_unless(
        lambda p: p.id in ("dataset_with_labels", "iterator", "py_dataset"),
        [pytest.param(stream, id=name) for name, stream in STREAMS.items()],
    ),
)
def test_streams_equal_arrays(stream, exact, x):
    assert_equal_patterns(fit(exact, stream(x)), fit(exact, x))


@pytest.mark.parametrize("as_list", [list, tuple, lambda x: [x]], ids=["list", "tuple", "array"])
def test_samples_in_a_list_are_no_inputs_to_cut(as_list, rng):
    model = sequential(
        (None, 3), lambda: layers.Conv1D(4, 3, activation="relu"), layers.GlobalMaxPooling1D,
        lambda: layers.Dense(2), dtype="float64",
    )  # fmt: skip
    x = images(rng, 5, (12, 3), "float64")
    assert_equal_patterns(fit(model, as_list(x), batch_size=4), fit(model, x))


def test_batches_are_taken_one_at_a_time(model, x):
    """A generator's batch is summed up before the next is made."""
    statistics = Statistics(model, "relu")
    seen = []

    def batches():
        for k in range(3):
            seen.append(statistics.samples)
            yield x[10 * k : 10 * k + 10]

    statistics.feed(batches(), progress=False)
    assert seen == [0, 10, 20]


def test_the_model_does_not_change(model, x):
    weights = model.get_weights()
    fit(model, x)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_patterns_are_saved_without_pickle(model, x, tmp_path):
    found = fit(model, x, "relu.negative")
    found.save(tmp_path / "patterns.npz")
    with np.load(tmp_path / "patterns.npz", allow_pickle=False) as file:
        assert all(file[key].dtype.kind in "fU" for key in file.files)
    loaded = Patterns.load(tmp_path / "patterns.npz")
    assert loaded.pattern_type == "relu.negative"
    assert_equal_patterns(loaded, found, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["patterns.npz"]


def test_copied_statistics_are_continued(model, x):
    whole, parts = gathered(model, x), gathered(model, x[:2])
    parts = pickle.loads(pickle.dumps(parts))
    parts.update(x[2:])
    assert_equal_patterns(parts.patterns(), whole.patterns(), 1e-4)


# NumPy before 2 does not close an incomplete archive.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_files_that_cannot_be_written_are_reported_in_one_sentence(model, x, tmp_path):
    resource = pytest.importorskip("resource")
    statistics = gathered(model, x)
    things = {"patterns": statistics.patterns(), "statistics": statistics}
    (tmp_path / "file").touch()
    for name, thing in things.items():
        with pytest.raises(
            InputError, match=r"^The file '.*file/a.npz' cannot be written \(.+\)\.$"
        ):
            thing.save(tmp_path / "file" / "a.npz")
        thing.save(tmp_path / name / "a.npz")  # a missing folder is created
        before = (tmp_path / name / "a.npz").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a full disk
        try:
            with pytest.raises(
                InputError, match=r"^The file '.*a.npz' cannot be written \(.+\)\.$"
            ):
                thing.save(tmp_path / name / "a.npz")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / name / "a.npz").read_bytes() == before
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a.npz"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.quick("pattern109_mlp_s0", "pattern109_vggstride_s2")
def test_patterns_equal_those_of_innvestigate(file):
    if "dropout" in file.stem:
        pytest.skip("iNNvestigate left Dropout on while it took the statistics")
    data = load(file)
    statistics = gathered(pattern_model(data), data["x_train"])
    for pattern_type in ("linear", "relu.positive", "relu.negative"):
        expected = fixture_patterns(data, pattern_type)
        assert_equal_patterns(statistics.patterns(pattern_type), expected, 1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nofolder/", "There is no image or folder 'nofolder'"),
        (3, "got int"),
        (np.zeros((0, 12, 12, 3)), "no samples"),
        ([], "no samples|of shape"),
        (iter([]), "no samples"),
        (np.zeros((12, 12, 3)), "a single sample needs a batch axis"),
        (np.full((2, 12, 12, 3), np.nan), "finite"),
        (np.zeros((2, 12, 12, 4)), "of shape"),
    ],
    ids=range(8),
)
def test_data_that_cannot_be_used_is_refused(data, message, model):
    with pytest.raises(InputError, match=message):
        fit(model, data)


def test_a_batch_that_is_refused_leaves_no_trace(model, x):
    statistics = gathered(model, x)
    expected = statistics.patterns("linear")
    with pytest.raises(InputError, match="finite"):
        statistics.update(np.full((2, 12, 12, 3), np.inf))
    with np.errstate(all="ignore"), pytest.raises(InputError, match="overflow"):
        statistics.update(np.full((2, 12, 12, 3), 3e38))
    assert statistics.samples == 30
    assert_equal_patterns(statistics.patterns("linear"), expected, 0)


def test_wrong_types_are_refused(model, x):
    with pytest.raises(InputError, match=r"pattern_type to be one of 'relu'.*got 'max'"):
        fit(model, x, "max")
    with pytest.raises(InputError, match="pattern_type=None"):
        gathered(model, x, "relu").patterns("linear")
    with pytest.raises(InputError, match="batch_size"):
        fit(model, x, batch_size=0)
    with pytest.raises(InputError, match="at least one sample"):
        Statistics(model).patterns()


def test_patterns_of_another_model_are_refused(model, x, tmp_path):
    found = fit(model, x)
    other = classifier(lambda: layers.Conv2D(4, 3, name="conv"))
    with pytest.raises(InputError, match="layer 'conv' has none instead of one of shape"):
        PatternNetAnalyzer(other, found)
    name = next(iter(found))
    with pytest.raises(InputError, match="instead of none"):
        PatternNetAnalyzer(model, Patterns({**found, "more": np.ones(3)}))
    with pytest.raises(InputError, match=rf"'{name}' has one of shape \(2,\)"):
        PatternNetAnalyzer(model, Patterns({**found, name: np.ones(2)}))
    with pytest.raises(InputError, match="Expected finite patterns"):
        PatternNetAnalyzer(model, Patterns({**found, name: found[name] * np.nan}))
    for given in (None, found[name], {name: found[name]}):
        with pytest.raises(InputError, match=r"patterns\.fit\(model, data\)"):
            PatternNetAnalyzer(model, given)
    gathered(model, x).save(tmp_path / "statistics.npz")
    with pytest.raises(InputError, match="statistics of this model"):
        Statistics.load(tmp_path / "statistics.npz", other)
    with pytest.raises(InputError, match="statistics of this model"):
        gathered(model, x).merge(gathered(other, images(np.random.default_rng(0))))
    with pytest.raises(InputError, match="same pattern types"):
        gathered(model, x).merge(gathered(model, x, "relu"))


def test_files_of_another_kind_are_refused(model, x, tmp_path):
    statistics = gathered(model, x)
    statistics.save(tmp_path / "statistics.npz")
    statistics.patterns().save(tmp_path / "patterns.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    np.savez(tmp_path / "pickled.npz", header=np.array([{}], object))
    np.save(tmp_path / "array.npy", np.ones(2))
    (tmp_path / "text.npz").write_text("no archive")
    whole = (tmp_path / "patterns.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    names = ("other.npz", "pickled.npz", "array.npy", "text.npz", "half.npz")
    for name in (*names, "statistics.npz"):
        with pytest.raises(InputError, match="Expected a file with patterns"):
            Patterns.load(tmp_path / name)
    for name in (*names, "patterns.npz"):
        with pytest.raises(InputError, match="Expected a file with statistics"):
            Statistics.load(tmp_path / name)
    with pytest.raises(InputError, match=r"There is no file with patterns .*missing"):
        Patterns.load(tmp_path / "missing.npz")
    with pytest.raises(InputError, match="loaded without"):
        Statistics.load(tmp_path / "statistics.npz").update(x)
    with np.load(tmp_path / "statistics.npz") as file:
        some = {key: file[key] for key in file.files if not key.startswith("xy.")}
    np.savez(tmp_path / "some.npz", **some)
    with pytest.raises(InputError, match="got only some"):
        Statistics.load(tmp_path / "some.npz")


def test_models_without_patterns_are_refused(rng):
    pooling = sequential((9, 9, 3), layers.GlobalAveragePooling2D)
    with pytest.raises(InputError, match="got none"):
        fit(pooling, images(rng))
    einsum = sequential((5,), lambda: layers.EinsumDense("ab,bc->ac", 3))
    with pytest.raises(InputError, match="EinsumDense"):
        fit(einsum, rng.normal(size=(9, 5)))
    with pytest.raises(InputError, match="Keras"):
        fit("vgg16", images(rng))


def as_pixels(images):
    assert images.dtype == np.uint8
    assert len(images) <= 2  # one batch at a time
    return images / np.float32(100)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("shape", [(12, 12, 3), (None, None, 3)])
def test_a_folder_equals_the_array_of_its_images(kind, shape, photographs):
    model = sequential(
        shape,
        lambda: layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D,
        lambda: layers.Dense(3),
    )
    pixels = [read_image(p, shape[:2] if shape[0] else None) for p in sorted(photographs.iterdir())]
    expected = fit(model, np.stack(pixels) / np.float32(100), "linear", batch_size=2)
    found = fit(model, kind(photographs), "linear", batch_size=2, preprocess=as_pixels)
    assert_equal_patterns(found, expected, 0)


def test_images_of_several_sizes_go_batch_by_batch(photographs, rng):
    Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).save(photographs / "2b.png")
    model = sequential((None, None, 3), lambda: layers.Conv2D(4, 3), layers.GlobalAveragePooling2D)
    sizes = []

    def preprocess(images):
        sizes.append(images.shape[:3])
        return images / np.float32(255)

    statistics = Statistics(model)
    statistics.feed(photographs, 2, progress=False, preprocess=preprocess)
    assert statistics.samples == 6
    assert sizes == [(2, 70, 80), (1, 70, 80), (1, 30, 20), (2, 70, 80)]


def test_folders_that_cannot_be_used_are_refused(photographs, tmp_path, model, x):
    options = {"preprocess": as_pixels}
    with pytest.raises(InputError, match="Expected preprocess with the images of"):
        fit(model, photographs)
    with pytest.raises(InputError, match="got 'caffe': pass the function"):
        fit(model, photographs, preprocess="caffe")
    with pytest.raises(InputError, match=r"Expected the path of a folder .* got ndarray"):
        fit(model, x, **options)
    with pytest.raises(InputError, match="There is no image or folder"):
        fit(model, tmp_path / "missing", **options)
    with pytest.raises(InputError, match="batch_size"):
        fit(model, photographs, batch_size=0, **options)
    with pytest.raises(InputError, match="of shape"):
        fit(model, photographs, preprocess=lambda images: images[..., :2])
    with pytest.raises(InputError, match=r"inputs of shape \(None, 5\): pass arrays"):
        fit(sequential((5,), lambda: layers.Dense(2)), photographs, **options)
    (photographs / "bad.png").write_text("no image")
    with pytest.raises(InputError, match="not in an image format that can be read"):
        fit(model, photographs, batch_size=2, **options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no images"):
        fit(model, tmp_path / "empty", **options)
