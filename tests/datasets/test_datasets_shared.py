"""The real data sets of the folder `shared` beside the project."""

import csv

import numpy as np
import pytest
from helpers.shared_data import SHARED, needs_shared

from rap_keras.datasets import NO_CLASS, open_dataset

DATA = SHARED / "data"

pytestmark = needs_shared


def table(folder):
    with (DATA / folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("folder", "count"), [("imagenet_val_boxes", 366), ("imagenette_val_boxes", 138)]
)
def test_imagenet_boxes(folder, count):
    dataset = open_dataset(f"imagenet-boxes:{DATA / folder}")
    rows = table(folder)
    assert list(dataset.names) == [row["id"] for row in rows]
    assert len(rows) == count
    for i, row in enumerate(rows):
        sample = dataset.read(i)
        assert list(sample.objects) == [row["synset"]]
        share = sample.objects[row["synset"]].mean()
        assert share == pytest.approx(float(row["box_area_fraction"]), abs=0.01), row["id"]


def test_voc():
    dataset = open_dataset(f"voc:{DATA / 'voc2012_val_seg'}")
    rows = table("voc2012_val_seg")
    assert list(dataset.names) == [row["id"] for row in rows]
    assert len(rows) == 117
    for i, row in enumerate(rows):
        sample = dataset.read(i)
        assert sample.image.shape == (int(row["height"]), int(row["width"]), 3)
        assert sorted(sample.objects) == sorted(row["classes"].split(";"))
        assert sample.void.any()
        objects = np.logical_or.reduce(list(sample.objects.values()))
        assert not (objects & sample.void).any()
        share = objects.sum() / (~sample.void).sum()  # the table leaves void out
        assert share == pytest.approx(float(row["foreground_fraction"]), abs=0.002), row["id"]


def test_ecssd():
    dataset = open_dataset(f"folder:{DATA / 'ecssd_seg'}")
    assert len(dataset.names) == 60
    for i in range(60):
        sample = dataset.read(i, (100, 120))
        assert sample.image.shape == (100, 120, 3)
        assert 0.01 < sample.objects[NO_CLASS].mean() < 0.95
