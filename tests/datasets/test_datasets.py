"""Each data set in its real layout, made small, with masks known by hand."""

import pickle
import re
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from rap_keras.datasets import (
    NO_CLASS,
    cluttered_digit_pairs,
    cluttered_digits,
    open_dataset,
)
from rap_keras.datasets.masks import Box, boxed_sample
from rap_keras.datasets.voc import CLASSES
from rap_keras.errors import InputError
from rap_keras.support.images import read_image, warp_image

HEIGHT, WIDTH = 4, 6
XML = (
    "<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"
)
OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)


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


# Boxes as masks


def boxed(edges, drawn_at, size):
    sample = boxed_sample("a", pixels(0, *drawn_at), [Box("c", edges, drawn_at)], size)
    return sample.objects["c"]


def test_a_box_at_its_own_size_covers_the_pixels_between_its_edges():
    expected = mask("......", ".###..", ".###..", "......")
    np.testing.assert_array_equal(boxed((1, 1, 4, 3), (4, 6), None), expected)


@pytest.mark.parametrize(
    ("edges", "drawn_at", "size", "rows", "columns"),
    [
        # 500 wide to 5: 100 to 1. Centres at 50, 150, 250, 350, 450.
        ((50, 0, 350, 100), (100, 500), (1, 5), [0], [0, 1, 2]),  # 50 is in, 350 is not
        ((51, 0, 351, 100), (100, 500), (1, 5), [0], [1, 2, 3]),
        # Height and width are scaled each by its own factor: centres at 5, 15 and at 10, 30, 50.
        ((9, 6, 31, 20), (20, 60), (2, 3), [1], [0, 1]),
        # Enlarged: 2 pixels become 6, centres at 1/6, 3/6, ... of the old ones.
        ((0.5, 0, 1, 1), (1, 2), (1, 6), [0], [1, 2]),
        # Smaller than a pixel: the one its centre (160 and 20 of 100) lies in.
        ((155, 15, 165, 25), (100, 500), (1, 5), [0], [1]),
        ((160, 20, 160, 20), (100, 500), (1, 5), [0], [1]),
        # On the far edge: the last pixel.
        ((500, 100, 500, 100), (100, 500), (1, 5), [0], [4]),
        ((-7, -7, 160, 900), (100, 500), (1, 5), [0], [0, 1]),  # cut off at the image
    ],
)
def test_boxes_are_scaled_and_hold_the_centres_of_their_pixels(
    edges, drawn_at, size, rows, columns
):
    expected = np.zeros(size, bool)
    expected[np.ix_(rows, columns)] = True
    np.testing.assert_array_equal(boxed(edges, drawn_at, size), expected)


def test_boxes_are_united_by_class():
    boxes = [
        Box("a", (0, 0, 2, 2), (4, 6)),
        Box("b", (1, 0, 3, 1), (4, 6)),
        Box("a", (4, 2, 6, 4), (4, 6)),
    ]
    objects = boxed_sample("x", pixels(), boxes, None).objects
    assert list(objects) == ["a", "b"]
    np.testing.assert_array_equal(objects["a"], mask("##....", "##....", "....##", "....##"))
    np.testing.assert_array_equal(objects["b"], mask(".##...", "......", "......", "......"))


@pytest.mark.parametrize(
    "edges",
    [(4, 1, 2, 3), (1, 3, 2, 1), (7, 1, 8, 2), (-3, 1, -1, 2), (1, 1, float("nan"), 2)],
)
def test_boxes_inside_out_or_off_the_image_are_refused(edges):
    with refused(r"on the image 'a' of width 6 and height 4, got \("):
        boxed(edges, (4, 6), None)


def test_warping_is_that_of_read_image(tmp_path):
    image = pixels(3, 20, 31)
    path = save(tmp_path / "a.png", image)
    np.testing.assert_array_equal(warp_image(image, (7, 9)), read_image(path, (7, 9)))


# ImageNet boxes

CAT, DOG = "n02123045", "n02085620"


@pytest.fixture
def imagenet(tmp_path):
    """Two images, warped to 6 x 4; their boxes drawn at 60 x 40."""
    for i, suffix in ((2, "JPEG"), (1, "png")):
        save(tmp_path / "images" / f"val_{i}.{suffix}", pixels(i))
    folder = tmp_path / "annotations"
    boxes = [(CAT, 0, 0, 20, 20), (DOG, 0, 0, 10, 10), (CAT, 40, 20, 60, 40)]
    annotate(folder / "val_1.xml", *boxes, width=60, height=40)
    annotate(folder / "val_2.xml", width=60, height=40)
    return tmp_path


