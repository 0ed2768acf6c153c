"""The metrics of classes: grids, other neurons, objects that are taken away."""

import itertools

import numpy as np
import pytest
from helpers.benchmarks import drawn, measure_one, records, settings
from helpers.command_line import fail, succeed

from rap_keras import bundled, create_analyzer, evaluation
from rap_keras.benchmark.grids import companions, make_grid
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.metrics import METRICS, Metric, Reading, Scene, each
from rap_keras.benchmark.metrics.classes import other_target
from rap_keras.benchmark.running import run
from rap_keras.benchmark.settings import Settings
from rap_keras.datasets import cluttered_digit_pairs, preprocess
from rap_keras.errors import InputError
from rap_keras.support.images import warp_image

FLAT = """
import keras

def make():
    x = inputs = keras.Input((12, 12, 3))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
"""


def seen(monkeypatch, common, metric, **options):
    """A bench, and what a metric sees of each image: views by the place and the method's title."""
    views = []

    @each
    def see(view):
        views.append(view)
        return {"seen": 0}

    monkeypatch.setitem(METRICS, "seen", Metric("seen", see, (), ""))
    bench = Bench(settings(common, metrics=("seen", metric), **options))
    found = {}
    for position in drawn(bench):
        views.clear()
        if measure_one(bench, position)[0]["status"] == "kept":
            found[position] = dict(zip((row.title for row in bench.maker.rows), views, strict=True))
    return bench, found


def test_companions_have_each_a_class_of_their_own():
    sure = {0: 5, 1: None, 2: 7, 3: 7, 4: 8, 5: 9}
    assert companions(5, 3, [3, 0, 1, 2, 4, 5], sure.get) == [3, 4, 5]
    assert companions(8, 3, [1, 0, 4], sure.get) == [0]


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_a_grid_holds_its_images_in_their_cells(size):
    shades = np.arange(6)

    def read(position, extent):
        return np.full((*extent, 3), shades[position], np.uint8)

    grid = make_grid([4, 1, 0, 3, 2, 5], 4, (2, 3), size, read)
    assert grid.cell == (1, 1)
    for place, cell in enumerate(itertools.product(range(2), range(3))):
        mask = evaluation.cell_mask(size, cell, (2, 3))
        assert (grid.pixels[mask] == grid.positions[place]).all()


