"""Metrics that are not measured unless asked for: each number again by hand."""

import json

import keras
import numpy as np
import pytest
from helpers.command_line import fail, succeed
from keras.ops import convert_to_numpy

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.benchmarks import QUICK, measure_one, records, settings

import rap_keras
from rap_keras import evaluation
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.metrics import METRICS
from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError
from rap_keras.models import load_model, randomised
from rap_keras.support.images import read_image

STAGES = ("logits", "half", "all")
LOCALIZATION = ("mass_accuracy", "rank_accuracy", "top_k")
FAITHFULNESS = ("srg", "insertion", "deletion", "faithfulness_correlation", "infidelity")
FAITHFULNESS += ("single_deletion",)
MAPS = ("completeness", "complexity")
ROBUSTNESS = ("max_sensitivity", "local_lipschitz", "mprt", "smprt", "emprt")
FURTHER = LOCALIZATION + FAITHFULNESS + MAPS + ROBUSTNESS
POSITION, SEED = 1, 3
OPTIONS = {
    "methods": ("rap", "gradient"),
    "metrics": FURTHER,
    "steps": 4,
    "top_k": 20,
    "deletion_grid": "5x3",
    "draws": 12,
    "neighbours": 3,
    "radius": 0.1,
    "replacement": "mean",
    "seed": SEED,
    "controls": True,
}


def measured(bench, position=POSITION):
    return measure_one(bench, position, strict=True)[0]["results"]


def drawn(purpose):
    return [SEED, POSITION, purpose]


@pytest.fixture(scope="module")
def results(common):
    return measured(Bench(settings(common, **OPTIONS)))


@pytest.fixture(scope="module")
def scene(photos, network):
    """The model, its input, the object and the neuron."""
    model = load_model(network, preprocess="unit").model
    x = read_image(photos / "images" / "b.png") / np.float32(255)
    mask = read_image(photos / "masks" / "b.png")[..., 0] > 0
    return model, x, mask, int(convert_to_numpy(model(x[np.newaxis])).argmax())


def explained(model, method, inputs, neuron):
    analyzer = rap_keras.create_analyzer(method, model)
    return analyzer.analyze(inputs, [neuron] * len(inputs)).sum(-1, dtype=np.float64)


def assert_close(found, expected):
    assert set(found) >= set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("method", [pytest.param("rap", marks=pytest.mark.slow), "gradient"])
def test_where_relevance_lies(method, results, scene):
    model, x, mask, neuron = scene
    heatmap = explained(model, method, x[np.newaxis], neuron)[0]
    top = evaluation.top_k_intersection
    expected = {
        "mass_accuracy": evaluation.relevance_mass_accuracy(heatmap, mask),
        "rank_accuracy": evaluation.relevance_rank_accuracy(heatmap, mask),
        "top_k": top(heatmap, mask, 20),
        "top_k_weighted": top(heatmap, mask, 20, weighted=True),
        "complexity": evaluation.complexity(heatmap),
        "effective_pixels": evaluation.effective_pixels(heatmap),
        "completeness": abs(
            heatmap.sum() - float(convert_to_numpy(model(x[np.newaxis]))[0, neuron])
        ),
    }
    assert_close(results[method], expected)


@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_what_replaced_pixels_do(method, results, scene):
    model, x, _, neuron = scene
    heatmap = explained(model, method, x[np.newaxis], neuron)[0]
    mean = x.mean(axis=(0, 1))

    def predict(batch):
        return convert_to_numpy(model(batch))

    scene = predict, x, heatmap, neuron
    lerf, morf = (
        evaluation.perturbation_curve(*scene, steps=4, order=order, replacement=mean)
        for order in ("lerf", "morf")
    )
    deletion = evaluation.deletion_curve(*scene, steps=4)
    insertion = evaluation.insertion_curve(*scene, steps=4)
    area = evaluation.area_under_curve
    share = np.arange(5) / 4
    draws = {"samples": 12, "seed": drawn(5)}
    expected = {
        "srg": area(share, lerf.logits) - area(share, morf.logits),
        "srg_probability": area(share, lerf.probabilities) - area(share, morf.probabilities),
        "srg_accuracy": area(share, lerf.correct * 1.0) - area(share, morf.correct * 1.0),
        "deletion": area(share, deletion.probabilities),
        "insertion": area(share, insertion.probabilities),
        "faithfulness_correlation": evaluation.faithfulness_correlation(
            *scene, samples=12, replacement=mean, seed=drawn(4)
        ),
        "infidelity": evaluation.infidelity(*scene, **draws),
        "infidelity_scaled": evaluation.infidelity(*scene, scaled=True, **draws),
        "single_deletion": evaluation.single_deletion_score(*scene, grid=(5, 3)),
    }
    assert_close(results[method], expected)


