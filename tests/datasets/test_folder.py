"""Your own folders of images, with masks or with a table of boxes."""

import tracemalloc

import numpy as np
import pytest
from helpers.image_files import (
    FIRST,
    check_dataset,
    check_objects,
    mask,
    pixels,
    refused,
    same,
    save,
    twice,
    write,
)
from PIL import Image

from rap_keras.datasets import NO_CLASS, open_dataset
from rap_keras.support.images import read_image


def test_folder_of_masks(masked):
    grey = mask("..##..", "......", "......", "......")
    samples = {
        "a": (read_image(masked / "images" / "a.jpg"), {NO_CLASS: FIRST}),
        "b": (pixels(1), {NO_CLASS: grey}),
    }
    dataset = check_dataset(f"folder:{masked}", "pixels of the object", samples)
    check_objects(dataset.read(1, (8, 12)), **{NO_CLASS: twice(grey)})


def test_folder_of_boxes(tabled):
    cats = mask("##....", "##....", "....##", "....##")
    dogs = mask("#.....", "......", "......", "......")
    samples = {
        "a.png": (pixels(2), {"cat": np.ones((4, 6), bool)}),
        "b.png": (pixels(1), {"cat": cats, "dog": dogs}),
    }
    words = "boxes of the class, united"
    check_dataset(f"folder:{tabled}", words, samples)
    (tabled / "images").mkdir()
    for name in samples:
        (tabled / name).rename(tabled / "images" / name)
    dataset = check_dataset(f"folder:{tabled}", words, samples)
    check_objects(dataset.read(1, (2, 3)), cat=mask("#..", "..#"), dog=mask("#..", "..."))


def test_masks_in_colour_or_with_a_palette_count_by_their_brightness(masked):
    white = np.repeat(255 * FIRST[..., np.newaxis].astype(np.uint8), 3, axis=2)
    save(masked / "masks" / "b.png", white)
    same(open_dataset(f"folder:{masked}").read(1).objects[NO_CLASS], FIRST)
    image = Image.fromarray(FIRST.astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(masked / "masks" / "b.png")
    same(open_dataset(f"folder:{masked}").read(1).objects[NO_CLASS], FIRST)


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


def test_masks_of_several_objects(masked):
    files = {
        "left": mask("##....", "##....", "......", "......"),
        "right": mask("......", "....##", "....##", "......"),
        "top": mask("######", "......", "......", "......"),
    }
    for name, pixels_of_object in files.items():
        Image.fromarray(pixels_of_object).save(masked / "masks" / f"{name}.png")
    rows = "name,class,mask\nb,cat,left.png\nb,dog,top.png\nb,cat,right.png\n"
    (masked / "labels.csv").write_text(rows)
    sample = open_dataset(f"folder:{masked}").read(1)
    united = mask("##....", "##..##", "....##", "......")
    check_objects(sample, cat=united, dog=files["top"])
    save(masked / "masks" / "left.png", np.zeros((4, 5), np.uint8))
    with refused("width 6 and height 4, got width 5 and height 4"):
        open_dataset(f"folder:{masked}").read(1)
    (masked / "labels.csv").write_text(rows.replace("\nb,dog", "\nb.png,dog"))
    with refused("one name for the image 'b' .*got b and b.png: use one"):
        open_dataset(f"folder:{masked}").read(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,class\n", "columns name, class in .*got file, class: add name"),
        (b"", "got an empty file: add name, class"),
        (b"name,class\na,\xff\n", "to be UTF-8 text"),
        (b"name,class\na,cat\na,dog\n", "one class for the image 'a'.*line 3"),
        (b"name,class,mask\na,cat,\na,dog,d.png\n", "one class for the image 'a'.*line 3"),
        (b"name,class,mask\na,dog,d.png\na,cat,\n", "one class for the image 'a'.*line 3"),
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
    with refused("'b', got 1 at most: save it with 0 and 255"):
        dataset.read(1)
    save(path, np.zeros((4, 5), np.uint8))
    with refused("'b'.*width 6 and height 4, got width 5 and height 4"):
        dataset.read(1)
    save(path, np.zeros((4, 6, 4), np.uint8))
    with refused("'b'.*got RGBA"):
        dataset.read(1)
    path.write_bytes(b"no image")
    with refused("b.png' of the image 'b' is not in an image format"):
        dataset.read(1)
    path.unlink()
    with refused(r"Expected the mask .*masks/b\.png' of the image 'b', got no such file"):
        dataset.read(1)


def test_images_of_one_name_are_refused(masked):
    save(masked / "images" / "a.png", pixels())
    with refused("Expected one file 'a'.*rename or remove"):
        open_dataset(f"folder:{masked}")


def test_boxes_without_classes(tabled):
    write(tabled / "boxes.csv", "image,x_min,y_min,x_max,y_max\na.png,1.5,1,3,2\n")
    objects = open_dataset(f"folder:{tabled}").read(0).objects
    assert list(objects) == [NO_CLASS]
    same(objects[NO_CLASS], mask("......", ".##...", "......", "......"))


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
    with refused("got both: remove one"):
        open_dataset(f"folder:{tabled}")
    (tabled / "boxes.csv").unlink()
    with refused(r"Expected images \(.*got none"):
        open_dataset(f"folder:{tabled}")
    (tabled / "masks").rmdir()
    with refused("got neither: add one"):
        open_dataset(f"folder:{tabled}")
    with refused("There is no folder"):
        open_dataset(f"folder:{tmp_path / 'none'}")


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
    same(dataset.read(1).image, pixels(1))
    save(place / "a.bmp", pixels(3))
    with refused("one image called '.*a' in line 2 .*got a.bmp and a.png: add the extension"):
        open_dataset(f"folder:{tmp_path}")


def test_a_missing_image_is_looked_for_where_the_images_are(tabled):
    write(tabled / "boxes.csv", "image,x_min,y_min,x_max,y_max\nc,0,0,1,1\nd.png,0,0,1,1\n")
    for place in (tabled, tabled / "images"):
        place.mkdir(exist_ok=True)
        dataset = open_dataset(f"folder:{tabled}")
        for k, name in enumerate(("c", "d.png")):
            with refused(f"There is no image '{place / name}'"):
                dataset.read(k)


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
