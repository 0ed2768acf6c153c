"""What a benchmark measures: each number again by hand, and what its options do."""

import importlib
import json
import operator
import random
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers.benchmarks import (
    ALWAYS,
    COLOURS,
    KEPT,
    QUICK,
    measure_one,
    pixels,
    put,
    records,
    settings,
)
from helpers.command_line import fail, files, succeed
from helpers.metrics import views
from keras.ops import convert_to_numpy
from PIL import Image
from scipy import ndimage

import rap_keras
from rap_keras import evaluation
from rap_keras import tensors as ops
from rap_keras.benchmark.costs import _first_scenes, measure_costs
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.metrics import Reading
from rap_keras.benchmark.results import load
from rap_keras.benchmark.running import merge, run
from rap_keras.benchmark.seeds import states_kept
from rap_keras.benchmark.store import Store
from rap_keras.errors import InputError
from rap_keras.models.loading import load_model
from rap_keras.support.images import read_image

CONTROLS = ("control.random", "control.mean_shifted", "control.edges")
THRESHOLDS = {"gradient:postprocess=abs": "mean", "control.edges": "mean"}


def by_hand(view, heatmap, relevance, threshold="zero", tolerance=0):
    """All metrics of one map, as the functions that users have give them."""
    mask, void, x, neuron, logit, model = view
    counts = evaluation.segmentation_counts(heatmap, mask, threshold, void)
    found = {
        "ratio_all": evaluation.outside_inside_ratio(heatmap, mask, "all", void),
        "ratio_positive": evaluation.outside_inside_ratio(heatmap, mask, "positive", void),
        "correct": counts.correct,
        "labelled": counts.labelled,
        "intersection": list(counts.intersection),
        "union": list(counts.union),
        "average_precision": evaluation.average_precision(heatmap, mask, void),
        "pointing_game": evaluation.pointing_game(heatmap, mask, void, tolerance),
        "sparsity": evaluation.sparsity(heatmap),
        "conservation_error": None
        if relevance is None
        else evaluation.conservation_error(relevance, logit),
    }
    for order in ("lerf", "morf"):
        curve = evaluation.perturbation_curve(
            lambda batch: convert_to_numpy(model(batch)), x, heatmap, neuron, steps=4, order=order
        )
        found[order] = {
            "correct": list(curve.correct),
            "logit": list(curve.logits),
            "probability": list(curve.probabilities),
            "replaced_share": float(curve.fractions[-1]),
        }
    return found


def assert_equal_numbers(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_equal_numbers(found[name], value)
        elif value is None or np.isnan(value).any():  # undefined
            assert found[name] is None
        elif name in (
            "logit",
            "probability",
            "ratio_all",
            "ratio_positive",
            "conservation_error",
        ):
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["b", "d"])
def test_every_number_of_an_image(name, whole, photos, network):
    record = records(whole)[name]
    position = record["position"]
    assert position == "abcdefgh".index(name)
    model = load_model(network, preprocess="unit").model
    image = read_image(photos / "images" / f"{name}.png", (12, 12))
    x = image.astype(np.float32) / np.float32(255)
    with Image.open(photos / "masks" / f"{name}.png") as file:
        mask = np.array(file.resize((12, 12), Image.Resampling.NEAREST)) > 0
    logits = convert_to_numpy(model(x[np.newaxis]))[0]
    neuron = int(logits.argmax())
    assert (record["neuron"], record["label"]) == (neuron, COLOURS[neuron])
    assert record["logit"] == pytest.approx(logits[neuron], rel=1e-5)
    view = mask, np.zeros((12, 12), bool), x, neuron, logits[neuron], model

    def explained(method, **options):
        analyzer = rap_keras.create_analyzer(method, model, **options)
        return analyzer.analyze(x[np.newaxis], [neuron])[0]

    relevances = {
        "rap": explained("rap"),
        "gradient:postprocess=abs": explained("gradient", postprocess="abs"),
        "gradient": explained("gradient"),
    }
    maps = {title: relevance.sum(axis=-1) for title, relevance in relevances.items()}
    lrp = explained("lrp.alpha_1_beta_0").sum(axis=-1)
    grey = image @ np.array([0.299, 0.587, 0.114])
    maps |= {
        "control.random": np.random.default_rng([0, position]).normal(size=(12, 12)),
        "control.mean_shifted": lrp - lrp.mean(),
        "control.edges": np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)),
    }
    assert list(record["results"]) == list(maps)
    for title, heatmap in maps.items():
        threshold = THRESHOLDS.get(title, "zero")
        expected = by_hand(view, heatmap, relevances.get(title), threshold)
        assert_equal_numbers(record["results"][title], expected)
    # Two methods that differ in options only are two.
    first, second = (record["results"][title] for title in list(maps)[1:3])
    assert first != second


