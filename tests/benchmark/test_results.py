"""Results as data: the rows, CSV, frames, Parquet and LaTeX."""

import csv
import json
import math
import re
import sys

import numpy as np
import pytest
from helpers.benchmarks import records
from helpers.command_line import fail, succeed

from rap_keras.benchmark import load, report, results
from rap_keras.benchmark.reporting.document import Heading, Paragraph, Table, to_latex
from rap_keras.benchmark.store import FILE, Store
from rap_keras.errors import InputError

PROTOCOL = {
    "methods": [{"title": "rap"}, {"title": "control.random", "control": True}],
    "metrics": ["ratio", "segmentation"],
    "pooled": True,
    "seed": 0,
}


def record(position, name, ratio, correct, **changes):
    row = {
        "ratio_all": ratio,
        "ratio_positive": 0.5,
        "correct": correct,
        "labelled": 10,
        "intersection": [correct, 0],
        "union": [10, 0],
    }
    other = row | {"ratio_all": 1.0}
    return {
        "position": position,
        "name": name,
        "status": "kept",
        "label": "n01",
        "neuron": 4,
        "logit": 2.5,
        "results": {"rap": row, "control.random": other},
    } | changes


def test_a_row_for_each_image_method_and_quantity():
    images = [
        record(5, 'b, "quoted"', None, 3),
        record(2, "a", 0.1234567890123, 6),
        {"position": 3, "name": "wrong", "status": "misclassified"},
        {"position": 4, "name": "torn", "status": "skipped", "reason": "torn"},
    ]
    rows = [dict(zip(results.COLUMNS, row, strict=True)) for row in results.tidy(PROTOCOL, images)]
    quantities = ["ratio_all", "ratio_positive", "pixel_accuracy"]
    quantities += ["iou_background", "iou_foreground", "mean_iou"]
    keys = [(row["position"], row["method"], row["quantity"]) for row in rows]
    assert keys == [
        (position, method, quantity)
        for position in (2, 5)
        for method in ("rap", "control.random")
        for quantity in quantities
    ]
    assert rows[0] == {
        "position": 2,
        "image": "a",
        "label": "n01",
        "neuron": 4,
        "logit": 2.5,
        "method": "rap",
        "control": False,
        "metric": "ratio",
        "quantity": "ratio_all",
        "value": 0.1234567890123,
    }
    found = {key: row["value"] for key, row in zip(keys, rows, strict=True)}
    assert found[2, "rap", "pixel_accuracy"] == pytest.approx(0.6)
    # The foreground is undefined, and the mean that of the background.
    assert math.isnan(found[5, "rap", "iou_foreground"])
    assert found[5, "rap", "mean_iou"] == pytest.approx(0.3)
    assert math.isnan(found[5, "rap", "ratio_all"])
    assert {row["control"] for row in rows if row["method"] == "control.random"} == {True}

    text = b"".join(results.to_csv(PROTOCOL, images)).decode()
    head, *cells = csv.reader(text.splitlines())
    assert tuple(head) == results.COLUMNS
    assert len(cells) == len(rows)
    for line, row in zip(cells, rows, strict=True):
        assert line[:-1] == [str(value) for value in list(row.values())[:-1]]
        value = float(line[-1] or "nan")
        assert value == pytest.approx(row["value"], rel=1e-9, nan_ok=True)


def test_a_name_that_is_not_utf_8_is_written():
    lines = b"".join(results.to_csv(PROTOCOL, [record(0, "caf\udce9.png", 0.5, 1)])).splitlines()
    assert lines[1].startswith(rb"0,caf\udce9.png,n01,")


def test_the_rows_of_a_run(whole):
    """Their means are the summary, and the values are those that were stored."""
    pytest.importorskip("pandas")
    loaded = load(whole)
    frame = loaded.frame
    summary = json.loads((whole / "summary.json").read_text())["summary"]
    assert loaded.summary() == summary
    kept = {r["position"]: r for r in records(whole).values() if r["status"] == "kept"}
    assert set(frame["position"]) == set(kept)
    for title, method in summary["methods"].items():
        for metric in ("ratio", "pointing_game", "sparsity"):
            chosen = frame[(frame["method"] == title) & (frame["metric"] == metric)]
            for quantity, of_quantity in chosen.groupby("quantity", observed=True):
                expected = method["quantities"][quantity]
                assert of_quantity["value"].mean() == pytest.approx(expected["value"])
                assert of_quantity["value"].count() == expected["images"]
                for row in of_quantity.itertuples():
                    stored = kept[row.position]["results"][title][quantity]
                    stored = np.nan if stored is None else stored
                    assert row.value == pytest.approx(stored, nan_ok=True)
                    assert row.image == kept[row.position]["name"]
    written = (whole / "results.csv").read_text().splitlines()
    assert len(written) == 1 + len(frame)
    assert loaded.summary("gradient")["reference"] == "gradient"


