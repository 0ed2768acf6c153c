"""The pages of a report in a browser: Chromium, where it is installed."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from rap_keras.benchmark.reporting.answer import QUESTIONS, answer
from rap_keras.benchmark.reporting.document import Heading, Table, to_html
from rap_keras.benchmark.reporting.maps_page import maps_page
from rap_keras.benchmark.reporting.words import introduction

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: a package of the system")


@pytest.fixture
def told(tmp_path):
    """Runs a script on a page that was written, and gives what it has put into `told`."""

    def run(page, script, width=1000):
        end = "document.documentElement.dataset.told = JSON.stringify(told);"
        text = (tmp_path / page).read_text("utf-8")
        driver = f"<script>{{ const told = []; {script}; {end} }}</script></body>"
        (tmp_path / "driven.html").write_text(text.replace("</body>", driver), "utf-8")
        command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        command += [f"--window-size={width},800", (tmp_path / "driven.html").as_uri()]
        found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        (data,) = re.findall(r'<html[^>]* data-told="([^"]*)"', found.stdout)
        return json.loads(html.unescape(data))

    return run


TABLE = Table(
    ["method", "error ↓"],
    [["b", "0.5 ± 0.1"], ["a", "–"], ["d", "-2 ± 1"], ["c", "(4.1 ± 0.3)e-7"]],
    [["control.z", "9"], ["control.y", "1"]],
    numbers=True,
)


def test_a_table_is_sorted_by_a_click(told, tmp_path):
    (tmp_path / "report.html").write_text(to_html([Heading("T", 1), TABLE], {}), "utf-8")
    script = """
    const names = () => [...document.querySelectorAll("tbody tr")].map((r) => r.cells[0].textContent);
    const rows = () => names().join("");
    const [first, second] = document.querySelectorAll("th button");
    const click = (button) => { button.click(); told.push(rows()); };
    click(second); told.push(second.parentNode.getAttribute("aria-sort"));
    click(second); told.push(second.parentNode.getAttribute("aria-sort"));
    click(first); told.push(second.parentNode.getAttribute("aria-sort"));
    """
    rising, falling = "dcbacontrol.ycontrol.z", "bcdacontrol.zcontrol.y"
    by_name = "abcdcontrol.ycontrol.z"
    expected = [rising, "ascending", falling, "descending", by_name, None]
    assert told("report.html", script) == expected


@pytest.mark.parametrize("width", [500, 1280])
def test_tables_of_numbers_fit_or_scroll(told, tmp_path, width):
    """A table of 11 measures fits a page of 1280 pixels; the page itself is never wider."""
    heads = ["method", *["pixel accuracy, equal area (%) ↑"] * 11]
    table = Table(heads, [["gradient:postprocess=abs", *["96.71 ± 0.11"] * 11]], numbers=True)
    (tmp_path / "report.html").write_text(to_html([Heading("T", 1), table], {}), "utf-8")
    script = """
    const wide = document.querySelector(".wide");
    told.push(wide.scrollWidth <= wide.clientWidth);
    told.push(document.documentElement.scrollWidth <= innerWidth);
    """
    assert told("report.html", script, width) == [width == 1280, True]


def test_the_answer_is_in_the_first_screen(told, tmp_path):
    """With every question, long lists and a warning; the page's first screen has 1280 x 800 pixels."""
    titles = [f"integrated_gradients:steps={k}" for k in range(20)] + ["control.random"]
    methods = [{"title": title, "control": title.startswith("control")} for title in titles]
    entry = {"value": 0.5, "standard_error": 0.01, "images": 9}
    best = {"method": titles[0], "not_worse": titles[1:9], "controls": titles[-1:]}
    summary = {
        **{"kept": 90, "misclassified": 9, "skipped": 1, "resamples": 1000},
        "methods": {
            m["title"]: m | {"quantities": dict.fromkeys(QUESTIONS, entry)} for m in methods
        },
        "best": dict.fromkeys(QUESTIONS, best),
    }
    metrics = ["equal_area", "segmentation", "average_precision", "srg", "grid"]
    protocol = {"title": "SqueezeNet on ImageNet", "methods": methods, "metrics": metrics}
    blocks = [Heading("SqueezeNet on ImageNet", 1), *answer(protocol, summary)]
    blocks += introduction(protocol, summary)
    (tmp_path / "report.html").write_text(to_html(blocks, {}), "utf-8")
    script = """
    const bottom = (element) => element.getBoundingClientRect().bottom;
    const warning = [...document.querySelectorAll("p")].find((p) => p.textContent.startsWith("Warning"));
    told.push(document.querySelectorAll("tbody tr").length, bottom(document.querySelector("table")));
    told.push(bottom(warning));
    """
    rows, table, warning = told("report.html", script, 1280)
    assert rows == 4
    assert table < warning < 800