def test_imagenet_boxes(imagenet):
    dataset = open_dataset(f"imagenet-boxes:{imagenet}")
    assert (dataset.kind, dataset.source) == ("imagenet-boxes", str(imagenet))
    assert dataset.objects == "boxes of the class, united"
    assert list(dataset.names) == ["val_1", "val_2"]

    sample = dataset.read(0)
    assert sample.name == "val_1"
    np.testing.assert_array_equal(sample.image, pixels(1))
    assert set(sample.objects) == {CAT, DOG}
    np.testing.assert_array_equal(sample.objects[CAT], mask("##....", "##....", "....##", "....##"))
    np.testing.assert_array_equal(sample.objects[DOG], mask("#.....", "......", "......", "......"))
    np.testing.assert_array_equal(sample.void, np.zeros((4, 6), bool))
    assert dataset.read(1).objects == {}

    small = dataset.read(0, (2, 3))
    np.testing.assert_array_equal(small.objects[CAT], mask("#..", "..#"))
    np.testing.assert_array_equal(
        small.image, read_image(imagenet / "images" / "val_1.png", (2, 3))
    )
    assert small.void.shape == (2, 3)


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("Data/CLS-LOC/val", "Annotations/CLS-LOC/val"),
        ("ILSVRC/Data/CLS-LOC/val", "ILSVRC/Annotations/CLS-LOC/val"),
        ("val", "bbox/val"),
        ("val", "val"),
        (".", "."),
        (f"val/{CAT}", "annotations"),
        (CAT, "."),
    ],
)
def test_imagenet_boxes_in_every_usual_place(tmp_path, images, annotations):
    for name in ("b", "a"):
        save(tmp_path / images / f"{name}.JPEG", pixels())
        annotate(tmp_path / annotations / f"{name}.xml", (CAT, 0, 0, 1, 1))
    (tmp_path / images / "._a.JPEG").write_bytes(b"of macOS")
    save(tmp_path / "thumbnails" / "c.JPEG", pixels())
    dataset = open_dataset(f"imagenet-boxes:{tmp_path}")
    assert list(dataset.names) == ["a", "b"]
    assert dataset.read(1).objects[CAT].sum() == 1


def test_imagenet_boxes_in_folders_of_classes_are_sorted_together(tmp_path):
    for folder, name in ((CAT, "b"), (DOG, "c"), (CAT, "d"), (DOG, "a")):
        save(tmp_path / "val" / folder / f"{name}.JPEG", pixels())
        annotate(tmp_path / "annotations" / f"{name}.xml", (folder, 0, 0, 1, 1))
    dataset = open_dataset(f"imagenet-boxes:{tmp_path}")
    assert list(dataset.names) == ["a", "b", "c", "d"]
    assert [list(dataset.read(i).objects) for i in range(4)] == [[DOG], [CAT], [DOG], [CAT]]
    save(tmp_path / "val" / DOG / "b.JPEG", pixels())
    with refused("Expected one file 'b'.*rename or remove"):
        open_dataset(f"imagenet-boxes:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "no element found"),
        ("", "no element found"),
        (XML.format(width="", height=4, objects=""), "no size/width"),
        (XML.format(width=6, height="x", objects=""), "'x'"),
        (XML.format(width=6, height=4, objects="<object><name>n1</name></object>"), "no bndbox"),
        (XML.format(width=6, height=4, objects=OBJECT.format("", 0, 0, 1, 1)), "no name"),
        (XML.format(width=6, height=4, objects=OBJECT.format("n1", 0, "?", 1, 1)), r"'\?'"),
        (XML.format(width=6, height=0, objects=OBJECT.format("n1", 0, 0, 1, 1)), "height 0"),
    ],
)
def test_a_damaged_annotation_is_refused_for_its_image_only(imagenet, text, message):
    write(imagenet / "annotations" / "val_1.xml", text)
    dataset = open_dataset(f"imagenet-boxes:{imagenet}")
    with refused(f"'val_1'.*{message}"):
        dataset.read(0)
    assert dataset.read(1).name == "val_2"


def test_missing_boxes_and_damaged_images_are_refused_at_reading(imagenet):
    (imagenet / "annotations" / "val_1.xml").unlink()
    (imagenet / "images" / "val_2.JPEG").write_bytes(b"no image")
    dataset = open_dataset(f"imagenet-boxes:{imagenet}")
    with refused(r"boxes of the image 'val_1' are missing; add val_1\.xml"):
        dataset.read(0)
    with refused("val_2.JPEG' is not an image"):
        dataset.read(1)


