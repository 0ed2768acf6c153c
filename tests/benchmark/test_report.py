import base64
import io
import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import ALWAYS, METRICS
from matplotlib.colors import same_color, to_rgb
from PIL import Image

from rap_keras.benchmark import metrics
from rap_keras.benchmark.reporting import document, figures, words
from rap_keras.benchmark.reporting.numbers import format_estimate
from rap_keras.benchmark.reporting.report import write_report
from rap_keras.benchmark.reporting.tables import summary_lines
from rap_keras.benchmark.summary import summarize
from rap_keras.errors import InputError, UnwritableError

METHODS = ("rap", "lrp.alpha_1_beta_0", "integrated_gradients:steps=16: slow")
CONTROLS = ("control.random",)
NASTY = "a|b <i>&amp; *c* _d_ `e` $f$ [g](h)"


def method(title):
    name, _, options = title.partition(":")
    control = {"control": True} if name.startswith("control") else {}
    return {
        "title": title,
        "method": name,
        "options": {"steps": 16} if options else {},
        "threshold": "zero",
    } | control


def protocol_of(methods=METHODS, controls=CONTROLS, metrics=METRICS, **changes):
    return {
        "rap_keras": "0.1.0",
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "backend": "keras",
        "command": "rap-keras benchmark --data 'a b'",
        "model": "bundled:vgg",
        "weights": "own",
        "preprocess": "auto",
        "input_size": [8, 6],
        "data": "imagenet-boxes:DIR",
        "objects": "boxes of the class, united",
        "data_images": 138,
        "images": 8,
        "limit": 8,
        "seed": 0,
        "keep": "correct",
        "neuron": "predicted class",
        "methods": [method(title) for title in (*methods, *controls)],
        "metrics": list(metrics),
        "perturbation": {
            "steps": 4,
            "pixels_per_step": 12,
            "replacement": "zero",
            "fractions": [0, 0.25, 0.5, 0.75, 1.0],
        },
        "pooled": True,
    } | changes


def result(rng, better):
    """Some numbers of one method on one image."""
    good = float(np.clip(better + 0.1 * rng.normal(), 0, 1))
    curve = (rng.uniform(size=5) < np.linspace(1, good / 2, 5)).astype(int).tolist()
    return {
        "ratio_all": 1 - good,
        "ratio_positive": 2 - good,
        "correct": round(48 * good),
        "labelled": 48,
        "intersection": [round(20 * good), round(15 * good)],
        "union": [30, 18],
        "average_precision": good,
        "pointing_game": int(rng.uniform() < good),
        "conservation_error": 1e-6 * (1 - good),
        "sparsity": good,
        "lerf": curves_of(curve, np.linspace(5, good, 5)),
        "morf": curves_of(curve[:1] + curve[:0:-1], np.linspace(5, 0, 5)),
    }


def curves_of(correct, logit):
    probability = 1 / (1 + np.exp(-logit))
    return {"correct": correct, "logit": logit.tolist(), "probability": probability.tolist()}


def records_of(protocol, kept=5, misclassified=2, skipped=1):
    rng = np.random.default_rng(7)
    titles = [entry["title"] for entry in protocol["methods"]]
    records = []
    for k in range(kept + misclassified + skipped):
        record = {"position": k, "name": f"image_{k}"}
        if k < kept:
            record |= {"status": "kept", "label": "n01", "neuron": 0, "logit": 5.0}
            record["results"] = {t: result(rng, 0.9 - 0.1 * i) for i, t in enumerate(titles)}
        elif k < kept + misclassified:
            record |= {"status": "misclassified", "label": "n01", "predicted": "n02"}
        else:
            record |= {"status": "skipped", "reason": "The image has no box."}
        records.append(record)
    return records


def maps_of(protocol, positions=(0, 1), size=(8, 6)):
    rng = np.random.default_rng(9)
    return {
        position: {"": rng.integers(0, 256, (*size, 3), dtype=np.uint8)}
        | {entry["title"]: rng.normal(size=size) for entry in protocol["methods"]}
        for position in positions
    }


