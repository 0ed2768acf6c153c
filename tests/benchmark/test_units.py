"""Mechanism tests: networks whose relevance is known."""

import dataclasses
import itertools
import math
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers.benchmarks import assert_same_report
from helpers.command_line import fail

import rap_keras
from rap_keras.benchmark import Settings, load, merge, run
from rap_keras.benchmark.measure import UnitBench
from rap_keras.benchmark.metrics import default_metrics, unit_metrics
from rap_keras.benchmark.metrics.units import score
from rap_keras.benchmark.store import Store
from rap_keras.benchmark.units import CELLS, UNITS
from rap_keras.errors import InputError

COUNT = CELLS**2
SUBSETS = np.array(list(itertools.product([0, 1], repeat=COUNT)))  # a binary number each
SIZES = SUBSETS.sum(1)


KNOWN = {}


def shapley(model, x, neurons):
    """The Shapley value of each cell, by all subsets of the cells, at its first pixel."""
    for image in x:
        key = model.name, image.tobytes()
        if key not in KNOWN:
            KNOWN[key] = _shapley(model, image, neurons[0])
    return np.stack([KNOWN[model.name, image.tobytes()] for image in x])


def _shapley(model, image, neuron):
    size, heatmap = len(image) // CELLS, np.zeros(image.shape[:-1])
    masks = SUBSETS.reshape(-1, CELLS, CELLS, 1).repeat(size, 1).repeat(size, 2)
    logits = np.float64(keras.ops.convert_to_numpy(model(np.float32(masks * image)))[:, neuron])
    for cell in range(COUNT):
        without = np.flatnonzero(SUBSETS[:, cell] == 0)
        gains = logits[without + 2 ** (COUNT - 1 - cell)] - logits[without]
        weights = [1 / (COUNT * math.comb(COUNT - 1, n)) for n in SIZES[without]]
        row, column = divmod(cell, CELLS)
        heatmap[size * row, size * column] = gains @ weights
    return heatmap


def refuses(model, x, neurons):
    if model.name == "max":
        raise InputError("There is no rule for the maximum.")
    return x