def test_maps_for_the_figure(whole, photos, network):
    with Store(whole) as store:
        held = dict(store.maps())
    assert list(held) == [0, 1]  # --figures 2
    model = load_model(network, preprocess="unit").model
    for position, maps in held.items():
        image = read_image(photos / "images" / f"{'ab'[position]}.png")
        np.testing.assert_array_equal(maps[""], image)
        analyzer = rap_keras.create_analyzer("rap", model)
        expected = analyzer.analyze(image[np.newaxis] / np.float32(255))[0].sum(axis=-1)
        np.testing.assert_allclose(maps["rap"], expected, rtol=1e-4, atol=1e-6)
        assert set(maps) == {"", "rap", "gradient:postprocess=abs", "gradient", CONTROLS[1]}


def test_an_image_is_measured_alone(whole, common):
    """Numbers depend neither on other methods, nor on the images before, nor on their number."""
    held = records(whole)
    with Store(whole) as store:
        protocol = store.protocol
    metrics = tuple(protocol["metrics"])
    bench = Bench(settings(common, methods=("gradient",), metrics=metrics, steps=4, batch_size=32))
    for name in ("h", "b"):
        record, _ = measure_one(bench, "abcdefgh".index(name))
        assert (record["name"], record["neuron"]) == (name, held[name]["neuron"])
        assert_equal_numbers(record["results"]["gradient"], held[name]["results"]["gradient"])


def test_noise_does_not_depend_on_the_images_before(common):
    methods = ("smoothgrad:augment_by_n=3:noise_scale=1", "random")
    records_ = []
    for order in ((0, 1), (1,)):
        bench = Bench(settings(common, methods=methods, metrics=("sparsity",), seed=5))
        records_.append([measure_one(bench, position)[0] for position in order][-1])
    assert records_[0] == records_[1]
    bench = Bench(settings(common, methods=methods, metrics=("sparsity",), seed=6))
    other, _ = measure_one(bench, 1)
    for method in methods:
        assert other["results"][method] != records_[0]["results"][method]


