"""Titles are plain text, and have the room that there is."""

import os
import warnings

import pytest
from helpers.thinned import slow_unless
from matplotlib.font_manager import findfont

from rap_keras import plot
from rap_keras.errors import InputError
from rap_keras.plot import fonts
from rap_keras.plot.fonts import shortened, wrapped
from rap_keras.support.text import printable

UNDECODED = os.fsdecode(b"caf\xe9")
TITLES = ["$a$ and $\\nothing$", UNDECODED, "photo_" * 20 + "0001"]


def boxes(figure):
    """Where the titles and the labels of rows are, in pixels."""
    figure.draw_without_rendering()
    texts = [text for ax in figure.axes for text in (ax.title, ax.yaxis.label) if text.get_text()]
    return [text.get_window_extent() for text in texts]


@pytest.fixture
def maps(rng):
    return {title: rng.normal(size=(3, 8, 8, 3)) for title in TITLES}


@pytest.mark.slow
def test_names_of_any_kind_are_drawn(maps, rng, tmp_path):
    images = rng.uniform(size=(3, 8, 8, 3))
    figure = plot.grid(images, maps, row_titles=TITLES)
    figure.savefig(tmp_path / "grid.png")
    titles = [ax.get_title() for ax in figure.axes[:4]]
    assert titles[:3] == ["image", "$a$ and $\\nothing$", "caf\N{REPLACEMENT CHARACTER}"]
    assert titles[3].startswith("photo_")
    assert titles[3].endswith("0001")
    labels = [ax.get_ylabel() for ax in figure.axes[::4]]
    assert labels[:2] == titles[1:3]


@pytest.mark.parametrize(
    "title", slow_unless(lambda p: p.values[0] == TITLES[0], TITLES), ids=["math", "bytes", "long"]
)
def test_a_name_of_any_kind_is_drawn_alone(title, maps, rng, tmp_path):
    image = rng.uniform(size=(8, 8, 3))
    plot.explanation(maps[title][0], image, title=title).savefig(tmp_path / "one.png")
    plot.heatmap(maps[title][0], title=title).figure.savefig(tmp_path / "one.png")
    plot.layers({title: maps[title][:1]}).savefig(tmp_path / "one.png")


@pytest.mark.parametrize(
    "shape", slow_unless(lambda p: p.values[0] == (24, 8), [(8, 8), (8, 24), (24, 8)])
)
def test_long_names_do_not_overlap(shape, rng, tmp_path):
    names = [f"{'a_long_name_' * 5}{k}" for k in range(4)]
    maps = {name: rng.normal(size=(2, *shape, 3)) for name in names}
    images = rng.uniform(size=(2, *shape, 3))
    layer_maps = {name: batch[:1] for name, batch in maps.items()}
    for figure in (plot.grid(images, maps, row_titles=names[2:]), plot.layers(layer_maps)):
        found = boxes(figure)
        assert len(found) >= 4
        assert not any(a.overlaps(b) for k, a in enumerate(found) for b in found[:k])


def test_the_middle_is_left_out():
    assert shortened("short", 2) == "short"
    text = shortened("abcdefghijklmnopqrstuvwxyz" * 4, 1)
    head, _, tail = text.partition("…")
    assert ("abcdefghijklmnopqrstuvwxyz" * 4).startswith(head)
    assert ("abcdefghijklmnopqrstuvwxyz" * 4).endswith(tail)
    assert len(head) - len(tail) in (0, 1)
    assert 8 < len(text) < 25
    assert len(shortened("abcdef", 0)) == 3
    for inches in (0.2, 0.45, 0.5):  # as much as fits is kept
        kept = 6
        text = "abcdef"
        while kept > 2 and fonts._width(text) > inches:
            kept -= 1
            text = f"{'abcdef'[: kept - kept // 2]}…{'abcdef'[6 - kept // 2 :]}"
        assert shortened("abcdef", inches) == text


def test_a_very_long_name_is_measured_a_few_times(monkeypatch):
    measured = []
    monkeypatch.setattr(fonts, "_width", lambda text: measured.append(text) or len(text) / 10)
    assert len(shortened("x" * 5000, 2)) == 20
    assert len(measured) < 20