def tables(markdown):
    """{heading: rows of cells, the head first} of the first table after each heading."""
    found = {}
    for part in re.split(r"^#+ ", markdown, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in lines
            if not set(line) <= set("|-: ")
        ]
        found[part.splitlines()[0]] = rows
    return found


class Page(HTMLParser):
    """Checks that every tag is closed, and collects the cells, the text and the pictures."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.pictures, self.rows, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("img", "meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report with everything: folder, protocol, summary and the files."""
    folder = tmp_path_factory.mktemp("report") / "deep" / "folder"
    protocol = protocol_of()
    records = records_of(protocol)
    records[1]["results"]["lrp.alpha_1_beta_0"]["ratio_all"] = None
    for record in records[:5]:
        record["results"]["control.random"]["conservation_error"] = None
    files = write_report(folder, protocol, records, maps_of(protocol))
    return folder, protocol, summarize(protocol, records), files


def test_files_are_written_and_nothing_else(full):
    folder, _, _, files = full
    expected = [*ALWAYS[:-1], *(f"figures/{name}.png" for name in ("heatmaps", "lerf", "morf"))]
    expected += [
        ALWAYS[-1],
        *(f"maps/{k:06d}-{n}.png" for k in (0, 1) for n in range(5)),
        "maps.html",
    ]
    assert files == [folder / name for name in expected]
    assert {path for path in folder.rglob("*") if path.is_file()} == set(files)


def test_files_have_the_usual_permissions(full, tmp_path):
    (tmp_path / "usual").touch()
    usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    assert {stat.S_IMODE(path.stat().st_mode) for path in full[3]} == {usual}


def test_summary_json_has_protocol_and_summary(full):
    folder, protocol, summary, _ = full
    text = (folder / "summary.json").read_text("utf-8")
    assert json.loads(text) == {"protocol": protocol, "summary": summary}
    assert text.count("\n") == len(protocol) + len(summary) + len(summary["methods"]) - 1


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.52345, 0.0123, "0.523 ± 0.012"),
        (0.52345, 0.0299, "0.523 ± 0.030"),
        (0.52345, 0.034, "0.52 ± 0.03"),
        (0.52345, 0.097, "0.52 ± 0.10"),
        (12.3456, 5.1, "12 ± 5"),
        (12345.0, 1234.0, "12300 ± 1200"),
        (12345.0, 5678.0, "12000 ± 6000"),
        (-0.0001, 0.02, "0.000 ± 0.020"),
        (4.13e-7, 3.1e-8, "(4.1 ± 0.3)e-7"),
        (-4.13e-9, 3.1e-8, "(0 ± 3)e-8"),
        (2.5e8, 1.2e8, "(2.5 ± 1.2)e8"),
        (1.0, 0.0, "1 ± 0"),
        (0.123456, None, "0.1235"),
        (-0.0, None, "0"),
        (None, None, "–"),
        (0.0, 0.0, "0 ± 0"),
    ],
)
def test_digits_are_those_the_error_leaves(value, error, text):
    assert format_estimate(value, error) == text


def test_percent_and_signs():
    assert format_estimate(0.52345, 0.0123, 100) == "52.3 ± 1.2"
    assert format_estimate(0.52345, 0.0123, 100, signed=True) == "+52.3 ± 1.2"
    assert format_estimate(-0.52345, None, signed=True) == "-0.5234"