def test_an_image_that_cannot_be_explained_takes_no_other_with_it(common):
    bench = Bench(settings(common, methods=("gradient",), metrics=("ratio",), controls=False))
    readings = bench.read(bench.chunks[0])
    (title,) = bench.maker.explainers[None]
    explain, wrong = bench.maker.explainers[None][title], readings[1].x

    def fails(x, neurons):
        if any((one == wrong).all() for one in x):
            raise InputError("It cannot be explained.")
        return explain(x, neurons)

    bench.maker.explainers[None][title] = fails
    measured = bench.measure(readings)
    assert measured[1][0]["status"] == "skipped"
    assert measured[1][0]["reason"] == "It cannot be explained."
    kept = {record["position"]: own for record, own in measured if record["status"] == "kept"}
    assert list(kept) == ["abcdefgh".index(name) for name in KEPT if name != "b"]
    again = bench.maps(readings)
    assert set(again) == set(kept)
    for position, own in kept.items():
        np.testing.assert_allclose(again[position][title], own[title], rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match=r"It cannot be explained\."):
        bench.measure(readings[:2], strict=True)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Each image shows its colour, and beside it a blue box; "c" shows blue alone."""
    folder = tmp_path_factory.mktemp("boxes")
    lines = ["image,class,x_min,y_min,x_max,y_max"]
    for k, (name, colour) in enumerate({"a.png": 0, "b.png": 1}.items()):
        image, _ = pixels(k, colour, np.s_[1:9, 1:7])
        image[8:11, 8:11] = (100, 100, 250)
        Image.fromarray(image).save(folder / name)
        lines += [f"{name},{COLOURS[colour]},1,1,7,9", f"{name},blue,8,8,11,11"]
    (folder / "boxes.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("foreground", ["class", "any"])
def test_foreground(foreground, boxes, common):
    bench = Bench(settings(common, data=f"folder:{boxes}", foreground=foreground, keep="correct"))
    mask = np.zeros((12, 12), bool)
    mask[1:9, 1:7] = True
    if foreground == "any":
        mask[8:11, 8:11] = True
    record, maps = measure_one(bench, 1)
    expected = evaluation.outside_inside_ratio(maps["gradient"].astype(float), mask)
    assert record["label"] == "green"
    assert record["results"]["gradient"]["ratio_all"] == pytest.approx(expected, rel=1e-5)


def test_keep_all_measures_what_is_classified_wrong(photos, common):
    wrong = "abcdefgh".index("e")
    mask = read_image(photos / "masks" / "e.png")[..., 0] > 0
    assert measure_one(Bench(settings(common)), wrong)[0]["status"] == "misclassified"
    record, maps = measure_one(Bench(settings(common, keep="all")), wrong)
    assert (record["status"], record["label"]) == ("kept", "green")
    expected = evaluation.outside_inside_ratio(maps["gradient"].astype(float), mask)
    assert record["results"]["gradient"]["ratio_all"] == pytest.approx(expected, rel=1e-5)


def test_percentile_and_pooled(photos, common, tmp_path):
    arguments = [*common, *QUICK, "--limit", 3, "--seed", 2, "--metrics", "segmentation"]
    arguments += ["--percentile", 80, "--figures", 2, "--no-photos", "--controls"]
    values = {}
    for flag in ("--pooled", "--no-pooled"):
        out = tmp_path / flag
        succeed("benchmark", *arguments, flag, "--out", out)
        summary = json.loads((out / "summary.json").read_text())["summary"]
        values[flag] = summary["methods"]["gradient"]["quantities"]["mean_iou"]["value"]
    kept = [record for record in records(out).values() if record["status"] == "kept"]
    rows = [record["results"]["gradient"] for record in kept]
    intersections, unions = (
        np.array([row[key] for row in rows]) for key in ("intersection", "union")
    )
    assert values["--no-pooled"] == pytest.approx((intersections / unions).mean())
    assert values["--pooled"] == pytest.approx((intersections.sum(0) / unions.sum(0)).mean())
    assert abs(values["--pooled"] - values["--no-pooled"]) > 1e-6

    drawn = np.random.default_rng(2).choice(8, 3, replace=False)
    assert sorted(record["position"] for record in records(out).values()) == sorted(drawn)
    with Store(out) as store:
        assert {method["threshold"] for method in store.protocol["methods"]} == {80}
        maps = dict(store.maps())
    assert maps
    for position, heatmaps in maps.items():
        assert set(heatmaps) == {"gradient", CONTROLS[1]}  # and no photo
        row = next(record for record in kept if record["position"] == position)
        mask = read_image(photos / "masks" / f"{row['name']}.png", (12, 12))[..., 0] > 0
        for title, heatmap in heatmaps.items():
            above = heatmap > np.percentile(heatmap, 80)
            found = row["results"][title]
            assert found["intersection"] == [(~above & ~mask).sum(), (above & mask).sum()]
            assert found["union"] == [(~above | ~mask).sum(), (above | mask).sum()]


def test_replacements(photos, common, network):
    kinds = ("zero", "mean", "uniform", "51", "blur", "road")
    options = {"metrics": ("lerf", "srg"), "steps": 6, "pixels_per_step": 20, "seed": 4}
    bench = Bench(settings(common, replacement=kinds, **options))
    record, maps = measure_one(bench, 1)
    image = read_image(photos / "images" / "b.png")
    x = image / np.float32(255)
    by = {
        "zero": np.zeros_like(x),
        "mean": np.broadcast_to(x.mean(axis=(0, 1)), x.shape),
        "uniform": np.random.default_rng([4, 1, 1]).integers(0, 256, x.shape, np.uint8)
        / np.float32(255),
        "51": np.full_like(x, 0.2),
        "blur": evaluation.blurred(x),
    }
    order = np.argsort(maps["gradient"].astype(float), axis=None, kind="stable")
    model = load_model(network, preprocess="unit").model
    for kind in kinds:
        expected = []
        for k in range(7):
            chosen = np.zeros(144, bool)
            chosen[order[: 20 * k]] = True
            chosen = chosen.reshape(12, 12)
            if kind == "road":
                by[kind] = evaluation.noisy_linear_imputation(x, chosen, 0.01 * x.std(), [4, 1, 1])
            expected.append(np.where(chosen[..., np.newaxis], by[kind], x))
        logits = convert_to_numpy(model(np.stack(expected)))
        mark = "" if kind == "zero" else f"@{kind}"
        found = record["results"]["gradient"]["lerf" + mark]
        np.testing.assert_allclose(
            found["logit"], logits[:, record["neuron"]], rtol=1e-4, atol=1e-5
        )
        assert found["correct"] == list(logits.argmax(axis=1) == record["neuron"])
        assert np.isfinite(record["results"]["gradient"]["srg" + mark])
    fractions = bench.protocol()["perturbation"]["fractions"]
    np.testing.assert_allclose(fractions, np.arange(7) * 20 / 144)


@pytest.mark.parametrize("patch", [1, 4])
def test_steps_of_images_of_several_sizes(patch, common, network, tmp_path):
    """Each image has its own share of replaced pixels: 120 of 144, or 560 of 576."""
    options = {"model": network.replace(":make", ":any_size"), "methods": ("gradient", "rap")}
    options |= {"metrics": ("lerf", "morf", "srg"), "replacement": ("zero", "mean")}
    options |= {"steps": 40 // patch**2, "patch": patch, "controls": True}
    out = tmp_path / "out"
    run(settings(common, **options), out)
    results = load(out)
    summary = results.summary()
    for method in summary["methods"].values():
        found = {name: entry["value"] for name, entry in method["quantities"].items()}
        for mark in ("", "@mean"):
            areas = found["lerf_area" + mark] - found["morf_area" + mark]
            assert found["srg_accuracy" + mark] == pytest.approx(areas, abs=1e-9)
    means = []
    for record in results.images:
        if record["status"] == "kept":
            of_random = record["results"]["control.random"]
            curves = [np.array(of_random[order]["probability"]) for order in ("lerf", "morf")]
            means.append(np.mean([(c[1:] + c[:-1]) / 2 for c in curves]))
    assert len(means) == len(KEPT)
    assert summary["imputers"]["r_oms"]["zero"]["value"] == pytest.approx(np.mean(means))
    expected = "each the same share of an image; replacement: zero, mean"
    assert expected in (out / "report.md").read_text()


def test_infill_is_the_scene_without_the_digit(common):
    given = {"model": "bundled:vgg", "preprocess": "auto", "data": "cluttered-digits:3"}
    options = given | {"classes": None, "metrics": ("lerf",), "steps": 4, "replacement": "infill"}
    bench = Bench(settings(common, **options))
    reading = bench.read([0])[0]
    (scene,) = bench.scenes.see([reading])
    clean = reading.sample.without[scene.label]
    np.testing.assert_array_equal(scene.replacement, bench.scenes.loaded.preprocess(clean[None])[0])
    assert (clean != reading.sample.image).any()


def test_infill_needs_scenes_without_their_objects(common):
    with pytest.raises(InputError, match="without red for replacement=infill, got none: choose"):
        Bench(settings(common, metrics=("lerf",), replacement="infill"))


def test_void_pixels_do_not_count(common, tmp_path):
    """On the border of an object of Pascal VOC."""
    root = tmp_path / "VOC2012"
    image, mask = pixels(0, 1, np.s_[3:9, 3:9])
    ids = np.where(mask, 8, 0).astype(np.uint8)  # a cat
    ids[2:10, 2], ids[2:10, 9] = 255, 255
    for folder, array in {"JPEGImages": image, "SegmentationClass": ids}.items():
        (root / folder).mkdir(parents=True)
        picture = Image.fromarray(array)
        if folder == "SegmentationClass":
            picture.putpalette(list(range(256)) * 3)
        picture.save(root / folder / ("a.jpg" if array is image else "a.png"), quality=100)
    options = {"data": f"voc:{root}", "classes": "dog,cat,bird", "metrics": ("segmentation",)}
    record, maps = measure_one(Bench(settings(common, **options)), 0)
    assert record["label"] == "cat"
    void = ids == 255
    found = record["results"]["gradient"]
    assert found["labelled"] == 144 - void.sum() == 128
    above = maps["gradient"] > 0
    assert found["correct"] == ((above == mask) & ~void).sum()
    assert found["union"] == [((~above | ~mask) & ~void).sum(), ((above | mask) & ~void).sum()]


def test_tolerance(common):
    """With one as wide as the image every map points at the object."""
    hits = {}
    for tolerance in (0, 12):
        options = {"methods": ("random",), "metrics": ("pointing_game",), "tolerance": tolerance}
        bench = Bench(settings(common, **options))
        hits[tolerance] = [
            measure_one(bench, "abcdefgh".index(name))[0]["results"]["random"]["pointing_game"]
            for name in KEPT
        ]
    assert hits[12] == [1] * len(KEPT)
    assert 0 in hits[0]


def test_images_without_classes(common, tmp_path):
    """All are kept, and what is explained is the class that is predicted."""
    data, out = tmp_path / "data", tmp_path / "out"
    for k in range(2):
        put(data, f"{k}", k, k, np.s_[2:8, 2:8])
    arguments = [*common, *QUICK, "--data", f"folder:{data}", "--out", out]
    succeed("benchmark", *arguments)
    assert [record["label"] for record in records(out).values()] == ["red", "green"]
    assert set(files(out)) == {*ALWAYS, "results.sqlite"}


def test_weights_are_those_of_the_run_before(network, common, tmp_path):
    """Neither another model, nor other settings, mix with what is there."""
    out = tmp_path / "out"
    arguments = [*common, *QUICK, "--out", out, "--limit", 2]
    succeed("benchmark", *arguments)
    before = {name: (out / name).read_bytes() for name in ("results.sqlite", "report.md")}
    for added, message in (
        (["--tolerance", 3], "tolerance was 0 and now is 3"),
        (["--limit", 3], "limit was 2 and now is 3"),
        (["--methods", "rap"], "methods was"),
        (["--seed", 1], "seed was 0 and now is 1"),
        (["--preprocess", "tf"], 'preprocess was "unit" and now is "tf"'),
        (["--keep", "all"], 'keep was "correct" and now is "all"'),
        (["--data", "cluttered-digits:8", "--keep", "all"], "data was"),
        (["--model", network.replace(":make", ":other")], "model was"),
        (["--shard", "1/2"], "got all images"),
    ):
        assert message in fail("benchmark", *arguments, *added)
    path = network.partition(":")[0]
    with open(path) as file:
        text = file.read()
    try:
        with open(path, "w") as file:
            file.write(text.replace("scale=1.0", "scale=1.001"))
        assert "weights_crc32 was" in fail("benchmark", *arguments)
    finally:
        with open(path, "w") as file:
            file.write(text)
    assert {name: (out / name).read_bytes() for name in before} == before
    succeed("benchmark", *arguments)  # as before


BINARY = """
import keras
import numpy as np