def test_an_image_that_exif_turns_is_refused(imagenet):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(imagenet / "images" / "val_1.png", pixels(1), exif=exif)
    annotate(imagenet / "annotations" / "val_1.xml", (CAT, 0, 0, 1, 1))
    with refused("'val_1'.*width 4 and height 6, got width 6 and height 4.*EXIF"):
        open_dataset(f"imagenet-boxes:{imagenet}").read(0, (5, 5))


def test_imagenet_boxes_without_images_or_annotations_are_refused(tmp_path):
    with refused("There is no folder"):
        open_dataset(f"imagenet-boxes:{tmp_path / 'none'}")
    with refused(r"Expected images \(.*got none"):
        open_dataset(f"imagenet-boxes:{tmp_path}")
    save(tmp_path / "images" / "a.JPEG", pixels())
    with refused("Expected XML files.*got none"):
        open_dataset(f"imagenet-boxes:{tmp_path}")


def test_a_folder_that_cannot_be_read_is_refused(imagenet, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", forbid)
    with refused(r"images' cannot be read \(Permission denied\)"):
        open_dataset(f"imagenet-boxes:{imagenet}")


def test_opening_lists_files_and_reads_none(tmp_path):
    for folder, suffix in (("images", "JPEG"), ("annotations", "xml")):
        (tmp_path / folder).mkdir()
        for i in range(2000):
            (tmp_path / folder / f"val_{i:05}.{suffix}").touch()  # empty: reading would fail
    dataset = open_dataset(f"imagenet-boxes:{tmp_path}")
    assert len(dataset.names) == 2000


def test_one_image_at_a_time_is_in_memory(tmp_path):
    size = (500, 500)
    for i in range(5):
        save(tmp_path / "images" / f"{i}.png", np.full((*size, 3), i, np.uint8))
        save(tmp_path / "masks" / f"{i}.png", np.full(size, 255, np.uint8))
    dataset = open_dataset(f"folder:{tmp_path}")
    dataset.read(0)
    tracemalloc.start()
    for i in range(5):
        assert dataset.read(i).image[0, 0, 0] == i
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 500 * 500


# ImageNet segmentation


def text_cell(file, name, text):
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
                    [text_cell(file, f"{field}{i}", t) for i, t in enumerate(texts)]
                )
    return path


FIRST = mask("##....", "#.....", "......", "....#.")
SECOND = mask("......", ".####.", ".####.", "......")


def save_gtsegs(path, **fields):
    masks = [[FIRST.astype(np.uint8), SECOND.astype(np.uint8)], [SECOND.astype(np.uint8)]]
    return save_mat(path, [pixels(1), pixels(2)], masks, **fields)


def test_imagenet_segmentation(tmp_path):
    ids = ["n02123045_77", "n02085620_5"]
    path = save_gtsegs(tmp_path / "gtsegs_ijcv.mat", ids=ids, targets=["n02121808", "n02085374"])
    dataset = open_dataset(f"imagenet-segmentation:{path}")
    assert (dataset.kind, dataset.source) == ("imagenet-segmentation", str(path))
    assert list(dataset.names) == ids
    sample = dataset.read(0)
    assert sample.name == ids[0]
    np.testing.assert_array_equal(sample.image, pixels(1))
    assert list(sample.objects) == ["n02121808"]
    np.testing.assert_array_equal(sample.objects["n02121808"], FIRST)  # the first of two
    assert not sample.void.any()
    assert sample.void.shape == (4, 6)
    np.testing.assert_array_equal(dataset.read(1).objects["n02085374"], SECOND)

    small = dataset.read(0, (2, 3))  # centres fall on pixels 1 and 3 of 4, 1, 3 and 5 of 6
    np.testing.assert_array_equal(small.image, warp_image(pixels(1), (2, 3)))
    assert small.objects == {}
    np.testing.assert_array_equal(dataset.read(1, (2, 3)).objects["n02085374"], mask("##.", "..."))


def test_imagenet_segmentation_without_targets_or_ids(tmp_path):
    path = save_gtsegs(tmp_path / "a.mat", ids=["n02123045_77", "odd"])
    dataset = open_dataset(f"imagenet-segmentation:{path}")
    assert list(dataset.read(0).objects) == ["n02123045"]
    assert list(dataset.read(1).objects) == [NO_CLASS]
    dataset = open_dataset(f"imagenet-segmentation:{save_gtsegs(tmp_path / 'b.mat')}")
    assert list(dataset.names) == ["0000", "0001"]
    assert list(dataset.read(1).objects) == [NO_CLASS]


