"""Data sets by their specification."""

from pathlib import Path

import pytest
from helpers.image_files import pixels, refused, save, save_gtsegs

from rap_keras.datasets import open_dataset


def test_unknown_kinds_are_refused_with_the_nearest():
    kinds = (
        "imagenet-boxes:DIR, imagenet-segmentation:FILE.mat, voc:DIR, folder:DIR, "
        r"cluttered-digits\[:N\], cluttered-digit-pairs\[:N\]"
    )
    with refused(f"Expected one of {kinds}, got 'imagenet_boxes:x': did you mean 'imagenet-boxes'"):
        open_dataset("imagenet_boxes:x")
    with refused("got 'zzz': use one of these kinds"):
        open_dataset("zzz")


@pytest.mark.parametrize("kind", ["imagenet-boxes", "imagenet-segmentation", "voc", "folder"])
def test_a_kind_without_a_path_is_refused(kind):
    for specification in (kind, f"{kind}:"):
        with refused(f"Expected {kind}:.*got '{specification}': add the path"):
            open_dataset(specification)


def test_a_bare_path_is_refused_with_the_kind_it_looks_like(imagenet, tmp_path_factory):
    with refused(f"kind of the data set before its path .*like imagenet-boxes:{imagenet}\\.?$"):
        open_dataset(str(imagenet))
    path = save_gtsegs(tmp_path_factory.mktemp("mat") / "a.mat")
    with refused(f"like imagenet-segmentation:{path}"):
        open_dataset(str(path))
    with refused("write the kind and a colon before it"):
        open_dataset(str(tmp_path_factory.mktemp("empty")))
    with refused("write the kind and a colon before it"):
        open_dataset("./nowhere")


def test_bare_paths_of_voc_and_folders(voc, tmp_path):
    with refused(f"like voc:{voc}"):
        open_dataset(str(voc))
    save(tmp_path / "own" / "images" / "a.png", pixels())
    (tmp_path / "own" / "masks").mkdir()
    with refused(f"like folder:{tmp_path / 'own'}"):
        open_dataset(str(tmp_path / "own"))


def test_home_is_expanded(masked, monkeypatch):
    monkeypatch.setenv("HOME", str(masked))
    monkeypatch.setenv("USERPROFILE", str(masked))
    assert Path(open_dataset("folder:~").source) == masked
