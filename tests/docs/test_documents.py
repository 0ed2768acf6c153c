"""What README, the documents and the notebooks show runs, and what they name is there."""

import ast
import importlib
import json
import os
import re
from unittest.mock import patch

import matplotlib
import pytest
import typer
from helpers.documents import (
    KERAS_2,
    NOT_RUN,
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    links,
    run_notebook,
)
from helpers.thinned import slow_unless
from PIL import Image

from rap_keras.analyzers import registry
from rap_keras.benchmark import metrics
from rap_keras.cli.app import app
from rap_keras.composites import composite
from rap_keras.datasets import cluttered_digits

LEFT_OUT = 0  # blocks that are marked as not run

BLOCKS = {page: blocks(page) for page in PAGES}
HERE = {page: [b for b in found if not b.comment] for page, found in BLOCKS.items()}


def naming(program):
    return [page for page in PAGES if commands(page, program)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader works: photographs are there, and nothing that is done there lasts."""
    (tmp_path / "photos").mkdir()
    for k, image in enumerate(cluttered_digits(3).images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(composite, "_registered", {})
    monkeypatch.setattr(registry, "METHODS", [*registry.METHODS])
    with patch.dict(metrics.METRICS):  # settings hold the same
        yield tmp_path


# Their rules and methods must also work in a graph.
IN_A_GRAPH = {"CONTRIBUTING.md", "docs/guides/own_layer.md", "docs/guides/own_method.md"}
# Pages of methods are similar: two are quick.
QUICK_METHODS = {f"docs/methods/{name}.md" for name in ("rap", "lrp")}

# Other tests make most of their calls.
LONG = {
    f"docs/{name}.md"
    for name in (
        *("baselines", "benchmark", "choosing", "contrast", "faq"),
        *("features", "models", "patterns"),
        *("rules", "guides/own_model", "guides/transformers"),
    )
}


def marks_of(page):
    if page in IN_A_GRAPH:
        return pytest.mark.programs
    slow = page in LONG or ("/methods/" in page and page not in QUICK_METHODS)
    return pytest.mark.slow if slow else ()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page, marks=marks_of(page)) for page, found in HERE.items() if found],
)
def test_python_blocks_run(page, folder):
    names: dict = {}
    for block in HERE[page]:
        block.run(names)
    if page == "README.md":
        assert names["R"].shape == names["x"].shape
        pictures = {"explanation.png"}
        assert {p.name for p in folder.iterdir()} == {"photos"} | pictures


def test_every_block_runs_or_says_why_not():
    comments = [b.comment for found in BLOCKS.values() for b in found if b.comment]
    left_out = [comment for comment in comments if comment.startswith(NOT_RUN)]
    assert len(left_out) == LEFT_OUT
    assert {comment for comment in comments if comment not in left_out} == {KERAS_2}
    text = "".join(path.read_text() for path in PAGES.values())
    assert len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)", text, re.M | re.I)) == sum(
        map(len, BLOCKS.values())
    )


@pytest.mark.parametrize("page", [page for page in PAGES if links(page)])
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("page", naming("rap-keras "))
def test_commands_of_rap_keras_exist(page):
    for _, *words in commands(page, "rap-keras "):
        command, context = typer.main.get_command(app), None
        while hasattr(command, "commands") and not words[0].startswith("-"):
            name, *words = words
            assert name in command.commands, f"rap-keras has no command {name!r}"
            context = typer.Context(command, parent=context)
            command = command.commands[name]
        context = typer.Context(command, parent=context, info_name="rap-keras")
        command.make_parser(context).parse_args(words)  # an unknown option is an error


@pytest.mark.parametrize("page", naming("python benchmarks/"))
def test_scripts_exist_and_have_their_options(page):
    for _, script, *words in commands(page, "python benchmarks/"):
        tree = ast.parse((ROOT / script).read_text())
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        added = [c for c in calls if getattr(c.func, "attr", "") == "add_argument"]
        known = {a.value for c in added for a in c.args if isinstance(a, ast.Constant)}
        assert {word for word in words if word.startswith("-")} <= known, script


def test_the_table_of_layers_is_that_of_the_code(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    tables = importlib.import_module("tables")
    assert PAGES["docs/layers.md"].read_text() == tables.layers(), "run make pictures"


def test_the_evaluation_cards_are_those_of_the_code(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    cards = importlib.import_module("cards")
    assert PAGES["docs/metrics.md"].read_text() == cards.page(), "run python scripts/cards.py"


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_every_page_is_in_the_site():
    index = PAGES["docs/index.md"].read_text()
    pages = [page.removeprefix("docs/").removesuffix(".md") for page in PAGES if "docs/" in page]
    reports = [page for page in pages if page.endswith("/report")]
    named = {*re.findall(r"^(?:.+ <)?([\w/]+)>?$", index, re.MULTILINE)}
    assert "\nmethods/*\n" in PAGES["docs/gallery.md"].read_text()
    named |= {page for page in pages if page.startswith("methods/")}
    pages += [f"notebooks/{path.stem}" for path in NOTEBOOKS]
    assert set(pages) - {*reports, "index"} == named


# tests/innvestigate runs that of the plugin; a kernel runs the first, where slow tests run.
@pytest.mark.parametrize(
    "path",
    slow_unless(
        lambda p: p.id == "01_quickstart",
        [pytest.param(p, id=p.stem) for p in NOTEBOOKS if p.stem != "05_innvestigate"],
    ),
)
def test_notebooks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RAP_KERAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAP_KERAS_MODEL", "bundled:residual")  # nothing is downloaded
    with matplotlib.rc_context():
        run_notebook(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stored_with_what_they_show(path):
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert {output["output_type"] for output in outputs} <= {
        "display_data",
        "execute_result",
        "stream",
    }
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert path.stat().st_size < 250_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_of_notebooks_lead_somewhere(path):
    for target in links(path):
        assert (path.parent / target).is_file(), target


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*zmq.*", "ignore::DeprecationWarning", "ignore::ResourceWarning"
)
def test_a_kernel_runs_the_first_notebook():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    kinds = {
        kind for c in notebook.cells for o in c.get("outputs", ()) for kind in o.get("data", ())
    }
    assert {"text/html", "image/png"} <= kinds