@pytest.mark.parametrize(
    "method",
    [pytest.param("gradient", marks=pytest.mark.slow), "rap", "control.mean_shifted"],
)
def test_how_maps_change(method, results, scene):
    model, x, _, neuron = scene

    def explain(inputs, model=model):
        if method != "control.mean_shifted":
            return explained(model, method, inputs, neuron)
        maps = explained(model, "lrp.alpha_1_beta_0", inputs, neuron)
        return maps - maps.mean(axis=(1, 2), keepdims=True)

    heatmap = explain(x[np.newaxis])[0]
    radius = 0.1 * (x.max() - x.min())
    near = evaluation.neighbours(x, radius, 3, drawn(6))
    copies = [randomised(model, stage, SEED) for stage in STAGES]
    others = [explain(x[np.newaxis], copy)[0] for copy in copies]
    smooth = evaluation.smoothed_map
    before = smooth(explain, x, radius, 3, drawn(7))
    after = [smooth(lambda i, c=copy: explain(i, c), x, radius, 3, drawn(7)) for copy in copies]
    like = evaluation.map_similarity
    expected = {
        "max_sensitivity": evaluation.max_sensitivity(heatmap, explain(near)),
        "local_lipschitz": evaluation.local_lipschitz(heatmap, explain(near), x, near),
        "emprt": evaluation.entropy_rise(heatmap, others[2]),
    }
    assert_close(results[method], expected)
    for k, stage in enumerate(STAGES):
        # Ranks of pixels that are nearly equal hang on the last digits.
        pairs = {"mprt": (heatmap, others[k]), "smprt": (before, after[k])}
        for name, pair in pairs.items():
            found = results[method][f"{name}_{stage}"]
            assert found == pytest.approx(like(*pair, absolute=True), abs=0.02)


def test_what_controls_have(results):
    noise, edges = results["control.random"], results["control.edges"]
    # Noise hangs neither on the input nor on the model.
    assert noise["max_sensitivity"] == noise["local_lipschitz"] == noise["emprt"] == 0
    assert noise["mprt_all"] == pytest.approx(1)
    assert noise["completeness"] is None
    # Edges are made of pixels.
    for name in ("max_sensitivity", "local_lipschitz", "mprt_all", "smprt_half", "emprt"):
        assert edges[name] is None
    assert edges["srg"] is not None


def test_curves_are_computed_once(common):
    chosen = settings(common, metrics=("srg", "lerf", "morf", "deletion"), steps=4)
    bench, batches = Bench(chosen), []
    predict = bench.scenes.backend.logits
    bench.scenes.backend.logits = lambda batch: batches.append(len(batch)) or predict(batch)
    result = measured(bench)["gradient"]
    assert batches == [1, 4, 4]  # the image, which is their step 0 too, LeRF, MoRF
    area = evaluation.area_under_curve
    share = np.arange(5) / 4
    gain = area(share, result["lerf"]["logit"]) - area(share, result["morf"]["logit"])
    assert result["srg"] == pytest.approx(gain)
    assert result["deletion"] == pytest.approx(area(share, result["morf"]["probability"]))


def test_patches_of_a_chunk_are_deleted_once(common):
    methods = ("gradient", "input_t_gradient")
    chosen = settings(common, methods=methods, metrics=("single_deletion",), chunk=8)
    bench, batches = Bench(chosen), []
    predict = bench.scenes.backend.logits
    bench.scenes.backend.logits = lambda batch: batches.append(len(batch)) or predict(batch)
    (chunk,) = bench.chunks
    records = [record for record, _ in bench.measure(bench.read(chunk))]
    kept = [record for record in records if record["status"] == "kept"]
    assert len(kept) == 5
    assert batches == [6, 40, 40]  # the images, and 5 times 16 patches
    scores = [record["results"][name]["single_deletion"] for record in kept for name in methods]
    assert all(-1 <= score <= 1 for score in scores)
    assert bench.protocol()["deletion_grid"] == "4x4"
    assert "deletion_grid" not in Bench(settings(common)).protocol()
    with pytest.raises(InputError, match=r"the grid \(4, 13\) of \(12, 12\) pixels: choose fewer"):
        Bench(settings(common, metrics=("single_deletion",), deletion_grid="4x13"))


def test_neighbours_are_explained_once(common):
    chosen = settings(common, metrics=("max_sensitivity", "local_lipschitz"), neighbours=4)
    bench, seen = Bench(chosen), []
    (title,) = bench.maker.explainers[None]
    explain = bench.maker.explainers[None][title]
    bench.maker.explainers[None][title] = lambda x, *rest: seen.append(x) or explain(x, *rest)
    measured(bench)
    assert [len(x) for x in seen] == [1, 4]