def test_cells_of_every_table_are_those_of_the_summary(full):
    folder, _, summary, _ = full
    found = tables((folder / "report.md").read_text("utf-8"))
    heads = {
        "Table 1. Outside-inside ratio": (
            ("ALL ↓", "ratio_all", 1),
            ("POS ↓", "ratio_positive", 1),
            ("ALL, median ↓", "ratio_all_median", 1),
            ("POS, median ↓", "ratio_positive_median", 1),
        ),
        "Table 2. Segmentation": (
            ("pixel accuracy (%) ↑", "pixel_accuracy", 100),
            ("mIOU (%) ↑", "mean_iou", 100),
        ),
        "Table 3. Further metrics": (
            ("average precision ↑", "average_precision", 1),
            ("pointing game ↑", "pointing_game", 1),
            ("conservation error ↓", "conservation_error", 1),
            ("conservation error, median ↓", "conservation_error_median", 1),
            ("sparsity", "sparsity", 1),
            ("LeRF area ↑", "lerf_area", 1),
            ("MoRF area ↓", "morf_area", 1),
            ("LeRF AOPC ↓", "lerf_logit_aopc", 1),
            ("MoRF AOPC ↑", "morf_logit_aopc", 1),
        ),
    }
    for heading, columns in heads.items():
        head, *rows = found[heading]
        assert head == ["method", *(label for label, _, _ in columns)]
        assert [row[0] for row in rows] == [*METHODS, "*control.random*"]
        for row, of_method in zip(rows, summary["methods"].values(), strict=True):
            for cell, (_, name, scale) in zip(row[1:], columns, strict=True):
                entry = of_method["quantities"][name]
                expected = format_estimate(entry["value"], entry["standard_error"], scale)
                assert cell.strip("*") == expected


def test_cells_by_hand(tmp_path):
    protocol = protocol_of(["rap", "b"], [], ["ratio", "segmentation"])
    records = records_of(protocol, kept=2)
    for record, of_rap, of_b in zip(records, (0.25, 0.75), (1.5, 0.5), strict=False):
        for title, value in (("rap", of_rap), ("b", of_b)):
            record["results"][title] |= {
                "ratio_all": value,
                "ratio_positive": value,
                "correct": 12,
                "intersection": [10, 9],
                "union": [20, 10],
            }
    write_report(tmp_path, protocol, records, {})
    found = tables((tmp_path / "report.md").read_text("utf-8"))
    # Two images: a resample is one of them or, half of the time, both; so the error is half the
    # difference over sqrt(2): 0.18 and 0.35.
    assert found["Table 2. Segmentation"][1] == ["rap", "25 ± 0", "70 ± 0"]  # as the other method
    for row, pattern in zip(
        found["Table 1. Outside-inside ratio"][1:],
        (r"\*\*0\.50 ± 0\.1[78]\*\*", r"1\.0 ± 0\.[34]"),
        strict=True,
    ):
        assert re.fullmatch(pattern, row[1])


def test_the_best_method_is_bold_and_no_control(full, tmp_path):
    folder, protocol, summary, _ = full
    head, *rows = tables((folder / "report.md").read_text("utf-8"))["Table 3. Further metrics"]
    for column, label in enumerate(head[1:], start=1):
        bold = [row[0] for row in rows if row[column].startswith("**")]
        if label == "sparsity":
            assert bold == []
        elif label == "average precision ↑":
            values = [summary["methods"][t]["quantities"]["average_precision"] for t in METHODS]
            best = int(np.argmax([entry["value"] for entry in values]))
            assert bold == [METHODS[best]]
        else:
            cells = {row[column] for row in rows if not row[0].startswith("*")}
            assert bold or len(cells) == 1
            assert "*control.random*" not in bold
    # A control that is far better than the methods is not bold either.
    records = records_of(protocol)
    for record in records[:5]:
        record["results"]["control.random"] |= {"ratio_all": 0.0, "average_precision": 1.0}
    write_report(tmp_path, protocol, records, {})
    markdown = (tmp_path / "report.md").read_text("utf-8")
    row = next(
        row for row in tables(markdown)["Table 1. Outside-inside ratio"] if "*control" in row[0]
    )
    assert row[1] == "*0 ± 0*"
    for heading in ("Table 1. Outside-inside ratio", "Table 3. Further metrics"):
        assert sum(row[1].startswith("**") for row in tables(markdown)[heading]) == 1


def test_differences_have_signs_and_no_row_of_rap(full):
    folder, _, summary, _ = full
    _, *rows = tables((folder / "report.md").read_text("utf-8"))["Table 4. Differences from rap"]
    assert [row[0] for row in rows] == [*METHODS[1:], "*control.random*"]
    entry = summary["methods"][METHODS[2]]["differences"]["ratio_positive"]
    assert entry["value"] > 0
    assert rows[1][2].startswith("+")
    assert rows[1][2] == format_estimate(entry["value"], entry["standard_error"], signed=True)