def test_what_cannot_be_shown_has_a_sign():
    assert printable("plain, ünïcode\n") == "plain, ünïcode\n"
    assert printable(f"{UNDECODED}\x00\t") == "caf" + 3 * "\N{REPLACEMENT CHARACTER}"


def test_a_grid_of_an_array_is_told_what_it_needs(rng):
    maps = rng.normal(size=(2, 4, 4, 3))
    with pytest.raises(InputError, match=r"Expected maps as a dict from titles .* got ndarray"):
        plot.grid(None, maps)


def inside(figure):
    """Whether all titles and labels of rows are within the figure."""
    return all(
        box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        for box in boxes(figure)
    )


@pytest.mark.parametrize("colorbar", [True, False])
@pytest.mark.quick("False")
def test_no_title_is_cut_at_the_edge(colorbar, rng):
    names = [f"stage{k}/block_with_a_name/{word}" for k in (1, 2) for word in ("scale", "multiply")]
    layer_maps = {name: rng.normal(size=(1, 8, 8, 3)) for name in names}
    maps = {name: batch[0][None] for name, batch in layer_maps.items()}
    assert inside(plot.layers(layer_maps, colorbar=colorbar))
    assert inside(plot.grid(None, maps, colorbar=colorbar))
    assert inside(plot.heatmap(maps[names[0]][0], title=names[0] * 3, colorbar=colorbar).figure)


def test_names_of_classes_are_told_whole(rng):
    title = (
        "photo\nclass 235 (German shepherd, German shepherd dog, German police dog), logit 12.34"
    )
    figure = plot.grid(
        rng.uniform(size=(1, 8, 8, 3)), {"rap": rng.normal(size=(1, 8, 8))}, row_titles=[title]
    )
    assert " ".join(figure.axes[0].get_ylabel().split()) == " ".join(title.split())
    assert inside(figure)


def test_names_of_classes_are_whole_above_a_column(rng):
    title = "class 235 (German shepherd, German police dog), logit 12.34, probability 98.7%"
    figure = plot.grid(rng.uniform(size=(1, 8, 8, 3)), {title: rng.normal(size=(1, 8, 8))})
    assert " ".join(figure.axes[1].get_title().split()) == title
    assert inside(figure)


def test_titles_of_rows_leave_no_empty_space_above_and_below(rng):
    titles = ["photo\nclass 235 (German shepherd), logit 12.34, probability 98.7%"] * 8
    maps = {"rap": rng.normal(size=(8, 8, 8))}
    figure = plot.grid(rng.uniform(size=(8, 8, 8, 3)), maps, row_titles=titles, caption="vgg16")
    figure.draw_without_rendering()
    assert figure.get_tightbbox().height > 0.97 * figure.get_size_inches()[1]


def test_lines_end_behind_words_and_signs():
    assert wrapped("stage1_block2/multiply", 1.1) == "stage1_block2/\nmultiply"
    assert wrapped("a b", 2) == "a b"
    assert wrapped("", 1) == ""
    first, second = wrapped("word " * 40, 1).split("\n")
    assert "…" not in first
    assert "…" in second


@pytest.fixture
def sign_of_another_font():
    """A sign that matplotlib's own font lacks and another of its fonts has."""
    usual = fonts._signs(findfont("DejaVu Sans"))
    return chr(min(s for s in fonts._signs(findfont("STIXGeneral")) - usual if s > 0xFF))


def test_a_font_that_has_a_sign_is_found(sign_of_another_font, rng, tmp_path):
    title = f"class {sign_of_another_font}"
    family = fonts.families(title)
    assert family[:-1] == fonts.families("class")
    assert ord(sign_of_another_font) in fonts._signs(findfont(family[-1]))
    ax = plot.heatmap(rng.normal(size=(4, 4)), title=title)
    ax.figure.savefig(tmp_path / "one.png")
    assert ax.title.get_fontfamily() == family


def test_signs_that_no_font_has_are_drawn_without_warnings(rng, tmp_path):
    title = "\N{CJK UNIFIED IDEOGRAPH-6771}\U00012000"
    figure = plot.explanation(
        rng.normal(size=(4, 4)), rng.uniform(size=(4, 4)), title=title, caption=title
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "one.png", bbox_inches="tight")
        figure.draw_without_rendering()