def test_patches(common, scene):
    model, x, _, neuron = scene
    chosen = settings(common, metrics=("lerf", "srg"), steps=3, pixels_per_step=50, patch=5)
    bench = Bench(chosen)
    found = measured(bench)["gradient"]
    heatmap = explained(model, "gradient", x[np.newaxis], neuron)[0]
    curve = evaluation.perturbation_curve(
        lambda batch: convert_to_numpy(model(batch)), x, heatmap, neuron, 3, 50, patch=5
    )
    np.testing.assert_allclose(found["lerf"]["logit"], curve.logits, rtol=1e-4, atol=1e-5)
    perturbation = bench.protocol()["perturbation"]
    assert perturbation["patch"] == 5
    # Three in a row, and three rows of them.
    np.testing.assert_allclose(perturbation["fractions"], [0, 2 / 9, 4 / 9, 6 / 9])
    np.testing.assert_allclose(curve.fractions, perturbation["fractions"])
    by_default = Bench(settings(common, metrics=("lerf",), steps=3, patch=5)).protocol()
    assert by_default["perturbation"]["pixels_per_step"] == 75
    assert by_default["perturbation"]["fractions"] == [0, 1 / 3, 2 / 3, 1]
    with pytest.raises(InputError, match=r"the 9 patches of 5 x 5 pixels .* 10 steps need 10"):
        Bench(settings(common, metrics=("lerf",), steps=10, patch=5))
    with pytest.raises(InputError, match="multiple of the 4 pixels of a patch"):
        Settings(patch=2, pixels_per_step=6)


def test_the_report_has_them_all(common, tmp_path):
    out = tmp_path / "out"
    arguments = [*common, *QUICK, "--methods", "gradient,rap", "--metrics", ",".join(FURTHER)]
    # The squares at the border are cut off.
    few = ["--steps", 2, "--draws", 3, "--neighbours", 2, "--limit", 2, "--patch", 5]
    succeed("benchmark", *arguments, *few, "--out", out)
    summary = json.loads((out / "summary.json").read_text())["summary"]["methods"]["gradient"]
    page = (out / "report.md").read_text()
    for title in ("Table 5. Faithfulness", "Table 6. Robustness and randomisation"):
        assert title in page
    assert "Table 7. Differences from rap" in page
    for name in FURTHER:
        assert not METRICS[name].default
        for column in METRICS[name].columns:
            assert summary["quantities"][column.quantity]["images"] > 0
            assert f"| {column.head} " in page
    assert "| random changes | 3 sets of pixels or squares, 2 inputs changed" in page
    assert "| pixels of the top-k intersection | 1000 |" in page
    assert "2 steps of 4 squares of 5 x 5 pixels, up to 88.89 % of the squares;" in page
    assert "each patch of a grid of 4x4 and the drop" in page
    assert "| patches of single deletion | 4x4 |" in page
    # Gone on with, by the same settings only.
    kept = records(out)
    succeed("benchmark", *arguments, *few, "--out", out)
    assert records(out) == kept
    assert "changes" in fail("benchmark", *arguments, *few, "--radius", 0.2, "--out", out)


def test_probabilities_are_among_the_curves(common, tmp_path):
    out = tmp_path / "out"
    arguments = [*common, *QUICK, "--metrics", "lerf", "--steps", 3]
    succeed("benchmark", *arguments, "--out", out)
    curves = json.loads((out / "summary.json").read_text())["summary"]["methods"]["gradient"]
    rows = [r["results"]["gradient"]["lerf"] for r in records(out).values() if "results" in r]
    expected = np.mean([row["probability"] for row in rows], axis=0)
    np.testing.assert_allclose(curves["curves"]["lerf"]["probability"]["value"], expected)


@pytest.mark.tensorflow("iNNvestigate")
def test_innvestigate_has_no_randomised_models(common):
    pytest.importorskip("innvestigate")
    with pytest.raises(InputError, match="leave mprt, smprt and emprt out"):
        Bench(settings(common, metrics=("mprt",), backend="innvestigate"))


def test_completeness_of_a_contrast_is_the_distance_of_its_sum_from_nothing(common):
    methods = ("rap", "gradient", "gradient:contrast=softmax")
    bench = Bench(settings(common, methods=methods, metrics=("completeness",)))
    found = measured(bench)
    model, x = (
        bench.scenes.loaded.model,
        bench.scenes.loaded.preprocess(bench.scenes.dataset.read(POSITION).image[None]),
    )
    for title, options in (
        ("gradient", {}),
        ("gradient:contrast=softmax", {"contrast": "softmax"}),
    ):
        target = 0.0 if options else float(convert_to_numpy(model(x)).max())
        sums = rap_keras.create_analyzer("gradient", model, **options).analyze(x).sum()
        assert abs(sums - target) > 1e-3
        assert found[title]["completeness"] == pytest.approx(abs(sums - target), rel=1e-3)
    assert found["rap"]["completeness"] < 1e-4