def test_undefined_values_are_reported(full):
    markdown = (full[0] / "report.md").read_text("utf-8")
    assert (
        "ALL is undefined for lrp.alpha_1_beta_0 on 1 of 5 images, which are left out." in markdown
    )
    assert "conservation error is undefined for control.random on every image." in markdown
    assert "conservation error, median is undefined" not in markdown
    row = tables(markdown)["Table 3. Further metrics"][-1]
    assert row[3:5] == ["*–*", "*–*"]


def test_html_and_markdown_say_the_same(full):
    folder = full[0]
    page = Page((folder / "report.html").read_text("utf-8"))
    markdown = (folder / "report.md").read_text("utf-8")
    rows = [row for found in tables(markdown).values() for row in found]
    assert [[cell.strip("*") for cell in row] for row in rows] == page.rows
    for line in markdown.splitlines():
        if line and not line.startswith(("|", "#", "!", "```")):
            assert re.sub(r"^\[(.*)\]\(.*\)$", r"\1", line) in page.text
    assert page.seen.count("strong") == len(re.findall(r"\*\*[^*]+\*\*", markdown))
    assert {"html", "head", "body", "h1", "h2", "table", "tbody", "pre"} <= set(page.seen)


def test_nothing_comes_from_elsewhere(full):
    folder = full[0]
    text = (folder / "report.html").read_text("utf-8")
    pictures = Page(text).pictures
    elsewhere = r"https?:|@import|<link|<script src|url\("
    assert not re.search(elsewhere, text)
    in_markdown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / "report.md").read_text("utf-8"))
    assert in_markdown == [f"figures/{n}.png" for n in ("heatmaps", "lerf", "morf")]
    for path, picture in zip(in_markdown, pictures, strict=True):
        kind, _, data = picture["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (folder / path).read_bytes()
    page = (folder / "maps.html").read_text("utf-8")
    pictures += Page(page).pictures
    assert not re.search(elsewhere, page)
    assert all((folder / p["src"]).is_file() for p in pictures[3:])
    assert all(p["alt"] for p in pictures)


def test_the_protocol_is_readable(full):
    markdown = (full[0] / "report.md").read_text("utf-8")
    assert "```\nrap-keras benchmark --data 'a b'\n```" in markdown
    title, answer, *paragraphs = markdown.split("\n\n")
    assert (title, answer) == ("# bundled:vgg on imagenet-boxes:DIR", "## Answer")
    counts = "Comparison of attribution methods: 5 of 8 images kept, 2 misclassified, 1 skipped."
    assert counts in paragraphs
    found = tables(markdown)
    rows = dict(found["Protocol"][1:])
    assert rows["masks"] == "boxes of the class, united"
    assert rows["images in the data set"] == "138"
    assert rows["input size"] == "8 x 6 pixels"
    assert rows["seed"] == "0"
    assert rows["mIOU"] == "from the pixels of all images together"
    assert rows["versions"] == "python 3.11.7, numpy 2.4.6"
    assert rows["perturbation"] == (
        "4 steps of 12 pixels, up to 100 % of the image; replacement: zero"
    )
    assert (rows["images kept"], rows["images skipped"]) == ("5", "1")
    assert found["Methods"][3] == [METHODS[2], "integrated_gradients", "steps=16", "zero"]
    assert found["Skipped images"][1] == ["image_7", "The image has no box."]
    assert found["Misclassified images"][1:] == [
        ["image_5", "n01", "n02"],
        ["image_6", "n01", "n02"],
    ]


def test_a_title_names_model_and_data(tmp_path):
    protocol = {"title": "VGG-16 on Imagenette"} | protocol_of(metrics=["ratio"])
    write_report(tmp_path, protocol, records_of(protocol), maps_of(protocol))
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert markdown.startswith("# VGG-16 on Imagenette\n")
    assert "<title>VGG-16 on Imagenette</title>" in (tmp_path / "report.html").read_text("utf-8")
    assert "VGG-16 on Imagenette: " in (tmp_path / "maps.html").read_text("utf-8")
    rows = tables(markdown)["Protocol"]
    assert rows[1:3] == [["title", "VGG-16 on Imagenette"], ["model", "bundled:vgg"]]


def test_settings_that_are_not_known_are_shown_and_absent_ones_are_not(tmp_path):
    protocol = protocol_of(metrics=["ratio"], perturbation=None, limit=None, odd={"new": [1, 2]})
    protocol["methods"][0]["threshold"] = 95.0
    write_report(tmp_path, protocol, records_of(protocol), {})
    found = tables((tmp_path / "report.md").read_text("utf-8"))
    rows = dict(found["Protocol"][1:])
    assert rows["odd"] == "new 1, 2"
    assert "perturbation" not in rows
    assert "limit" not in rows
    assert found["Methods"][1][3] == "percentile 95.0"


def test_long_lists_are_cut(tmp_path):
    protocol = protocol_of(metrics=["sparsity"])
    write_report(tmp_path, protocol, records_of(protocol, 2, 20, 23), {})
    markdown = (tmp_path / "report.md").read_text("utf-8")
    found = tables(markdown)
    assert len(found["Skipped images"]) == 1 + 20
    assert len(found["Misclassified images"]) == 1 + 20
    assert re.findall(r"And .* more", markdown) == ["And 3 more"]


def test_only_what_was_measured_is_reported(tmp_path):
    protocol = protocol_of(metrics=["pointing_game"])
    files = write_report(tmp_path, protocol, records_of(protocol), {})
    assert [path.name for path in files] == list(ALWAYS)
    headings = [
        key for key in tables((tmp_path / "report.md").read_text("utf-8")) if "Table" in key
    ]
    assert headings == ["Table 3. Further metrics", "Table 4. Differences from rap"]


@pytest.mark.drawn
def test_text_is_escaped(tmp_path):
    protocol = protocol_of(["rap", NASTY], [], ["ratio", "lerf"], data=NASTY)
    protocol["command"] = f"```\n{NASTY}"
    records = records_of(protocol)
    records[-1] |= {"name": f"{NASTY}\n# heading", "reason": NASTY}
    write_report(tmp_path, protocol, records, maps_of(protocol))
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert {"i", "em"}.isdisjoint(page.seen)
    assert [row[0] for row in page.rows].count(NASTY) == 4  # Tables 1, 3, 4, Methods
    assert NASTY in page.text.partition("Protocol")[2]

    markdown = (tmp_path / "report.md").read_text("utf-8")
    shown = r"a\|b &lt;i&gt;&amp;amp; \*c\* \_d\_ \`e\` \$f\$ \[g\](h)"
    found = tables(markdown)
    assert found["Table 1. Outside-inside ratio"][2][0] == shown
    assert found["Skipped images"][1] == [f"{shown} # heading", shown]
    assert f"````\n```\n{NASTY}\n````" in markdown
    assert all(len(row) == len(rows[0]) for rows in found.values() for row in rows)


def test_words_keep_their_underscores():
    table = document.Table(["input_t_gradient", "_x", "y_"], [])
    assert document.to_markdown([table]).splitlines()[0] == r"| input_t_gradient | \_x | y\_ |"


def test_the_same_records_give_the_same_bytes(full, tmp_path):
    folder, protocol, _, files = full
    records = records_of(protocol)
    records[1]["results"]["lrp.alpha_1_beta_0"]["ratio_all"] = None
    for record in records[:5]:
        record["results"]["control.random"]["conservation_error"] = None
    maps = maps_of(protocol)
    write_report(tmp_path, protocol, records[::-1], dict(reversed(maps.items())))
    for file in files:
        assert (tmp_path / file.relative_to(folder)).read_bytes() == file.read_bytes()


def test_a_report_is_replaced_and_a_failure_leaves_it_whole(tmp_path, monkeypatch):
    protocol = protocol_of(metrics=["ratio"])
    write_report(tmp_path, protocol, records_of(protocol), {})
    before = (tmp_path / "report.md").read_bytes()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    changed = protocol | {"data": "other"}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(UnwritableError, match="No space"):
            write_report(tmp_path, changed, records_of(protocol), {})
    assert (tmp_path / "report.md").read_bytes() == before
    expected = set(ALWAYS)
    assert {path.name for path in tmp_path.iterdir()} == expected
    write_report(tmp_path, changed, records_of(protocol), {})
    assert b"bundled:vgg on other" in (tmp_path / "report.md").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.drawn
def test_figures_are_pictures(tmp_path):
    protocol = protocol_of()
    records = records_of(protocol)
    write_report(tmp_path, protocol, records, maps_of(protocol))
    again = figures.perturbation_figure(protocol, summarize(protocol, records), "lerf")
    assert figures.png(again) == (tmp_path / "figures" / "lerf.png").read_bytes()
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 300
            colors = [color for _, color in picture.convert("RGB").getcolors(2**24)]
        assert len(colors) > 50
        assert max(max(color) - min(color) for color in colors) > 100


def test_the_heat_maps_figure(full):
    protocol = full[1]
    maps = maps_of(protocol, (4, 1))
    figure = figures.heatmap_figure(protocol, records_of(protocol), maps)
    axes = np.array(figure.axes).reshape(2, 5)
    assert [ax.get_title() for ax in axes[0]] == [
        "image",
        "rap",
        "lrp.alpha_1_beta_0",
        "integrated_gradients:\nsteps=16: slow",
        "control.random",
    ]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["image_1", "image_4"]
    for row, position in zip(axes, (1, 4), strict=True):
        np.testing.assert_array_equal(row[0].images[0].get_array(), maps[position][""])
        for ax, title in zip(row[1:], (*METHODS, *CONTROLS), strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), maps[position][title])