def make(head="sigmoid"):
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation=head, name="head")(x))
    kernel = np.zeros((3, 3, 3, 3))
    kernel[1, 1] = np.eye(3)
    model.set_weights([kernel, np.full(3, 0.01), np.array([[40.0], [0.5], [-40.0]]), np.zeros(1)])
    return model

def regression():
    return make(None)
"""


def test_one_sigmoid_is_measured_for_both_classes(common, tmp_path):
    folder = tmp_path / "data"
    for k, name in enumerate("abcd"):  # red is class 1, blue class 0
        put(folder, name, k, 0 if k % 2 else 2, np.s_[k : k + 5, 2:7])
    (folder / "labels.csv").write_text("name,class\na,blue\nb,red\nc,blue\nd,blue\n")
    (tmp_path / "binary.py").write_text(BINARY)
    own = {"model": f"{tmp_path / 'binary.py'}:make", "data": f"folder:{folder}"}
    metrics = ("lerf", "deletion", "insertion", "random_logit")
    chosen = {"methods": ("rap", "grad_cam"), "metrics": metrics, "steps": 4, "controls": False}
    bench = Bench(settings(common, **own, **chosen, classes="blue,red"))
    (found,) = (bench.measure(bench.read(chunk), strict=True) for chunk in bench.chunks)
    kept = [record for record, _ in found if record["status"] == "kept"]
    assert [record["neuron"] for record in kept] == [0, 1, 0]  # the last is red, and not blue
    model = load_model(own["model"], preprocess="unit")
    for record, (_, heatmaps) in zip(kept, found, strict=False):
        z = record["logit"] * (1 if record["neuron"] else -1)
        image = read_image(folder / "images" / f"{record['name']}.png", (12, 12), "warp")
        x = model.preprocess(image[np.newaxis])
        assert z == pytest.approx(float(model.logits(x)[0, 0]))
        assert record["logit"] > 0
        result = record["results"]["rap"]
        p = 1 / (1 + np.exp(-np.array(result["lerf"]["logit"])))
        np.testing.assert_allclose(result["lerf"]["probability"], p)
        assert result["lerf"]["correct"] == [int(q >= 0.5) for q in p]
        curve = evaluation.deletion_curve(
            model.logits, x[0], heatmaps["rap"], record["neuron"], steps=4, head=model.head
        )
        area = evaluation.area_under_curve(curve.fractions, curve.probabilities)
        assert result["deletion"] == pytest.approx(area, abs=1e-5)
        assert result["random_logit"] is not None  # another class there is
    assert bench.protocol()["head"] == "sigmoid"
    areas = {record["results"][m]["deletion"] for record in kept for m in ("rap", "grad_cam")}
    assert len(areas) > len(kept)

    one = Bench(settings(common, **own, **chosen, classes="red"))
    assert one.scenes.classes == ("not red", "red")
    with pytest.raises(InputError, match="output is one number without a sigmoid"):
        Bench(settings(common, **own | {"model": f"{tmp_path / 'binary.py'}:regression"}, **chosen))


def test_several_sigmoids_may_tell_no_class(common, network, tmp_path):
    text = (
        "import importlib.util, keras\n"
        f"spec = importlib.util.spec_from_file_location('net', {network.rpartition(':')[0]!r})\n"
        "net = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(net)\n"
        "def make(less=0.0):\n"
        "    model = net.make()\n"
        "    logits = keras.layers.Rescaling(1.0, -less)(model.output)\n"
        "    return keras.Model(model.input, keras.layers.Activation('sigmoid')(logits))\n"
        "def unsure():\n"
        "    return make(100.0)\n"
    )
    (tmp_path / "sigmoids.py").write_text(text)
    counts = {}
    for name in ("make", "unsure"):
        own = {"model": f"{tmp_path / 'sigmoids.py'}:{name}", "limit": 2}
        bench = Bench(settings(common, **own, metrics=("lerf",), methods=("gradient",), steps=2))
        found = [r for c in bench.chunks for r, _ in bench.measure(bench.read(c), strict=False)]
        counts[name] = [record["status"] for record in found]
        for record in (r for r in found if r["status"] == "kept"):
            curve = record["results"]["gradient"]["lerf"]
            p = 1 / (1 + np.exp(-np.array(curve["logit"])))
            np.testing.assert_allclose(curve["probability"], p)
    assert "kept" in counts["make"]
    assert "kept" not in counts["unsure"]


def test_the_protocol_names_the_backend_and_the_device(common, monkeypatch):
    protocol = Bench(settings(common)).protocol()
    assert list(protocol["versions"]) == ["python", "numpy", keras.backend.backend(), "keras"]
    assert protocol["device"] == ops.device()
    asked = []
    monkeypatch.setattr(ops, "device", lambda: "GPU")
    monkeypatch.setattr(ops, "deterministic", lambda: asked.append(True))
    assert Bench(settings(common)).protocol()["device"] == "GPU, deterministic operations"
    assert asked


def random_numbers(between=lambda: None):
    """Numbers of Python, NumPy and the backend, after one of the backend and something else."""
    keras.utils.set_random_seed(7)
    name = keras.backend.backend()
    draws = {"tensorflow": "random.uniform", "torch": "rand", "jax": "numpy.zeros"}
    draw = operator.attrgetter(draws[name])(importlib.import_module(name))
    draw((2,))
    between()
    numbers = (random.random(), np.random.random(), *draw((2,)))  # noqa: NPY002
    return [float(number) for number in numbers]


@pytest.mark.core
def test_a_run_leaves_the_random_numbers_and_the_order_of_sums_to_the_caller(
    common, tmp_path, monkeypatch
):
    monkeypatch.setattr(ops, "device", lambda: "GPU")
    in_order = {
        "tensorflow": lambda: importlib.import_module(
            "tensorflow.python.framework.config"
        ).is_op_determinism_enabled(),
        "torch": lambda: importlib.import_module("torch").are_deterministic_algorithms_enabled(),
        "jax": lambda: bool(importlib.import_module("rap_keras.tensors.jax")._OPTIONS),
    }[keras.backend.backend()]
    found = []

    def measure():
        with states_kept():
            Bench(settings(common))
            found.append(in_order())
        run(settings(common, limit=2), tmp_path)

    assert random_numbers(measure) == random_numbers()
    assert (found, in_order()) == ([True], False)


@pytest.mark.tensorflow("other backends have a seed, or none")
def test_a_run_leaves_random_numbers_without_a_seed(monkeypatch):
    tensorflow = importlib.import_module("tensorflow")
    eager = importlib.import_module("tensorflow.python.eager.context").context()
    monkeypatch.setattr(eager, "_seed", None)
    monkeypatch.delattr(eager, "_rng", raising=False)  # as in a new process
    drawn = []
    for _ in range(2):
        with states_kept():
            keras.utils.set_random_seed(7)
        drawn.append(float(tensorflow.random.uniform(())))
    assert drawn[0] != drawn[1]


def test_costs_of_methods_and_not_of_controls(common):
    options = {"methods": ("gradient", "integrated_gradients:steps=40"), "controls": True}
    costs = measure_costs(Bench(settings(common, **options)))
    assert list(costs["methods"]) == list(options["methods"])
    assert min(costs["seconds"], *(one["seconds"] for one in costs["methods"].values())) > 0
    assert costs["images"] > 1


def costing(readings, kept_of, views_of=lambda scenes: {}):
    """A bench with one chunk of images, for `_first_scenes`."""
    return SimpleNamespace(
        chunks=[tuple(range(len(readings)))],
        read=lambda _: readings,
        scenes=SimpleNamespace(kept=kept_of),
        maker=SimpleNamespace(views=views_of),
    )


def test_costs_are_those_of_a_size_with_a_kept_image():
    kept, other = views(2)
    wrong = Reading(position=1, sample=other.scene.sample, x=np.zeros((4, 6, 3), np.float32))

    def kept_of(readings):
        assert len({reading.x.shape for reading in readings}) == 1
        return [one for one in readings if one is not wrong]

    assert _first_scenes(costing([wrong, kept.scene], kept_of)) == [kept.scene]


def test_the_first_shard_measures_costs_without_a_kept_image(common, tmp_path):
    for k, name in enumerate("ab"):
        put(tmp_path, name, k, k, np.s_[2:8, 2:8])
    (tmp_path / "labels.csv").write_text("name,class\na,blue\nb,green\n")  # the first is red
    chosen = settings(common, data=f"folder:{tmp_path}", chunk=1, costs=True, controls=True)
    parts = [tmp_path / f"part{k}" for k in (1, 2)]
    for k, part in enumerate(parts, start=1):
        assert not run(chosen, part, shard=(k, 2))
    assert [list(records(part)) for part in parts] == [["a"], ["b"]]
    merge(parts, tmp_path / "whole")
    assert "Cost of a map" in (tmp_path / "whole" / "report.md").read_text()


@pytest.mark.parametrize("step", ["logits", "maps"])
def test_costs_do_not_need_images_that_cause_an_error(step):
    bad, good = (view.scene for view in views(2))

    def checked(scenes):
        if bad in scenes:
            raise InputError(f"The {step} are not finite.")
        return list(scenes)

    two = (checked, list) if step == "logits" else (list, checked)
    assert _first_scenes(costing([bad, good], *two)) == [good]
    with pytest.raises(InputError, match="explain for costs, got none: put"):
        _first_scenes(costing([bad], *two))
