"""Every method has a page, whose facts are those of the code."""

import importlib
import re

import pytest
from helpers.documents import PAGES, ROOT

from rap_keras.analyzers.registry import METHODS

SECTIONS = ["Cost", "When to use it", "When not to use it", "Colours", "Options"]
FOLDER = ROOT / "docs" / "images" / "gallery"


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("methods")


def test_every_method_is_on_one_page(methods):
    pages = methods.pages()
    on_pages = [name for names in pages.values() for name in names]
    assert sorted(on_pages) == sorted(method.name for method in METHODS)
    files = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert files == set(pages)
    gallery, choosing = (PAGES[f"docs/{page}.md"].read_text() for page in ("gallery", "choosing"))
    for page, names in pages.items():
        text = PAGES[f"docs/methods/{page}.md"].read_text()
        assert not [name for name in names if f"`{name}`" not in text and f'"{name}"' not in text]
        assert f"](methods/{page}.md)" in gallery
        assert f"](methods/{page}.md)" in choosing


def test_generated_parts_are_up_to_date(methods):
    for path, text in methods.written().items():
        assert path.read_text() == text, f"{path.name}: run python scripts/methods.py"


def test_pages_have_every_section(methods):
    for page in methods.pages():
        text = PAGES[f"docs/methods/{page}.md"].read_text()
        sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert sections[-5:] == SECTIONS, page
        papers = [[]] if page == "controls" else [["Paper"], ["Papers"]]
        assert sections[:-5] in papers, page
        assert "```python\n" in text, page
        assert page == "controls" or re.search(r"^> \w.*: \*", text, re.MULTILINE), page
        assert page == "lrp" or f"](../images/gallery/methods/{page}.png)" in text, page


def test_options_have_their_defaults(methods):
    options = methods.options_of("hires_cam")
    assert options["relu"].default == "False"  # other maps of its family are cut
    assert options["layer"].default == "None"
    assert methods.options_of("lrp.epsilon")["epsilon"].default == "1e-07"
    assert methods.options_of("rap")["dense"].default == '"rap"'
    assert methods.options_of("rap.epsilon")["dense"].default == '"epsilon"'
    for method in METHODS:
        assert list(methods.options_of(method.name)) == method.option_names()


def test_images_are_small():
    sizes = {path: path.stat().st_size for path in FOLDER.glob("**/*.png")}
    assert max(sizes.values()) < 100_000
    assert sum(size for path, size in sizes.items() if path.parent != FOLDER) < 1_000_000