def test_a_run_that_is_not_finished_is_loaded(whole, tmp_path):
    pytest.importorskip("pandas")
    with Store(whole) as store, Store(tmp_path, store.protocol) as part:
        first = [r for r in store.images() if r["status"] == "kept"][:1]
        part.add([(first[0], {})])
    frame = load(tmp_path).frame
    assert set(frame["position"]) == {first[0]["position"]}
    with Store(whole) as store, Store(tmp_path / "none", store.protocol):
        pass
    none = load(tmp_path / "none")
    assert (list(none.frame), len(none.frame)) == (list(frame), 0)
    with pytest.raises(InputError, match="no image was kept"):
        report(tmp_path / "none", parquet=True)
    with pytest.raises(InputError, match="There are no results"):
        load(tmp_path / "elsewhere")


def test_parquet_of_names_that_are_not_utf_8(whole, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    with Store(whole) as store, Store(tmp_path, store.protocol) as part:
        kept = next(r for r in store.images() if r["status"] == "kept")
        part.add([(kept | {"name": "a\udcff\n"}, {})])
    file = report(tmp_path, parquet=True)[-1]
    assert set(pandas.read_parquet(file)["image"]) == {r"a\udcff\n"}  # as in results.csv
    assert r"a\udcff\n" in (tmp_path / "results.csv").read_text()
    assert set(load(tmp_path).frame["image"]) == {r"a\udcff\n"}


def test_frames_of_labels_that_are_not_known(whole, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    with Store(whole) as store, Store(tmp_path, store.protocol) as part:
        kept = next(r for r in store.images() if r["status"] == "kept")
        part.add([(kept | {"label": None}, {})])
    for frame in (load(tmp_path).frame, pandas.read_parquet(report(tmp_path, parquet=True)[-1])):
        assert frame["label"].isna().all()
        assert not frame["image"].isna().any()


@pytest.mark.slow
def test_parquet_and_frames_need_their_libraries(whole, tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    (tmp_path / FILE).write_bytes((whole / FILE).read_bytes())
    files = report(tmp_path, parquet=True)
    assert files[-1] == tmp_path / "results.parquet"
    back, frame = pandas.read_parquet(files[-1]), load(tmp_path).frame
    pandas.testing.assert_frame_equal(back, frame)
    again = files[-1].read_bytes()
    report(tmp_path, parquet=True)
    assert files[-1].read_bytes() == again

    files[-1].unlink()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"Parquet needs pyarrow.*pip install pyarrow"):
        report(tmp_path, parquet=True)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"needs pandas.*results\.csv"):
        _ = load(tmp_path).frame
    assert not files[-1].exists()


@pytest.mark.slow
def test_the_report_by_the_command(whole, tmp_path):
    (tmp_path / FILE).write_bytes((whole / FILE).read_bytes())
    text = succeed("report", tmp_path)
    for path in whole.rglob("*.*"):
        if path.is_file() and path.name != FILE:
            assert (tmp_path / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert f"in {tmp_path}: report.html and report.md" in text
    succeed("report", tmp_path, "--reference", "gradient")
    page = (tmp_path / "report.md").read_text()
    assert "Differences from gradient" in page
    refused = fail("report", tmp_path, "--reference", "grad")
    assert re.search("Expected the reference among the methods rap, .*, got 'grad'", refused)
    assert (tmp_path / "report.md").read_text() == page
    assert "There are no results" in fail("report", tmp_path / "elsewhere")


def test_latex_tables():
    blocks = [
        Heading("All", 1),
        Heading("Table 7. Costs & gains"),
        Paragraph("Not in the tables."),
        Table(
            ["method", "accuracy (%) ↑"],
            [
                ["lrp.alpha_1", "-0.5 ± 0.2"],
                ["a-b #$^~{}\\", "(4.1 ± 0.3)e-7"],
                ["–", "p < 0.001, > 9"],
            ],
            [["control.x", "1"]],
            frozenset({(0, 1)}),
            numbers=True,
        ),
        Table(["what", "value"], [["images", "3"]]),
    ]
    text = to_latex(blocks)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert r"\caption{Costs \& gains}" in text
    assert "Not in" not in text
    assert "images" not in text
    body = [line.strip() for line in text.splitlines()]
    start = body.index(r"\toprule")
    assert body[start + 1 : body.index(r"\bottomrule")] == [
        r"method & accuracy (\%) $\uparrow$ \\",
        r"\midrule",
        r"lrp.alpha\_1 & {\boldmath\textbf{$-$0.5 $\pm$ 0.2}} \\",
        r"a-b \#\$\textasciicircum{}\textasciitilde{}\{\}\textbackslash{} & (4.1 $\pm$ 0.3)e-7 \\",
        r"-- & p \textless{} 0.001, \textgreater{} 9 \\",
        r"\midrule",
        r"control.x & 1 \\",
    ]


def test_latex_of_a_run_has_every_table_of_numbers(whole):
    text = (whole / "tables.tex").read_text()
    page = (whole / "report.md").read_text()
    captions = re.findall(r"\\caption\{(.*)\}", text)
    assert captions == re.findall(r"^## Table \d+\. (.*)$", page, flags=re.MULTILINE)
    assert text.count("{") == text.count("}")
    assert np.all([text.count(rf"\{rule}") == len(captions) for rule in ("toprule", "bottomrule")])