@pytest.mark.drawn
@pytest.mark.slow
def test_the_figure_of_heat_maps_has_the_size_of_a_page():
    """As it is with many methods on many images, and maps that cannot be compressed."""
    titles = [f"integrated_gradients:steps={k}" for k in range(21)]
    protocol = protocol_of(titles, [])
    maps = maps_of(protocol, range(5), (16, 16))
    records = records_of(protocol)
    figure = figures.heatmap_figure(protocol, records, maps)
    data = figures.png(figure)
    assert len(data) <= figures.LARGEST == 200_000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "P"
        assert 960 <= picture.width <= 1600
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    white = (pixels == 255).all(axis=1)
    assert white[0]
    assert white.mean() > 0.1
    red, blue = (pixels[:, a] - pixels[:, b] > 100 for a, b in ((0, 2), (2, 0)))
    assert min(red.mean(), blue.mean()) > 0.02
    assert len(figure.axes) == 3 * 22  # with the photograph
    letters = figure.axes[1].title.get_fontsize() / 72 * 960 / figure.get_figwidth()
    assert letters == pytest.approx(11, rel=0.1)


def test_only_white_becomes_white():
    pixels = np.full((300, 300, 3), (255, 255, 0), np.uint8)
    pixels[:100] = 0, 0, 255
    pixels[100:200] = 235, 235, 235
    pixels[299, 298] = 255  # not in the sample of pixels that the palette is chosen from
    with Image.open(io.BytesIO(figures.compact_png(Image.fromarray(pixels)))) as picture:
        np.testing.assert_array_equal(picture.convert("RGB"), pixels)


