"""A metric is one record, and stored results give the stored report."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import QUICK, measure_one, records, settings
from helpers.command_line import succeed
from helpers.metrics import check_metric, views

from rap_keras import evaluation
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.metrics import FURTHER, METRICS, Column, Metric, one_number
from rap_keras.benchmark.metrics.cards import CARDS, card_of
from rap_keras.benchmark.running import report
from rap_keras.benchmark.store import FILE
from rap_keras.errors import InputError

STORED = Path(__file__).parent / "stored"
DOCS = Path(__file__).parents[2] / "docs"
PEAK = one_number(
    "peak",
    lambda view: view.heatmap.max(),
    "higher",
    FURTHER,
    "Peak: the largest relevance.",
    terminal="peak",
)
HELP = """
from dataclasses import replace
from rap_keras.benchmark.metrics import METRICS
METRICS["peak"] = replace(METRICS["sparsity"], name="peak")
from rap_keras.cli.app import app
app(["benchmark", "--help"], prog_name="rap-keras")
"""


def test_a_new_metric_is_one_record(common, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "peak", PEAK)
    out = tmp_path / "out"
    arguments = [*common, *QUICK, "--methods", "gradient,rap", "--metrics", "ratio,peak"]
    text = succeed("benchmark", *arguments, "--figures", 2, "--out", out)
    assert text.splitlines()[2].split() == ["method", "ratio", "ALL", "POS", "peak"]
    kept = [record for record in records(out).values() if record["status"] == "kept"]
    bench = Bench(settings(common, methods=("gradient", "rap"), metrics=("ratio",)))
    largest = [measure_one(bench, r["position"])[1]["gradient"].max() for r in kept]
    found = [r["results"]["gradient"]["peak"] for r in kept]
    np.testing.assert_allclose(found, largest, rtol=1e-5)
    summary = json.loads((out / "summary.json").read_text())["summary"]["methods"]["gradient"]
    assert summary["quantities"]["peak"]["value"] == pytest.approx(np.mean(found))
    assert "peak" in summary["differences"]
    page = (out / "report.md").read_text()
    assert "\n\nPeak: the largest relevance.\n\n| method | peak ↑ |\n" in page
    assert re.search(r"\n\| method \|.* peak \|\n", page.partition("Table 4")[2])
    # In another process, such as a worker, or the command report.
    chosen = settings(common, methods=("gradient",), metrics=("ratio", "peak"))
    monkeypatch.delitem(METRICS, "peak")
    with pytest.raises(InputError, match="There is no metric 'peak'"):
        Bench(chosen)
    with pytest.warns(UserWarning, match="The report leaves out peak: no such metric"):
        report(out)
    assert "ratio" in (out / "results.csv").read_text()


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        *((np.int64(3), 3), (np.bool_(True), True), (np.float32(0.5), 0.5), (np.array(2.0), 2.0)),
        *((np.float32("inf"), None), (np.array(np.nan), None), (None, None), (3, 3)),
    ],
)
def test_numbers_of_numpy_are_stored_as_plain_ones(number, stored):
    metric = one_number("own", lambda view: number, "higher", FURTHER)
    ((found,),) = (one.values() for one in metric.measured([None], None))
    assert json.dumps(found) == json.dumps(stored)


def test_a_new_metric_with_each_replacement():
    """Its numbers are a tuple, and it is undefined for an image."""
    metric = Metric(
        "own",
        lambda views, imputer=None: [(v.scene.position, len(imputer or "")) for v in views],
        (Column("a", "own_a", "higher"), Column("b", "own_b")),
        FURTHER,
        defined=lambda view: view.scene.position != 1,
        by_imputer=True,
    )
    marked = metric.with_imputer("mean")
    numbers = marked.measured(views(3), None)
    assert numbers[0] == {"own_a@mean": 0, "own_b@mean": 4}
    found = marked.quantities({}, numbers)
    assert list(found) == ["own_a@mean", "own_b@mean"]
    assert [ratio.defined.tolist() for ratio in found.values()] == [[True, False, True]] * 2


@pytest.mark.parametrize("more", [{"difference": "own"}, {}])
def test_medians_are_not_compared(more):
    column = Column("own, median", "own_median", "lower", **more)
    with pytest.raises(InputError, match="means to compare by, got own_median of the metric own"):
        Metric("own", len, (column,), FURTHER, by_imputer=not more)


@pytest.mark.slow
def test_a_new_metric_is_in_the_help():
    result = subprocess.run(
        [sys.executable, "-c", HELP], capture_output=True, check=True, text=True
    )
    words = " ".join(re.sub(r"[^\w.,]", " ", result.stdout).split())
    assert f"{list(METRICS)[-1]}, peak." in words


@pytest.mark.parametrize("name", ["all", "some"])
def test_stored_results_give_the_stored_report(name, tmp_path):
    """Byte by byte, except the last digits in summary.json."""
    database = sqlite3.connect(tmp_path / FILE)
    database.executescript((STORED / f"{name}.sql").read_text("utf-8"))
    database.close()
    report(tmp_path)
    assert (tmp_path / "report.md").read_bytes() == (STORED / f"{name}.md").read_bytes()
    if name == "some":
        expected = json.loads((STORED / "some.json").read_text("utf-8"))
        found = json.loads((tmp_path / "summary.json").read_text("utf-8"))
        assert found["protocol"] == expected["protocol"]
        assert_nearly(found["summary"], expected["summary"])


def assert_nearly(found, expected):
    """Equal except for the last digits, which depend on the machine."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            assert_nearly(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_nearly(one, other)
    elif expected is None or isinstance(expected, str):
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", METRICS)
def test_what_every_metric_is_asked(name):
    check_metric(METRICS[name])