def settings(**changes):
    """Settings with methods whose scores are known."""
    rap_keras.register_method("exact", shapley)
    rap_keras.register_method("opposite", lambda model, x, n: -3 * shapley(model, x, n))
    rap_keras.register_method("nothing", lambda model, x, n: 0 * x)
    rap_keras.register_method("refuses", refuses)
    given = {"methods": ("exact", "opposite", "nothing"), "controls": False, "chunk": 1}
    return Settings(data="units:2", resamples=10, **(given | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run over all networks, which tests only read."""
    out = tmp_path_factory.mktemp("units") / "out"
    run(settings(), out)
    return out


@pytest.mark.slow
def test_exact_shapley_values_are_right_on_every_network(whole):
    """So the stated relevance of every input is the Shapley value that the network itself gives."""
    summary = load(whole).summary()["methods"]
    scores = {
        title: {name: entry["value"] for name, entry in method["quantities"].items()}
        for title, method in summary.items()
    }
    names = unit_metrics()[1:]
    assert len(names) == len(UNITS) == 9
    assert scores["exact"] == {"unit_passed": 9} | dict.fromkeys(names, 1)
    assert scores["opposite"] == {"unit_passed": 0} | dict.fromkeys(names, -1)
    assert scores["nothing"] == dict.fromkeys(unit_metrics(), 0)
    assert {method["quantities"]["unit_and"]["images"] for method in summary.values()} == {2}


@pytest.mark.parametrize("name", UNITS)
def test_relevance_has_the_size_of_the_change_of_the_logit(name):
    """Scores have no scale, so this checks it."""
    model = UNITS[name].build()
    for seed in range(3):
        drawn = UNITS[name].draw(seed)
        both = np.stack([drawn.x, 0 * drawn.x])
        (logit, other), black = keras.ops.convert_to_numpy(model(both))
        assert drawn.truth.sum() == pytest.approx(logit - black[0], abs=1e-6)
        assert other == 0


def test_slopes_by_hand():
    """Input times gradient, on one input of each of three networks."""
    metrics = ("unit_saturation", "unit_and", "unit_or")
    bench = UnitBench(Settings(data="units:1", methods=("input_t_gradient",), metrics=metrics))
    ((record, maps),) = bench.measure(bench.read(bench.chunks[0]))
    assert not maps
    assert list(record["results"]) == ["input_t_gradient", "control.random", "control.mean_shifted"]
    green = bench._networks[0].drawn(0).x[..., 1].max()
    assert record["results"]["input_t_gradient"] == pytest.approx(
        {
            "unit_saturation": green / math.hypot(1, green),  # nothing of the red cell
            "unit_and": math.sqrt(0.5),  # all on the darker cell
            "unit_or": 0,  # saturated
        },
        abs=1e-4,
    )


def test_shards_and_a_stopped_run_end_with_the_same_bytes(tmp_path, monkeypatch):
    some = settings(methods=("nothing", "input"), metrics=("unit_or", "unit_gate"))
    run(some, tmp_path / "whole")
    parts = [tmp_path / str(k) for k in (1, 2)]
    for k, part in enumerate(parts):
        run(some, part, shard=(k + 1, 2))
    merge(parts, tmp_path / "merged")
    assert_same_report(tmp_path / "merged", tmp_path / "whole")

    add, out = Store.add, tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", lambda store, chunk: [add(store, chunk), _stop()])
        with pytest.raises(KeyboardInterrupt):
            run(some, out)
    with Store(out) as store:
        assert store.positions() == {0}
    run(some, out)
    assert_same_report(out, tmp_path / "whole")


def _stop():
    raise KeyboardInterrupt


def test_a_network_that_a_method_cannot_explain(tmp_path):
    some = settings(methods=("refuses",), metrics=("unit_max", "unit_or"))
    out = tmp_path / "out"
    run(some, out)
    record, report = load(out).images[0], (out / "report.md").read_text()
    assert record["results"]["refuses"]["unit_max"] is None
    assert record["results"]["refuses"]["unit_or"] > 0.5
    assert re.search(r"\n\| refuses \| 0[.\d ±]+ \| – \|\n", report)
    assert "| refuses | max | There is no rule for the maximum. |" in report
    with pytest.raises(InputError, match="There is no rule for the maximum"):
        run(some, tmp_path / "strict", strict=True)
    with pytest.raises(InputError, match="but refuses explains none: There is no rule"):
        run(dataclasses.replace(some, metrics=("unit_max",)), tmp_path / "none")


def test_scores_are_of_cells_and_have_no_scale(rng):
    truth = np.array([[1.0, 0], [-2, 0]])
    cells = np.zeros((6, 4))
    cells[1, 1], cells[5, 0], cells[3, 1] = 3, -4, -2  # -6 in two pixels of one cell

    def of(heatmap):
        return score(SimpleNamespace(scene=SimpleNamespace(truth=truth), heatmap=heatmap))

    assert of(cells) == of(1e-9 * cells) == 1
    assert of(-cells) == -1
    assert of(0 * cells) == 0
    cells[0, 3] = math.sqrt(45)
    assert of(cells) == pytest.approx(math.sqrt(0.5), abs=1e-4)


def test_what_applies_to_units():
    assert Settings(data="units").metrics == unit_metrics()
    assert Settings(data="units:3", metrics=("unit_or",)).metrics == ("unit_or",)
    assert not {*unit_metrics()} & {*default_metrics()}
    for of, data, name in (
        ("of mechanism tests", "units", "ratio"),
        ("of images", "cluttered-digits", "unit_or"),
    ):
        with pytest.raises(InputError, match=f"Expected metrics {of} for these data, got {name}: "):
            Settings(data=data, metrics=("unit_or", "ratio"))
    for count in ("", "0", "-1", "x"):
        with pytest.raises(InputError, match="Expected a number of inputs after 'units:', got"):
            Settings(data=f"units:{count}")
    given = {"model": "vgg16", "limit": 5, "backend": "innvestigate", "figures": 0, "keep": "all"}
    for name, value in given.items():
        with pytest.raises(InputError, match=f"^Expected no {name} for data=units, .*: leave it"):
            Settings(data="units", **{name: value})
    message = fail("benchmark", "--data", "units", "--classes", "a,b")
    assert "Expected no --classes for --data units, which has its networks" in message