def test_heat_maps_of_different_sizes_and_of_some_methods(full):
    protocol = full[1]
    maps = maps_of(protocol, (0,)) | maps_of(protocol, (1,), (4, 9))
    del maps[1]["rap"]
    figure = figures.heatmap_figure(protocol, records_of(protocol), maps)
    axes = np.array(figure.axes).reshape(2, 4)
    assert axes[0, 1].get_title() == "lrp.alpha_1_beta_0"
    picture, drawn = (ax.images[0].get_array() for ax in axes[1, :2])
    np.testing.assert_array_equal(picture[:4, :9], maps[1][""])
    assert (picture[4:] == 255).all()
    np.testing.assert_array_equal(drawn[:4, :9], maps[1]["lrp.alpha_1_beta_0"])
    assert (drawn[4:] == 0).all()


@pytest.mark.parametrize("name", ["lerf", "morf"])
def test_the_perturbation_figure(full, name):
    _, protocol, summary, _ = full
    figure = figures.perturbation_figure(protocol, summary, name)
    left, right = figure.axes
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [
        "rap",
        "lrp.alpha_1_beta_0",
        "integrated_gradients:steps=16:\nslow",
        *CONTROLS,
    ]
    for ax, part, scale in ((left, "accuracy", 100), (right, "logit", 1)):
        for index, (line, of_method) in enumerate(
            zip(ax.lines, summary["methods"].values(), strict=True)
        ):
            curve = of_method["curves"][name][part]
            np.testing.assert_allclose(line.get_xdata(), [0, 25, 50, 75, 100])
            np.testing.assert_allclose(line.get_ydata(), scale * np.array(curve["value"]))
            assert line.get_linestyle() == ("--" if of_method["control"] else "-")
            band = ax.collections[index].get_paths()[0].vertices
            expected = scale * (curve["value"][-1] + curve["standard_error"][-1])
            assert band[band[:, 0] == 100, 1].max() == pytest.approx(expected)