def test_other_files_are_no_imagenet_segmentation(tmp_path):
    with refused("There is no file"):
        open_dataset(f"imagenet-segmentation:{tmp_path / 'none.mat'}")
    write(tmp_path / "old.mat", "MATLAB 5.0 MAT-file")
    with refused("Expected a MATLAB 7.3.*got .*old.mat"):
        open_dataset(f"imagenet-segmentation:{tmp_path / 'old.mat'}")
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["value/img"] = 1
    with refused("got a file of another layout"):
        open_dataset(f"imagenet-segmentation:{tmp_path / 'other.mat'}")
    with refused("got 0 and 0"):
        open_dataset(f"imagenet-segmentation:{save_mat(tmp_path / 'empty.mat', [], [])}")
    with refused("got 1 and 0"):
        path = save_mat(tmp_path / "unequal.mat", [pixels()], [])
        open_dataset(f"imagenet-segmentation:{path}")


def test_a_damaged_image_in_the_file_is_refused_alone(tmp_path):
    good = [FIRST.astype(np.uint8)]
    images = [pixels(), pixels()[..., 0], pixels(), pixels()]
    masks = [good, good, [FIRST.T.astype(np.uint8)], []]
    names = ["good", "grey", "turned", "unsegmented"]
    path = save_mat(tmp_path / "a.mat", images, masks, ids=names)
    dataset = open_dataset(f"imagenet-segmentation:{path}")
    np.testing.assert_array_equal(dataset.read(0).objects[NO_CLASS], FIRST)
    with refused(r"Expected the image 'grey'.*got uint8 \(4, 6\)"):
        dataset.read(1)
    with refused("mask of the image 'turned'.*width 6 and height 4, got width 4 and height 6"):
        dataset.read(2)
    with refused("The image 'unsegmented' in .* cannot be read"):
        dataset.read(3)


# Pascal VOC

IDS = np.array(
    [[255, 255, 0, 0, 0, 0], [8, 8, 255, 0, 0, 0], [8, 8, 255, 0, 0, 0], [0, 0, 0, 0, 0, 20]]
)


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for i, name in enumerate(("2007_02", "2007_01", "2007_03", "unsegmented")):
        save(root / "JPEGImages" / f"{name}.jpg", pixels(i))
    save_palette(root / "SegmentationClass" / "2007_01.png", IDS)
    save_palette(root / "SegmentationClass" / "2007_02.png", np.zeros((4, 6)))
    save_palette(root / "SegmentationClass" / "2007_03.png", np.ones((4, 6)))
    return root


def test_voc(voc):
    dataset = open_dataset(f"voc:{voc}")
    assert (dataset.kind, dataset.source) == ("voc", str(voc))
    assert list(dataset.names) == ["2007_01", "2007_02", "2007_03"]
    sample = dataset.read(0)
    np.testing.assert_array_equal(sample.image, read_image(voc / "JPEGImages" / "2007_01.jpg"))
    assert set(sample.objects) == {"cat", "tvmonitor"}
    np.testing.assert_array_equal(
        sample.objects["cat"], mask("......", "##....", "##....", "......")
    )
    np.testing.assert_array_equal(
        sample.objects["tvmonitor"], mask("......", "......", "......", ".....#")
    )
    np.testing.assert_array_equal(sample.void, mask("##....", "..#...", "..#...", "......"))
    assert dataset.read(1).objects == {}
    assert dataset.read(2).objects["aeroplane"].all()


