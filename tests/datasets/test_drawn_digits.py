"""Cluttered digits as a data set."""

import pytest
from helpers.image_files import check_dataset, check_objects, refused, same, twice

from rap_keras.datasets import cluttered_digit_pairs, cluttered_digits, open_dataset
from rap_keras.support.images import warp_image


def test_digits_are_those_of_cluttered_digits():
    scenes = cluttered_digits(4)
    labels = [str(label) for label in scenes.labels]
    samples = {f"scene-0000{k}": (scenes.images[k], {labels[k]: scenes.masks[k]}) for k in range(4)}
    words = "pixels of the digit"
    dataset = check_dataset("cluttered-digits:4", words, samples, (128, 128), source="")
    check_objects(dataset.read(2, (128, 128)), **{labels[2]: twice(scenes.masks[2])})
    with pytest.raises(IndexError):
        dataset.read(4)


def test_pairs_of_digits_are_read_with_the_scenes_without_each():
    pairs = cluttered_digit_pairs(3)
    samples = {
        f"scene-0000{k}": (
            pairs.images[k],
            {str(label): pairs.masks[k, i] for i, label in enumerate(pairs.labels[k])},
        )
        for k in range(3)
    }
    words = "pixels of each of two digits"
    dataset = check_dataset("cluttered-digit-pairs:3", words, samples, (96, 96), source="")
    sample, larger = dataset.read(2), dataset.read(2, (96, 96))
    assert list(sample.without) == list(larger.without) == list(sample.objects)
    for k, label in enumerate(sample.without):
        same(sample.without[label], pairs.without[2, k])
        same(larger.without[label], warp_image(pairs.without[2, k], (96, 96)))


def test_reading_a_digit_draws_no_other(monkeypatch):
    from rap_keras.datasets.cluttered_digits import DrawnDigits, draw

    drawn = []

    def spy(index, seed, split, count):
        drawn.append((index, split))
        return draw(index, seed, split, count)

    monkeypatch.setitem(DrawnDigits.read.__globals__, "draw", spy)
    open_dataset("cluttered-digits").read(99)
    assert drawn == [(99, "test")]


@pytest.mark.parametrize("kind", ["cluttered-digits", "cluttered-digit-pairs"])
def test_the_number_of_digits(kind):
    assert len(open_dataset(kind).names) == 100
    for count in ("0", "-1", "100001"):
        with refused(f"Expected from 1 to 100000 scenes, got {count}"):
            open_dataset(f"{kind}:{count}")
    for count in ("many", "1.5", "9" * 5000):
        with refused(f"Expected a number of scenes after '{kind}:'"):
            open_dataset(f"{kind}:{count}")