def test_a_dozen_lines_can_be_told_apart():
    titles = [f"method {k}" for k in range(9)]
    protocol = protocol_of(titles, ["control.a", "control.b", "control.c"], ["lerf"])
    summary = summarize(protocol, records_of(protocol))
    lines = figures.perturbation_figure(protocol, summary, "lerf").axes[0].lines
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == len(lines) == 12
    greys = [line for line in lines if np.ptp(to_rgb(line.get_color())) == 0]
    assert greys == lines[9:]
    assert not any(same_color(line.get_color(), "white") for line in lines)


def test_one_image(tmp_path):
    protocol = protocol_of()
    records = records_of(protocol, kept=1)
    write_report(tmp_path, protocol, records, maps_of(protocol, (0,)))
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert "no standard errors" in markdown
    assert "±" not in markdown
    row = tables(markdown)["Table 1. Outside-inside ratio"][-1]
    value = records[0]["results"]["control.random"]["ratio_positive"]
    assert row[2] == f"*{value:.4g}*"
    figure = figures.perturbation_figure(protocol, summarize(protocol, records), "lerf")
    assert not figure.axes[0].collections
    assert len(figure.axes[0].lines) == 4


def test_no_image_kept_leaves_nothing(tmp_path):
    protocol = protocol_of()
    with pytest.raises(InputError, match=r"2 misclassified and 1 skipped"):
        write_report(tmp_path / "out", protocol, records_of(protocol, kept=0), {})
    assert not (tmp_path / "out").exists()


def test_a_method_alone_is_not_the_best(tmp_path):
    protocol = protocol_of(["gradient"], metrics=["ratio"])
    write_report(tmp_path, protocol, records_of(protocol), {})
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert "**" not in markdown
    assert "Table 4. Differences from gradient" in markdown  # of the control
    assert "Agreement" not in markdown


def test_none_is_the_best_where_all_are_alike(tmp_path):
    protocol = protocol_of(metrics=["ratio"])
    records = records_of(protocol)
    for record in records[:5]:
        for result in record["results"].values():
            result["ratio_all"] = 0.5
    write_report(tmp_path, protocol, records, {})
    rows = tables((tmp_path / "report.md").read_text("utf-8"))["Table 1. Outside-inside ratio"][1:]
    bold = [[cell.startswith("**") for cell in row] for row in rows]
    assert not any(row[1] for row in bold)
    assert any(row[2] for row in bold)


