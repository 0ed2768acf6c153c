"""Whether metrics are valid: maps that are degraded to known levels, and what comes out of it."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from helpers.benchmarks import QUICK, assert_same_report, records
from helpers.command_line import succeed
from helpers.metrics import SIZE, views
from scipy import stats

from rap_keras.benchmark.metrics import FURTHER, METRICS, chosen, one_number
from rap_keras.benchmark.reporting.answer import answer_lines
from rap_keras.benchmark.reporting.document import Table
from rap_keras.benchmark.reporting.tables import summary_lines, tables
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.summary import summarize
from rap_keras.benchmark.validation import (
    SHARES,
    Degrade,
    measured,
    order_kept,
    retest_variance,
)
from rap_keras.errors import InputError


def chance(view):
    """A number that has nothing to do with the map, but is the same for the same map."""
    return np.random.default_rng(zlib.crc32(view.heatmap.tobytes())).uniform()


def on_object(view):
    positive = np.maximum(view.heatmap, 0)
    return float((positive * view.scene.mask).sum() / positive.sum())


def neighbour(view):
    """How noisy a method is: it gives the same map for the same input, unless noise is added."""
    x = view.scene.x[np.newaxis]
    first, second = (view.maps.of_inputs(view.scene, x, first=k)[0] for k in (0, 1))
    return float(np.abs(first - second).max())


MADE = {
    "on_object": one_number("on_object", on_object, "higher", FURTHER, "It.", terminal="it"),
    "chance": one_number("chance", chance, "lower", FURTHER, "Chance.", terminal="chance"),
    "neighbour": one_number("neighbour", neighbour, "lower", FURTHER, "Near."),
    "silent": one_number("silent", on_object, "", FURTHER, "It."),
}


@pytest.fixture
def made(monkeypatch):
    """The summary of hand-made metrics, of maps that are the masks of eight images."""
    for name, metric in MADE.items():
        monkeypatch.setitem(METRICS, name, metric)
    settings = Settings(metrics=tuple(MADE), validate=8)
    protocol = {
        "model": "m",
        "data": "d",
        "methods": [{"title": "mask", "control": False}],
        "metrics": list(MADE),
        "pooled": True,
        "seed": 0,
        "validate": 8,
    }
    seen = [
        replace(view, heatmap=mask, relevance=np.stack([mask / 3] * 3, axis=-1))
        for view in views(8)
        for mask in [view.scene.mask.astype(float)]
    ]
    numbers = [METRICS[name].measured(seen, settings) for name in MADE]
    images = [
        {
            "position": k,
            "status": "kept",
            "results": {"mask": {name: n for part in numbers for name, n in part[k].items()}},
            "validation": {"mask": values},
        }
        for k, values in enumerate(measured(seen, chosen(MADE), settings, protocol))
    ]
    return protocol, images, summarize(protocol, images)


def test_a_valid_metric_passes_and_a_random_one_fails(made):
    found = made[2]["validation"]
    assert list(found) == ["on_object", "chance", "neighbour"]
    assert found["on_object"]["noise"]["value"] > 0.95
    assert found["on_object"]["shift"]["value"] > 0.95
    assert found["on_object"]["noise"]["images"] == 8
    assert found["on_object"]["retest"] < 0.05
    assert found["on_object"]["valid"] is True
    assert abs(found["chance"]["noise"]["value"]) < 0.5
    assert found["chance"]["retest"] > 0.5
    assert found["chance"]["valid"] is False
    # A metric that a shift never changes is judged by noise alone.
    assert found["neighbour"]["noise"]["value"] > 0.95
    assert found["neighbour"]["shift"]["images"] == 0
    assert found["neighbour"]["valid"] is True


def test_a_metric_that_fails_is_marked_everywhere(made):
    protocol, _, summary = made
    blocks = list(tables(protocol, summary))
    heads = [head for b in blocks if isinstance(b, Table) for head in b.columns if "chance" in head]
    assert heads
    assert all("†" in head for head in heads)
    assert not any(
        "†" in h for b in blocks if isinstance(b, Table) for h in b.columns if "on " in h
    )
    texts = [getattr(block, "text", "") for block in blocks]
    assert sum(text.startswith("†: this metric failed") for text in texts) >= 1
    assert any(text.endswith("Validation of the metrics") for text in texts)
    validation = [b for b in blocks if isinstance(b, Table) and "valid" in b.columns]
    verdicts = {row[0]: row[-1] for row in validation[0].rows}
    assert verdicts == {"on object": "yes", "chance": "no †", "neighbour": "yes"}
    summary["best"]["chance"] = {"method": "mask", "not_worse": [], "controls": []}
    text = "\n".join(answer_lines(protocol, summary))
    assert "Best by chance †: mask" in text
    assert "Warning: not valid in this run, see its validation: chance †." in text
    lines = summary_lines(protocol, summary)
    assert "chance †" in lines[2]
    assert lines[-1].startswith("†")


def test_without_validated_images_nothing_is_known(made):
    protocol, images, _ = made
    for image in images[5:]:
        del image["validation"]
    found = summarize(protocol, images)["validation"]
    assert {entry["valid"] for entry in found.values()} == {None}  # five images are too few
    for image in images[:5]:
        del image["validation"]
    found = summarize(protocol, images)["validation"]
    assert {entry["valid"] for entry in found.values()} == {None}
    assert not any("†" in line for line in summary_lines(protocol, summarize(protocol, images)))


def test_degraded_maps_equal_the_formula():
    view = views(2)[1]
    m, position = view.heatmap, view.scene.position
    n = np.random.default_rng([5, position, 8, 0]).normal(size=SIZE)
    degraded = Degrade("noise", 0.4, 5).view(view, view.maps)
    expected = 0.6 * m + 0.4 * m.std() * n
    np.testing.assert_allclose(degraded.heatmap, expected)
    np.testing.assert_allclose(degraded.relevance.sum(axis=-1), expected)
    assert degraded.shared == {}
    rows, columns = np.indices(SIZE)
    shifted = m[rows - 4, columns - 4]
    found = Degrade("shift", 0.6, 5).view(view, view.maps).heatmap
    np.testing.assert_allclose(found, 0.4 * m + 0.6 * shifted)
    again = Degrade("again", 1.0, 5).view(view, view.maps).heatmap
    assert abs(np.corrcoef(again.ravel(), n.ravel())[0, 1]) < 0.5
    # Further maps get other noise, which does not depend on the parts in which they are explained.
    pixels = view.scene.sample.image[np.newaxis]
    (other,) = degraded.maps.of_pixels([view.scene], pixels, [2])
    clean = view.maps.of_pixels([view.scene], pixels, [2])[0]
    n = np.random.default_rng([5, position, 8, 1, 2, *SIZE]).normal(size=SIZE)
    np.testing.assert_allclose(other, 0.6 * clean + 0.4 * clean.std() * n)
    x = np.stack([view.scene.x] * 3)
    whole = degraded.maps.of_inputs(view.scene, x, "half")
    parts = [degraded.maps.of_inputs(view.scene, x[k : k + 1], "half", k)[0] for k in range(3)]
    np.testing.assert_array_equal(whole, parts)
    assert np.abs(whole[0] - whole[1]).max() > 0.1


def test_a_flat_map_has_no_order():
    view = replace(views(1)[0], heatmap=np.zeros(SIZE))
    assert measured([view], chosen(["energy"]), Settings(validate=1), {}) == [{}]


def test_the_statistics_equal_scipys(rng):
    values = rng.normal(size=(4, 5, 6))
    values[0, 0] = [3, 3, 2, 2, 1, 1]
    found = order_kept(values)
    for index in np.ndindex(4, 5):
        expected = stats.spearmanr(values[index], -np.arange(6)).statistic
        assert found[index] == pytest.approx(expected)
    constant = 1e8 + 1e-3 * rng.normal(size=6)
    np.testing.assert_array_equal(
        order_kept(np.stack([constant, [1, 2, np.nan, 4, 5, 6]])), [0, np.nan]
    )
    first, second = rng.normal(size=(2, 7, 3))
    pairs = np.stack([first.ravel(), second.ravel()], axis=1)
    expected = pairs.var(axis=1, ddof=1).mean() / pairs.var()
    assert retest_variance(first, second) == pytest.approx(expected)
    assert retest_variance(first, first) == 0
    assert np.isnan(retest_variance(np.ones(3), np.ones(3)))


def test_metrics_without_a_direction_are_not_validated():
    with pytest.raises(InputError, match="a metric with a better direction to validate"):
        Settings(metrics=("sparsity",), validate=3)


def test_shards_equal_the_whole_run(common, tmp_path):
    arguments = ["benchmark", *common, *QUICK, "--validate", 4, "--chunk", 2]
    succeed(*arguments, "--out", tmp_path / "whole")
    for k in (1, 2):
        succeed(*arguments, "--shard", f"{k}/2", "--out", tmp_path / str(k))
    succeed("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "merged")
    assert_same_report(tmp_path / "merged", tmp_path / "whole")
    found = records(tmp_path / "whole")
    validated = [name for name, record in found.items() if "validation" in record]
    assert validated == ["a", "b", "c", "d"]  # of the first four drawn, whatever is kept
    values = found["a"]["validation"]["gradient"]["ratio_all"]
    assert {kind: len(of_kind) for kind, of_kind in values.items()} == dict.fromkeys(
        ("noise", "shift", "again"), len(SHARES)
    )
    assert "Validation of the metrics" in (tmp_path / "merged" / "report.md").read_text()
