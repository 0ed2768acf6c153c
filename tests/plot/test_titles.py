"""Titles are plain text, and have the room that there is."""

import os

import pytest

from rap_keras import plot
from rap_keras.errors import InputError
from rap_keras.plot.drawing import shortened
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
    for title in TITLES:
        plot.explanation(maps[title][0], images[0], title=title).savefig(tmp_path / "one.png")
        plot.heatmap(maps[title][0], title=title).figure.savefig(tmp_path / "one.png")
        plot.layers({title: maps[title][:1]}).savefig(tmp_path / "one.png")


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_long_names_do_not_overlap(shape, rng, tmp_path):
    names = [f"{'a_long_name_' * 5}{k}" for k in range(4)]
    maps = {name: rng.normal(size=(4, *shape, 3)) for name in names}
    images = rng.uniform(size=(4, *shape, 3))
    layer_maps = {name: batch[:1] for name, batch in maps.items()}
    for figure in (plot.grid(images, maps, row_titles=names), plot.layers(layer_maps)):
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


def test_what_cannot_be_shown_has_a_sign():
    assert printable("plain, ünïcode\n") == "plain, ünïcode\n"
    assert printable(f"{UNDECODED}\x00\t") == "caf" + 3 * "\N{REPLACEMENT CHARACTER}"


def test_a_grid_of_an_array_is_told_what_it_needs(rng):
    maps = rng.normal(size=(2, 4, 4, 3))
    with pytest.raises(InputError, match=r"Expected maps as a dict of titles .* got ndarray"):
        plot.grid(None, maps)