@pytest.mark.drawn
def test_a_name_that_the_font_lacks_or_with_dollars_is_no_problem(tmp_path):
    protocol = protocol_of(metrics=["ratio"])
    records = records_of(protocol)
    records[0]["name"] = "写真 $no \\formula$"
    write_report(tmp_path, protocol, records, maps_of(protocol))
    assert "写真" not in (tmp_path / "report.md").read_text("utf-8")
    assert (tmp_path / "figures" / "heatmaps.png").stat().st_size > 1000


def test_the_report_has_the_resamples_of_the_protocol(tmp_path):
    protocol = protocol_of(metrics=["ratio"], resamples=70)
    records = records_of(protocol)
    write_report(tmp_path, protocol, records, {})
    assert "70 bootstrap resamples" in (tmp_path / "report.md").read_text("utf-8")


def test_lines_for_the_terminal(full):
    _, protocol, summary, _ = full
    sentence, few, *lines = summary_lines(protocol, summary)
    assert sentence == (
        "bundled:vgg on imagenet-boxes:DIR: 5 of 8 images kept, 2 misclassified, 1 skipped."
    )
    assert few.startswith("Only 5 images kept: with fewer than 100")
    assert summary_lines(protocol, summary | {"kept": 100})[1:] == lines
    assert len({len(line) for line in lines}) == 1
    cells = [re.split(r"\s{2,}", line) for line in lines]
    assert cells[0] == ["method", "ratio ALL", "POS", "mIOU %", "LeRF area"]
    assert [row[0] for row in cells[1:]] == [*METHODS, *CONTROLS]
    entry = summary["methods"]["rap"]["quantities"]["mean_iou"]
    assert cells[1][3] == format_estimate(entry["value"], entry["standard_error"], 100)


def test_lines_for_the_terminal_without_those_metrics():
    protocol = protocol_of(metrics=["lerf"])
    summary = summarize(protocol, records_of(protocol))
    assert summary_lines(protocol, summary)[2].split() == ["method", "LeRF", "area"]


@pytest.mark.slow
def test_tensorflow_and_pyplot_are_not_imported():
    code = (
        "import sys; import rap_keras.benchmark.reporting.report;"
        "sys.exit(bool({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_caption_explains_the_colours():
    methods = [
        {"title": title, "method": title.partition(":")[0], "options": options}
        for title, options in [
            ("rap", {}),
            ("rap:contrast=softmax", {"contrast": "softmax"}),
            ("lrp.alpha_1_beta_0", {}),
            ("input_t_gradient", {}),
            ("deep_lift", {}),
            ("control.random", {}),
        ]
    ]
    assert words.colours(methods) == (
        "Red is positive relevance, blue is negative relevance. Blue shows what has less influence than "
        "the rest (rap); what speaks for the other classes (rap:contrast=softmax); what speaks against "
        "the class (input_t_gradient, deep_lift)."
    )
    assert words.colours(methods[2:3]) == "Red is positive relevance, blue is negative relevance."


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ranks_have_a_panel_for_each_measure_and_no_other(count):
    ranked = metrics.columns(metrics.chosen(("ratio", "segmentation", "average_precision")))[:count]
    found = {"methods": {"rap": 1.25, "gradient": 1.75}, "critical_difference": 0.5}
    found |= {"images": 8, "p_value": 0.01}
    summary = {"reference": "rap", "ranks": {column.quantity: found for column in ranked}}
    figure = figures.ranks_figure(summary, ranked)
    figure.draw_without_rendering()
    assert [ax.get_title().partition(":")[0] for ax in figure.axes] == [c.title for c in ranked]
    assert all(ax.axison for ax in figure.axes)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    middle = (boxes[-1].x0 + boxes[-1].x1) / figure.bbox.x1
    assert (abs(middle - 1) < 0.1) == (count % 2 == 1)


RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_published_reports_name_models_and_data_instead_of_paths():
    for path in RESULTS.rglob("summary.json"):
        for name in ("report.md", "summary.json"):
            assert not re.search(r"\.\./|embedded:", path.with_name(name).read_text("utf-8")), path
        protocol = json.loads(path.read_text("utf-8"))["protocol"]
        model = protocol.get("model", "bundled:")  # mechanism tests have their own networks
        assert "title" in protocol or model.startswith("bundled:"), path