@pytest.mark.parametrize("cells", [pytest.param("shrunk", marks=pytest.mark.slow), "full"])
def test_the_grid_of_an_image_and_its_score(cells, common, monkeypatch):
    bench, views = seen(
        monkeypatch,
        common,
        "grid",
        methods=("rap", "gradient"),
        controls=True,
        grid="1x3",
        grid_cells=cells,
        grid_confidence=0.5,
    )
    assert views
    places = set()
    for position, by_title in views.items():
        view = by_title["rap"]
        grid = view.scene.grid
        if position == 3:  # of whose class the model is not sure
            assert grid is None
            continue
        assert 3 not in grid.positions
        assert grid.shape == (1, 3)
        places.add(grid.cell)
        assert grid.positions[grid.cell[1]] == position
        size = (12, 36) if cells == "full" else (12, 12)
        assert grid.pixels.shape == (*size, 3)
        extent = (12, size[1] // 3)
        labels = []
        for column, other in enumerate(grid.positions):
            sample = bench.scenes.dataset.read(other, (12, 12))
            (label,) = sample.objects
            labels.append(label)
            image = bench.scenes.dataset.read(other).image
            pixels = grid.pixels[evaluation.cell_mask(size, (0, column), (1, 3))]
            np.testing.assert_array_equal(pixels.reshape(*extent, 3), warp_image(image, extent))
            logits = bench.scenes.loaded.logits(bench.scenes.loaded.preprocess(sample.image[None]))[
                0
            ]
            assert bench.scenes.classes[np.argmax(logits)] == label
            assert np.exp(logits.max()) / np.exp(logits).sum() >= 0.5
        assert sorted(labels) == sorted(bench.scenes.classes)
        model = (
            bench.scenes.loaded.enlarged(size).model
            if cells == "full"
            else bench.scenes.loaded.model
        )
        rap = create_analyzer("rap", model, neuron_selection_mode="index")
        x = bench.scenes.loaded.preprocess(grid.pixels[None])
        heatmap = evaluation.heatmap(rap.analyze(x, [view.scene.target])[0])
        record = measure_one(bench, position)[0]["results"]["rap"]
        for relevance, name in (("positive", "grid"), ("all", "grid_all")):
            score = evaluation.grid_pointing_game(heatmap, grid.cell, grid.shape, relevance)
            assert record[name] == pytest.approx(score, rel=1e-4)
    assert len(places) > 1


def test_too_few_sure_images_give_no_grid(common):
    chosen = settings(common, metrics=("grid",), grid_confidence=1.0)
    assert measure_one(Bench(chosen), 0)[0]["results"]["gradient"] == {
        "grid": None,
        "grid_all": None,
    }


def test_full_cells_need_a_model_that_takes_larger_images(common, tmp_path):
    (tmp_path / "flat.py").write_text(FLAT)
    chosen = settings(
        ("--model", f"{tmp_path}/flat.py:make", *common[2:]), metrics=("grid",), grid_cells="full"
    )
    with pytest.raises(InputError, match="also accepts images of 24 x 24 pixels"):
        Bench(chosen)


def test_full_cells_need_a_preprocessing_that_takes_larger_images():
    given = {"methods": ("gradient",), "metrics": ("grid",), "data": "cluttered-digits:4"}
    with pytest.raises(InputError, match="preprocessing that accepts images of 128 x 128 pixels"):
        Bench(Settings("bundled:residual", grid_cells="full", **given))


@pytest.mark.parametrize("grid", ["2", "1x1", "0x2", "2x", "axb", "2x2x2", "-1x4", "100x2"])
def test_what_is_no_grid_is_refused(grid):
    with pytest.raises(InputError, match="ROWSxCOLUMNS"):
        Settings(grid=grid)


def test_a_confidence_is_a_probability():
    with pytest.raises(InputError, match="between 0 and 1"):
        Settings(grid_confidence=1.5)


def test_random_logit_compares_with_the_map_of_another_neuron(common, monkeypatch):
    bench, views = seen(
        monkeypatch, common, "random_logit", methods=("gradient", "lrp.z"), controls=True
    )
    others = set()
    lrp = create_analyzer("lrp.z", bench.scenes.loaded.model, neuron_selection_mode="index")
    for position, by_title in views.items():
        scene = by_title["lrp.z"].scene
        other = other_target(scene, seed=0)
        assert other != scene.target
        others.add((other - scene.target) % 3)
        pair = [
            evaluation.heatmap(lrp.analyze(scene.x[None], [n])[0]) for n in (scene.target, other)
        ]
        results = measure_one(bench, position)[0]["results"]
        found = results["lrp.z"]
        assert found["random_logit_signed"] == pytest.approx(
            evaluation.map_similarity(*pair), abs=1e-3
        )
        assert found["random_logit"] == pytest.approx(
            evaluation.map_similarity(*pair, absolute=True), abs=1e-3
        )
        assert results["control.random"]["random_logit"] == pytest.approx(1)
        assert results["control.edges"]["random_logit"] == pytest.approx(1)
        assert results["gradient"]["random_logit"] < 1
    assert others == {1, 2}


@pytest.mark.slow
def test_removal_compares_with_what_the_logits_lose():
    names = ("rap", "rap:contrast=softmax", "input_t_gradient")
    chosen = settings((), methods=names, data="cluttered-digit-pairs:3", metrics=("removal",))
    results = measure_one(Bench(chosen), 2, strict=True)[0]["results"]
    pairs, model = cluttered_digit_pairs(3), bundled.load("vgg")
    x = preprocess(pairs.images[2:])
    network = create_analyzer("gradient", model)
    logits = network._network.logits([x])[0]  # the model ends in a softmax
    without = network._network.logits([preprocess(pairs.without[2])])
    drops = logits - without
    margins = np.zeros((2, 10))
    for c in range(10):
        e = np.exp(logits)
        e[c] = 0
        margins[:, c] = drops[:, c] - drops @ (e / e.sum())
    for title, options in zip(names, ({}, {"contrast": "softmax"}, {}), strict=True):
        analyzer = create_analyzer(title.partition(":")[0], model, **options)
        heatmaps = analyzer.analyze(np.repeat(x, 10, axis=0), list(range(10))).sum(-1)
        relevance = np.array([heatmaps[:, mask].sum(1) for mask in pairs.masks[2]])
        assert results[title]["removal"] == pytest.approx(
            evaluation.rank_correlation(relevance, drops), abs=0.01
        )
        assert results[title]["removal_margin"] == pytest.approx(
            evaluation.rank_correlation(relevance, margins), abs=0.01
        )


def test_energy_is_the_share_on_the_object_and_among_the_objects():
    method = "input_t_gradient"
    chosen = settings((), methods=(method,), data="cluttered-digit-pairs:9", metrics=("energy",))
    bench = Bench(chosen)
    analyzer = create_analyzer(method, bench.scenes.loaded.model)
    kept = 0
    for position in drawn(bench):
        record, _ = measure_one(bench, position)
        if record["status"] != "kept":
            continue
        kept += 1
        sample = bench.scenes.dataset.read(position)
        relevance = analyzer.analyze(bench.scenes.loaded.preprocess(sample.image[None]))[0]
        positive = np.maximum(evaluation.heatmap(relevance), 0)
        own = positive[sample.objects[record["label"]]].sum()
        both = sum(positive[mask].sum() for mask in sample.objects.values())
        found = record["results"][method]
        assert found["energy"] == pytest.approx(own / positive.sum(), rel=1e-4)
        assert found["own_object"] == pytest.approx(own / both, rel=1e-4)
    assert kept > 5


def test_removal_needs_objects_that_can_be_taken_away(common, tmp_path):
    text = fail("benchmark", *common, "--metrics", "removal", "--out", tmp_path / "out")
    assert "cluttered-digit-pairs" in text


def test_contrasted_maps_add_up_to_nothing(common):
    chosen = settings(
        common,
        methods=("rap", "rap:contrast=softmax", "rap:contrast=uniform"),
        metrics=("conservation",),
    )
    results = measure_one(Bench(chosen), 0)[0]["results"]
    for row in results.values():
        assert row["conservation_error"] < 1e-5


def test_the_command_measures_classes(common, tmp_path):
    out = tmp_path / "out"
    text = succeed(
        "benchmark", *common, "--methods", "rap,rap:contrast=softmax", "--metrics",
        "energy,grid,random_logit", "--grid", "1x2", "--grid-confidence", 0, "--figures", 0,
        "--resamples", 5, "--out", out,
    )  # fmt: skip
    assert "grid" in text
    page = (out / "report.md").read_text()
    assert "Table 4. Classes" in page
    assert "; 0.5 by chance." in page
    assert "Table 5. Differences from rap" in page
    assert all(
        record["results"]["rap"]["grid"] is not None
        for record in records(out).values()
        if record["status"] == "kept"
    )


def test_grids_of_a_half_show_images_of_that_half_only(common):
    settings_ = {"metrics": ("grid",), "grid": "1x2", "grid_confidence": 0, "keep": "all"}
    halves = []
    for half in ("first", "second"):
        bench = Bench(settings(common, half=half, seed=4, **settings_))
        drawn = [position for chunk in bench.chunks for position in chunk]
        halves.append(drawn)
        readings = [r for r in bench.read(drawn) if isinstance(r, Reading)]
        grids = [seen.grid for seen in bench.scenes.see(readings) if isinstance(seen, Scene)]
        assert any(grids)
        for grid in filter(None, grids):
            assert {*grid.positions} <= {*drawn}
    first, second = halves
    assert sorted(first + second) == list(range(8))
    assert first == sorted(np.random.default_rng(4).permutation(8)[:4])


def test_one_image_has_no_halves(common):
    with pytest.raises(InputError, match="Expected at least two images to divide"):
        Bench(settings(common, data="cluttered-digits:1", half="first", metrics=("ratio",)))


def test_results_of_a_half_name_it_and_are_not_continued_with_the_other(common, tmp_path):
    run(settings(common, half="second", metrics=("ratio",)), tmp_path)
    assert "| half of the data set | second |" in (tmp_path / "report.md").read_text("utf-8")
    with pytest.raises(InputError, match="half was"):
        run(settings(common, half="first", metrics=("ratio",)), tmp_path)