@pytest.fixture
def maps(tmp_path):
    """The page of two images, three methods and a hostile name."""
    rng = np.random.default_rng(0)
    titles = ["rap", "a&b<i>", "control.edges"]
    methods = [{"title": title, "method": title, "options": {}} for title in titles]
    protocol = {"model": "m", "data": "d", "methods": methods}
    images = [
        {"position": 0, "name": "first", "label": "cat", "neuron": 1, "logit": 2.0},
        {"position": 7, "name": "<b>second", "label": "dog", "neuron": 0, "logit": 1.0},
    ]
    held = {
        position: {"": rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)}
        | {title: rng.normal(size=(6, 8)) for title in titles}
        for position in (0, 7)
    }
    for path, data in maps_page(protocol, images, held):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)


@pytest.mark.usefixtures("maps")
def test_maps_are_shown_found_hidden_and_enlarged(told):
    script = """
    const shown = (all) => [...document.querySelectorAll(all)].filter((e) => e.offsetParent).length;
    document.querySelectorAll("img").forEach((i) => { i.loading = "eager"; });
    told.push(shown("section"), shown("section figure"));
    const find = document.querySelector("#find");
    find.value = "DOG"; find.dispatchEvent(new Event("input"));
    told.push(shown("section"));
    find.value = ""; find.dispatchEvent(new Event("input"));
    document.querySelector("[data-method='a&b<i>']").click();
    told.push(shown("section figure"));
    const dialog = document.querySelector("dialog");
    const captions = () => {
      const texts = [...dialog.querySelectorAll("figcaption")].map((c) => c.textContent);
      told.push(texts.join(), dialog.querySelector("h2").textContent);
    };
    const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    document.querySelector("section [data-of='rap'] button").click();
    told.push(dialog.open); captions();
    press("ArrowRight"); captions();
    press("ArrowDown"); captions();
    press("ArrowDown"); press("ArrowRight"); captions();
    dialog.querySelector("[data-close]").click();
    told.push(dialog.open);
    """
    first, second = "first: class cat, index 1, logit 2", "<b>second: class dog, index 0, logit 1"
    expected = [2, 8, 1, 6, True, "image,rap", first, "image,control.edges", first]
    expected += ["image,control.edges", second, "image,control.edges", second, False]
    assert told("maps.html", script) == expected


@pytest.mark.usefixtures("maps")
@pytest.mark.parametrize("width", [500, 1400])
def test_nothing_is_wider_than_the_page(told, width):
    script = "told.push(document.documentElement.scrollWidth <= innerWidth, innerWidth)"
    assert told("maps.html", script, width) == [True, width]


@pytest.mark.usefixtures("maps")
def test_the_pictures_are_there(told):
    script = """
    const images = [...document.querySelectorAll("section img")];
    images.forEach((i) => { i.loading = "eager"; });
    told.push(images.length, new Set(images.map((i) => i.src)).size)
    """
    assert told("maps.html", script) == [8, 8]