def test_voc_at_another_size_by_nearest_neighbour(voc):
    dataset = open_dataset(f"voc:{voc}")
    small = dataset.read(0, (2, 2))  # centres fall on rows 1 and 3 and columns 1 and 4
    np.testing.assert_array_equal(small.objects["cat"], mask("#.", ".."))
    assert set(small.objects) == {"cat"}  # the television is gone
    np.testing.assert_array_equal(small.void, mask("..", ".."))
    large = dataset.read(0, (8, 12))
    np.testing.assert_array_equal(large.void, np.kron(IDS == 255, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(
        large.objects["tvmonitor"], np.kron(IDS == 20, np.ones((2, 2), bool))
    )
    np.testing.assert_array_equal(
        large.image, read_image(voc / "JPEGImages" / "2007_01.jpg", (8, 12))
    )


def test_the_classes_of_voc():
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)
    assert (CLASSES[7], CLASSES[14]) == ("cat", "person")


@pytest.mark.parametrize("above", ["VOCdevkit", "."])
def test_voc_is_found_below_the_folder(voc, tmp_path, above):
    assert len(open_dataset(f"voc:{tmp_path / above}").names) == 3


def test_the_lists_of_voc_count_if_they_are_there(voc):
    lists = voc / "ImageSets" / "Segmentation"
    write(lists / "val.txt", "2007_03\n2007_01\n\n")
    write(lists / "train.txt", "unsegmented\n2007_02\n")
    assert list(open_dataset(f"voc:{voc}").names) == ["2007_03", "2007_01"]
    train = open_dataset(f"voc:{voc}:train")
    assert list(train.names) == ["unsegmented", "2007_02"]
    assert train.read(1).objects == {}
    with refused(
        r"'unsegmented' has no mask; expected the file .*SegmentationClass/unsegmented\.png"
    ):
        train.read(0)
    with refused("no such text file"):
        open_dataset(f"voc:{voc}:test")
    write(lists / "val.txt", "\n")
    with refused("Expected images with masks.*got none"):
        open_dataset(f"voc:{voc}")


def test_damaged_masks_and_images_of_voc_are_refused(voc):
    masks = voc / "SegmentationClass"
    save(masks / "2007_01.png", pixels())
    save_palette(masks / "2007_02.png", np.full((4, 6), 21))
    save_palette(masks / "2007_03.png", np.ones((5, 6)))
    dataset = open_dataset(f"voc:{voc}")
    with refused("'2007_01' to have Pillow's mode P or L, got RGB"):
        dataset.read(0)
    with refused("values 0 to 20 and 255.*'2007_02', got 21"):
        dataset.read(1)
    with refused("'2007_03'.*width 6 and height 4, got width 6 and height 5"):
        dataset.read(2, (4, 4))
    whole = (masks / "2007_03.png").read_bytes()
    (masks / "2007_03.png").write_bytes(whole[: len(whole) // 2])
    with refused("2007_03.png' of the image '2007_03' is truncated"):
        dataset.read(2)
    (voc / "JPEGImages" / "2007_03.jpg").write_bytes(b"")
    with refused("2007_03.jpg' is empty"):
        dataset.read(2)


def test_an_unpaletted_mask_of_voc_holds_ids_too(voc):
    save(voc / "SegmentationClass" / "2007_01.png", IDS.astype(np.uint8))
    sample = open_dataset(f"voc:{voc}").read(0)
    np.testing.assert_array_equal(sample.objects["cat"], IDS == 8)


def test_other_folders_are_no_voc(tmp_path):
    with refused("There is no folder"):
        open_dataset(f"voc:{tmp_path / 'none'}")
    with refused("Expected the folders JPEGImages and SegmentationClass"):
        open_dataset(f"voc:{tmp_path}")
    for name in ("JPEGImages", "SegmentationClass"):
        (tmp_path / name).mkdir()
    with refused("Expected images with masks.*got none"):
        open_dataset(f"voc:{tmp_path}")


# Folders of one's own

GREY = np.array([[0, 127, 128, 255, 0, 0], *[[0] * 6] * 3], np.uint8)


@pytest.fixture
def masked(tmp_path):
    save(tmp_path / "images" / "b.png", pixels(1))
    save(tmp_path / "images" / "a.jpg", pixels(2))
    save(tmp_path / "masks" / "b.png", GREY)
    save(tmp_path / "masks" / "a.png", FIRST)  # of one bit
    return tmp_path


def test_folder_of_masks(masked):
    dataset = open_dataset(f"folder:{masked}")
    assert (dataset.kind, dataset.source) == ("folder", str(masked))
    assert dataset.objects == "pixels of the object"
    assert list(dataset.names) == ["a", "b"]
    sample = dataset.read(1)
    np.testing.assert_array_equal(sample.image, pixels(1))
    assert list(sample.objects) == [NO_CLASS]
    np.testing.assert_array_equal(
        sample.objects[NO_CLASS], mask("..##..", "......", "......", "......")
    )
    assert not sample.void.any()
    np.testing.assert_array_equal(dataset.read(0).objects[NO_CLASS], FIRST)
    np.testing.assert_array_equal(
        dataset.read(1, (8, 12)).objects[NO_CLASS], np.kron(GREY > 127, np.ones((2, 2), bool))
    )


def test_masks_in_colour_or_with_a_palette_count_by_their_brightness(masked):
    white = np.repeat(255 * FIRST[..., np.newaxis].astype(np.uint8), 3, axis=2)
    save(masked / "masks" / "b.png", white)
    np.testing.assert_array_equal(open_dataset(f"folder:{masked}").read(1).objects[NO_CLASS], FIRST)
    image = Image.fromarray(FIRST.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(masked / "masks" / "b.png")
    np.testing.assert_array_equal(open_dataset(f"folder:{masked}").read(1).objects[NO_CLASS], FIRST)


def test_an_all_black_mask_has_no_object(masked):
    save(masked / "masks" / "b.png", np.zeros((4, 6), np.uint8))
    assert open_dataset(f"folder:{masked}").read(1).objects == {}


def test_labels_name_the_classes(masked):
    table = write(masked / "labels.csv", "\ufeffname,class,size\na.jpg, cat ,3\nb,dog\n")
    dataset = open_dataset(f"folder:{masked}")
    assert [list(dataset.read(i).objects) for i in range(2)] == [["cat"], ["dog"]]
    write(table, "name,class\na,\n")
    dataset = open_dataset(f"folder:{masked}")
    assert list(dataset.read(0).objects) == [NO_CLASS]
    with refused("Expected a row for the image 'b' in labels.csv"):
        dataset.read(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,class\n", "columns name, class in .*got file, class; add name"),
        (b"", "got an empty file; add name, class"),
        (b"name,class\na,\xff\n", "to be UTF-8 text"),
        (b"name,class\na,cat\na,dog\n", "one class for the image 'a'.*line 3"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(masked, content, message):
    (masked / "labels.csv").write_bytes(content)
    with refused(message):
        open_dataset(f"folder:{masked}")


def test_masks_that_cannot_be_used_are_refused(masked):
    dataset = open_dataset(f"folder:{masked}")
    path = masked / "masks" / "b.png"
    save(path, FIRST.astype(np.uint8))
    with refused("'b', got 1 at most; save it with 0 and 255"):
        dataset.read(1)
    save(path, np.zeros((4, 5), np.uint8))
    with refused("'b'.*width 6 and height 4, got width 5 and height 4"):
        dataset.read(1)
    save(path, np.zeros((4, 6, 4), np.uint8))
    with refused("'b'.*got RGBA"):
        dataset.read(1)
    path.write_bytes(b"no image")
    with refused("b.png' of the image 'b' is not an image"):
        dataset.read(1)
    path.unlink()
    with refused(r"'b' has no mask; expected the file .*masks/b\.png"):
        dataset.read(1)


def test_images_of_one_name_are_refused(masked):
    save(masked / "images" / "a.png", pixels())
    with refused("Expected one file 'a'.*rename or remove"):
        open_dataset(f"folder:{masked}")


@pytest.fixture
def tabled(tmp_path):
    save(tmp_path / "b.png", pixels(1))
    save(tmp_path / "a.png", pixels(2))
    save(tmp_path / "unnamed.png", pixels(3))
    write(
        tmp_path / "boxes.csv",
        "image,x_min,y_min,x_max,y_max,class,width,height\n"
        "b.png,0,0,20,20,cat,60,40\nb.png,0,0,1,1,dog,,\nb.png,4,2,6,4,cat,,\na.png,0,0,6,4,cat,,\n",
    )
    return tmp_path


def check_tabled(dataset):
    assert list(dataset.names) == ["a.png", "b.png"]
    sample = dataset.read(1)
    np.testing.assert_array_equal(sample.image, pixels(1))
    assert set(sample.objects) == {"cat", "dog"}
    np.testing.assert_array_equal(
        sample.objects["cat"], mask("##....", "##....", "....##", "....##")
    )
    np.testing.assert_array_equal(
        sample.objects["dog"], mask("#.....", "......", "......", "......")
    )
    assert dataset.read(0).objects["cat"].all()
    small = dataset.read(1, (2, 3))
    np.testing.assert_array_equal(small.objects["cat"], mask("#..", "..#"))
    np.testing.assert_array_equal(small.image, warp_image(pixels(1), (2, 3)))
    assert (sample.void.shape, small.void.shape) == ((4, 6), (2, 3))


def test_folder_of_boxes(tabled):
    dataset = open_dataset(f"folder:{tabled}")
    assert (dataset.kind, dataset.source) == ("folder", str(tabled))
    assert dataset.objects == "boxes of the class, united"
    check_tabled(dataset)
    (tabled / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tabled / name).rename(tabled / "images" / name)
    check_tabled(open_dataset(f"folder:{tabled}"))


def test_boxes_without_classes(tabled):
    write(tabled / "boxes.csv", "image,x_min,y_min,x_max,y_max\na.png,1.5,1,3,2\n")
    objects = open_dataset(f"folder:{tabled}").read(0).objects
    assert list(objects) == [NO_CLASS]
    np.testing.assert_array_equal(objects[NO_CLASS], mask("......", ".##...", "......", "......"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.png,0,zero,1,1", "'b.png' in line 3 .*got 'zero'"),
        ("b.png,0,0", "'b.png' in line 3 .*got ''"),
        ("b.png,3,0,1,1", "on the image 'b.png'"),
        ("b.png,nan,0,1,1", "on the image 'b.png'"),
        ("c.png,0,0,1,1", "There is no image .*c.png"),
    ],
)
def test_a_bad_row_is_refused_for_its_image_only(tabled, row, message):
    write(tabled / "boxes.csv", f"image,x_min,y_min,x_max,y_max\na.png,0,0,1,1\n{row}\n")
    dataset = open_dataset(f"folder:{tabled}")
    assert dataset.read(0).objects[NO_CLASS].sum() == 1
    with refused(message):
        dataset.read(1)


def test_tables_of_boxes_that_cannot_be_used_are_refused(tabled):
    write(tabled / "boxes.csv", "image,xmin,y_min,x_max,y_max\n")
    with refused("got image, xmin, .*add x_min"):
        open_dataset(f"folder:{tabled}")
    write(tabled / "boxes.csv", "image,x_min,y_min,x_max,y_max\n")
    with refused("Expected rows with boxes"):
        open_dataset(f"folder:{tabled}")


def test_a_folder_has_either_masks_or_boxes(tabled, tmp_path):
    (tabled / "masks").mkdir()
    with refused("got both; remove one"):
        open_dataset(f"folder:{tabled}")
    (tabled / "boxes.csv").unlink()
    with refused(r"Expected images \(.*got none"):
        open_dataset(f"folder:{tabled}")
    (tabled / "masks").rmdir()
    with refused("got neither; add one"):
        open_dataset(f"folder:{tabled}")
    with refused("There is no folder"):
        open_dataset(f"folder:{tmp_path / 'none'}")


# Cluttered digits


def test_digits_are_those_of_cluttered_digits():
    scenes = cluttered_digits(4)
    dataset = open_dataset("cluttered-digits:4")
    assert (dataset.kind, dataset.source) == ("cluttered-digits", "")
    assert list(dataset.names) == ["scene-00000", "scene-00001", "scene-00002", "scene-00003"]
    for i in (3, 0, 1, 2):
        sample = dataset.read(i)
        assert sample.name == dataset.names[i]
        np.testing.assert_array_equal(sample.image, scenes.images[i])
        assert list(sample.objects) == [str(scenes.labels[i])]
        np.testing.assert_array_equal(sample.objects[str(scenes.labels[i])], scenes.masks[i])
        assert not sample.void.any()
    twice = dataset.read(2, (128, 128))
    np.testing.assert_array_equal(
        twice.objects[str(scenes.labels[2])], np.kron(scenes.masks[2], np.ones((2, 2), bool))
    )
    np.testing.assert_array_equal(twice.image, warp_image(scenes.images[2], (128, 128)))
    assert twice.void.shape == (128, 128)
    with pytest.raises(IndexError):
        dataset.read(4)


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
        with refused(f"Expected 1 to 100000 scenes, got {count}"):
            open_dataset(f"{kind}:{count}")
    for count in ("many", "1.5", "9" * 5000):
        with refused(f"Expected a number of scenes after '{kind}:'"):
            open_dataset(f"{kind}:{count}")


def test_pairs_of_digits_are_read_with_the_scenes_without_each():
    pairs = cluttered_digit_pairs(3)
    dataset = open_dataset("cluttered-digit-pairs:3")
    sample = dataset.read(2)
    np.testing.assert_array_equal(sample.image, pairs.images[2])
    assert list(sample.objects) == list(sample.without) == [str(d) for d in pairs.labels[2]]
    for k, label in enumerate(sample.objects):
        np.testing.assert_array_equal(sample.objects[label], pairs.masks[2, k])
        np.testing.assert_array_equal(sample.without[label], pairs.without[2, k])
    larger = dataset.read(2, (96, 96))
    for k, label in enumerate(larger.without):
        np.testing.assert_array_equal(
            larger.without[label], warp_image(pairs.without[2, k], (96, 96))
        )


# Specifications


def test_unknown_kinds_are_refused_with_the_nearest():
    kinds = (
        "imagenet-boxes:DIR, imagenet-segmentation:FILE.mat, voc:DIR, folder:DIR, "
        r"cluttered-digits\[:N\], cluttered-digit-pairs\[:N\]"
    )
    with refused(f"Expected one of {kinds}, got 'imagenet_boxes:x'; did you mean 'imagenet-boxes'"):
        open_dataset("imagenet_boxes:x")
    with refused("got 'zzz'; use one of these kinds"):
        open_dataset("zzz")


@pytest.mark.parametrize("kind", ["imagenet-boxes", "imagenet-segmentation", "voc", "folder"])
def test_a_kind_without_a_path_is_refused(kind):
    for specification in (kind, f"{kind}:"):
        with refused(f"Expected {kind}:.*got '{specification}'; say where"):
            open_dataset(specification)


def test_a_bare_path_is_refused_with_the_kind_it_looks_like(imagenet, tmp_path_factory):
    with refused(f"kind of the data set before its path .*like imagenet-boxes:{imagenet}\\.?$"):
        open_dataset(str(imagenet))
    path = save_gtsegs(tmp_path_factory.mktemp("mat") / "a.mat")
    with refused(f"like imagenet-segmentation:{path}"):
        open_dataset(str(path))
    with refused("put the kind and a colon in front"):
        open_dataset(str(tmp_path_factory.mktemp("empty")))
    with refused("put the kind and a colon in front"):
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


# All


@pytest.mark.parametrize("layout", ["imagenet", "gtsegs", "voc", "masked", "tabled", "digits"])
def test_data_sets_can_be_pickled_even_after_reading(layout, request, tmp_path):
    if layout == "digits":
        dataset = open_dataset("cluttered-digits:3")
    elif layout == "gtsegs":
        dataset = open_dataset(f"imagenet-segmentation:{save_gtsegs(tmp_path / 'a.mat')}")
    else:
        kind = {"imagenet": "imagenet-boxes", "voc": "voc"}.get(layout, "folder")
        dataset = open_dataset(f"{kind}:{request.getfixturevalue(layout)}")
    before = dataset.read(0)
    copy = pickle.loads(pickle.dumps(dataset))
    assert type(copy) is type(dataset)
    assert (copy.kind, copy.source, copy.objects) == (dataset.kind, dataset.source, dataset.objects)
    assert list(copy.names) == list(dataset.names)
    after = copy.read(0)
    np.testing.assert_array_equal(after.image, before.image)
    assert list(after.objects) == list(before.objects)
    for label in before.objects:
        np.testing.assert_array_equal(after.objects[label], before.objects[label])


@pytest.mark.parametrize("folder", ["", "images", "images/sub"])
def test_boxes_of_images_told_without_their_endings(tmp_path, folder):
    place = tmp_path / folder
    for name, value in (("a.png", 2), ("b.v2.PNG", 1)):
        save(place / name, pixels(value))
    start = "sub/" if folder.endswith("sub") else ""
    rows = [f"{start}{name},0,0,1,1" for name in ("a", "a.png", "b.v2")]
    write(tmp_path / "boxes.csv", "\n".join(["image,x_min,y_min,x_max,y_max", *rows]))
    dataset = open_dataset(f"folder:{tmp_path}")
    assert list(dataset.names) == [f"{start}a.png", f"{start}b.v2.PNG"]
    np.testing.assert_array_equal(dataset.read(1).image, pixels(1))
    save(place / "a.bmp", pixels(3))
    with refused("one image called '.*a' in line 2 .*got a.bmp and a.png; add the extension"):
        open_dataset(f"folder:{tmp_path}")


def test_a_missing_image_is_looked_for_where_the_images_are(tabled):
    write(tabled / "boxes.csv", "image,x_min,y_min,x_max,y_max\nc,0,0,1,1\nd.png,0,0,1,1\n")
    for place in (tabled, tabled / "images"):
        place.mkdir(exist_ok=True)
        dataset = open_dataset(f"folder:{tabled}")
        for k, name in enumerate(("c", "d.png")):
            with refused(f"There is no image '{place / name}'"):
                dataset.read(k)
