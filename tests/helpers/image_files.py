"""Small data sets in their real layouts, and checks of every data set."""

import pickle
import re

import h5py
import numpy as np
import pytest
from PIL import Image

from rap_keras.datasets import open_dataset
from rap_keras.errors import InputError
from rap_keras.support.images import warp_image

HEIGHT, WIDTH = 4, 6
XML = (
    "<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"
)
OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)
CAT, DOG = "n02123045", "n02085620"
GREY = np.array([[0, 127, 128, 255, 0, 0], *[[0] * 6] * 3], np.uint8)
IDS = np.array(
    [[255, 255, 0, 0, 0, 0], [8, 8, 255, 0, 0, 0], [8, 8, 255, 0, 0, 0], [0, 0, 0, 0, 0, 20]]
)
"""Of VOC's classes."""

same = np.testing.assert_array_equal


def pixels(seed=0, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def annotate(path, *objects, width=WIDTH, height=HEIGHT):
    boxes = "".join(OBJECT.format(*each) for each in objects)
    return write(path, XML.format(width=width, height=height, objects=boxes))


def mask(*rows):
    """A mask drawn with # and any other sign."""
    return np.array([[sign == "#" for sign in row] for row in rows])


def save_palette(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(ids, np.uint8)).convert("L")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).tolist())
    assert image.mode == "P"
    image.save(path)


def refused(message):
    return pytest.raises(InputError, match=re.compile(message, re.DOTALL))


def twice(array):
    """An array with each element four times."""
    return np.kron(array, np.ones((2, 2), bool))


def check_dataset(specification, words, samples, size=(2, 3), source=None):
    """Names, images and masks, also at another size; a pickled copy has the same.

    Args:
        specification: What to open.
        words: What its masks are, in words.
        samples: Name => image, masks by class, and, where there is any, void.
        size: Another size.
        source: Default: what follows the kind.
    """
    kind, _, place = specification.partition(":")
    opened = open_dataset(specification)
    assert list(opened.names) == list(samples)
    for dataset in (opened, pickle.loads(pickle.dumps(opened))):
        assert (dataset.kind, dataset.objects) == (kind, words)
        assert dataset.source == (place if source is None else source)
        for k in reversed(range(len(samples))):
            sample, other = dataset.read(k), dataset.read(k, size)
            image, objects, *void = samples[dataset.names[k]]
            assert sample.name == other.name == dataset.names[k]
            same(sample.image, image)
            same(other.image, warp_image(image, size))
            check_objects(sample, **objects)
            same(sample.void, void[0] if void else np.zeros(image.shape[:2], bool))
            assert other.void.shape == size
    return opened


def check_objects(sample, **objects):
    """The masks of a sample by class, in this order."""
    assert list(sample.objects) == list(objects)
    for label, expected in objects.items():
        same(sample.objects[label], expected)


# The segmentations of ImageNet


def _text_cell(file, name, text):
    units = np.frombuffer(text.encode("utf-16-le"), np.uint16)
    return file.create_dataset(f"#refs#/{name}", data=units.reshape(-1, 1)).ref


def save_mat(path, images, masks, ids=None, targets=None):
    """MATLAB 7.3's layout: every array transposed, cells are references, cell arrays are (n, 1)."""
    with h5py.File(path, "w", userblock_size=512) as file:

        def cells(references):
            array = np.empty((len(references), 1), h5py.ref_dtype)
            array[:, 0] = references
            return array

        def array(name, value):
            return file.create_dataset(f"#refs#/{name}", data=value.T, compression="gzip").ref

        value = file.create_group("value")
        value["img"] = cells([array(f"i{i}", image) for i, image in enumerate(images)])
        gt = [
            file.create_dataset(
                f"#refs#/g{i}", data=cells([array(f"m{i}_{j}", m) for j, m in enumerate(several)]).T
            ).ref
            for i, several in enumerate(masks)
        ]
        value["gt"] = cells(gt)
        for field, texts in (("id", ids), ("target", targets)):
            if texts is not None:
                value[field] = cells(
                    [_text_cell(file, f"{field}{i}", t) for i, t in enumerate(texts)]
                )
    return path


FIRST = mask("##....", "#.....", "......", "....#.")
SECOND = mask("......", ".####.", ".####.", "......")


def save_gtsegs(path, **fields):
    masks = [[FIRST.astype(np.uint8), SECOND.astype(np.uint8)], [SECOND.astype(np.uint8)]]
    return save_mat(path, [pixels(1), pixels(2)], masks, **fields)