def test_no_two_metrics_share_a_quantity():
    taken = [name for metric in METRICS.values() for name in metric.numbers]
    assert len(set(taken)) == len(taken)


def test_every_metric_has_a_card():
    where = "in rap_keras/benchmark/metrics/cards, then run python scripts/cards.py"
    missing = [name for name in METRICS if card_of(name) is None]
    assert not missing, f"{', '.join(missing)} without an evaluation card: add one {where}"
    unknown = [name for name in CARDS if name not in METRICS]
    assert not unknown, (
        f"cards of metrics that do not exist, {', '.join(unknown)}: remove them {where}"
    )
    for name, card in CARDS.items():
        assert all(text.endswith(".") for text in vars(card).values()), name
    assert card_of("srg@blur") is CARDS["srg"]


def test_the_documentation_names_every_metric_with_its_source():
    text = (DOCS / "benchmark.md").read_text("utf-8")
    table = text.partition("| metric |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == set(
        METRICS
    )
    for row in rows:
        names, source = re.findall(r"`(\w+)`", row.split("|")[1]), row.split("|")[3]
        cards = " ".join(card_of(name).source for name in names)
        assert source.strip()
        assert all(year in cards for year in re.findall(r"\d{4}", source)), names


def test_equal_area_is_that_of_the_object_whatever_the_scale_and_the_shift(rng):
    for _ in range(20):
        heatmap = rng.normal(size=(7, 9))
        mask = rng.uniform(size=(7, 9)) < 0.3
        void = (rng.uniform(size=(7, 9)) < 0.2) & ~mask
        mask[0, 0], void[0, 0] = True, False
        counts = evaluation.segmentation_counts(heatmap, mask, "area", void)
        order = np.argsort(-heatmap[~void])
        found = np.zeros(order.size, bool)
        found[order[: mask.sum()]] = True
        assert counts.intersection[1] == (found & mask[~void]).sum()
        assert counts.intersection[0] == (~found & ~mask[~void]).sum()
        assert counts.union[1] == (found | mask[~void]).sum()
        for changed in (heatmap - heatmap.mean(), 8 * heatmap, heatmap + 64):
            assert evaluation.segmentation_counts(changed, mask, "area", void) == counts


def test_equal_area_leaves_ties_at_the_cut_out():
    mask = np.array([[True, True, False, False]])
    for heatmap, found in (
        ([[3, 2, 1, 0]], [1, 1, 0, 0]),
        ([[3, 2, 2, 0]], [1, 0, 0, 0]),
        ([[1, 1, 1, 1]], [0, 0, 0, 0]),
        ([[0, 0, 5, 5]], [0, 0, 1, 1]),
    ):
        counts = evaluation.segmentation_counts(np.array(heatmap, float), mask, "area")
        above = np.array(found, bool)
        assert counts.intersection == ((~above & ~mask[0]).sum(), (above & mask[0]).sum())
    everything = evaluation.segmentation_counts(np.zeros((1, 4)), mask | True, "area")
    assert everything.correct == 4


def test_equal_area_takes_the_shifted_control_for_what_it_was_made_of(common):
    """Above its mean or above 0, a map and its shift differ; by rank they do not."""
    methods = ("lrp.alpha_1_beta_0", "rap")
    bench = Bench(
        settings(common, methods=methods, controls=True, metrics=("equal_area", "segmentation"))
    )
    for position in (0, 1, 2):
        results = measure_one(bench, position)[0]["results"]
        shifted = results["control.mean_shifted"]["equal_area"]
        assert shifted == results["lrp.alpha_1_beta_0"]["equal_area"]
        assert shifted["labelled"] == 144
        assert results["rap"]["equal_area"] != results["control.random"]["equal_area"]
