"""Data sets that were damaged, or made to do harm, cost an image or one sentence."""

import os
import tracemalloc

import h5py
import numpy as np
import pytest
from PIL import Image

from rap_keras.datasets import open_dataset
from rap_keras.datasets.files import inner_name, read_pixels
from rap_keras.errors import InputError

XML = "<annotation><size><width>{}</width><height>4</height></size>{}</annotation>"
OBJECT = (
    "<object><name>c</name><bndbox><xmin>{}</xmin><ymin>0</ymin><xmax>2</xmax><ymax>3</ymax>"
    "</bndbox></object>"
)
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 30))
    + "]><annotation>&a29;</annotation>"
)
ANNOTATIONS = {
    "overlong width": XML.format("9" * 400, OBJECT.format(0)),
    "endless width": XML.format("9" * 5000, OBJECT.format(0)),
    "overlong edge": XML.format(6, OBJECT.format("9" * 400)),
    "infinite edge": XML.format(6, OBJECT.format("inf")),
    "laughs": LAUGHS,
    "nested": "<a>" * 50_000,
    "file": XML.format(6, OBJECT.format("&x;")).join(
        ['<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/hostname">]>', ""]
    ),
    "zeros": "\0" * 100,
}


def refused(message):
    return pytest.raises(InputError, match=message)


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)


@pytest.fixture
def boxes(tmp_path):
    save(tmp_path / "images" / "a.png")
    (tmp_path / "annotations").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_an_annotation_costs_its_image_only(name, boxes):
    (boxes / "annotations" / "a.xml").write_text(ANNOTATIONS[name])
    dataset = open_dataset(f"imagenet-boxes:{boxes}")
    with refused("Expected an ILSVRC annotation in .* for the image 'a'") as error:
        dataset.read(0)
    assert len(str(error.value)) < 500 + len(str(boxes))


def test_an_annotation_beyond_any_size(boxes):
    path = boxes / "annotations" / "a.xml"
    path.write_text("")
    os.truncate(path, 2**40)
    with refused("to have at most 16 MB, got 1048576 MB"):
        open_dataset(f"imagenet-boxes:{boxes}").read(0)


@pytest.mark.parametrize("value", ["9" * 400, "1" * 5000, "-9999999999", "x", "", "1.5"])
def test_what_is_no_number_of_pixels(value):
    with pytest.raises(ValueError, match="not a number of pixels") as error:
        read_pixels(value, int)
    assert len(str(error.value)) < 80
    assert read_pixels("12", int) == 12
    assert read_pixels(" -1.5", float) == -1.5


OUTSIDE = ["../secret.png", "/etc/passwd", "images/../../secret.png", "..", "./.././x.png"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("table", ["boxes.csv", "labels.csv", "val.txt"])
def test_names_of_files_outside_of_the_folder_are_refused(name, table, tmp_path):
    """Though the file is there, and is an image."""
    save(tmp_path / "secret.png")
    folder = tmp_path / "data"
    save(folder / "images" / "a.png")
    if table == "boxes.csv":
        (folder / table).write_text(
            f"image,x_min,y_min,x_max,y_max\na.png,0,0,1,1\n{name},0,0,1,1\n"
        )
        specification, line = f"folder:{folder}", "line 3 of "
    elif table == "labels.csv":
        save(folder / "masks" / "a.png")
        (folder / table).write_text(f"name,class\na,x\n{name},x\n")
        specification, line = f"folder:{folder}", "line 3 of "
    else:
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (folder / part).mkdir(parents=True)
        (folder / "ImageSets/Segmentation" / table).write_text(f"a\n{name}\n")
        specification, line = f"voc:{folder}", ""
    with refused(f"in the folder of the data set in {line}.*{table}', got '{name}'"):
        open_dataset(specification)


@pytest.mark.parametrize(
    "name", ["a.png", "sub/a.png", "sub/../a.png", "..a.png", "a/..b", "", "."]
)
def test_names_of_files_inside_are_kept(name):
    assert inner_name(name, "x") == name


def test_links_in_the_folder_may_lead_anywhere(tmp_path):
    save(tmp_path / "elsewhere.png")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "boxes.csv").write_text("image,x_min,y_min,x_max,y_max\na.png,0,0,1,1\n")
    assert open_dataset(f"folder:{folder}").read(0).image.shape == (4, 6, 3)


def test_overlong_names_and_pipes_in_a_table_cost_their_image_only(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    names = ["a.png", "b.png", "c" * 300 + ".png", "d\0.png"]
    rows = "".join(f"{name},0,0,1,1\n" for name in names)
    (tmp_path / "boxes.csv").write_text(f"image,x_min,y_min,x_max,y_max\n{rows}")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert list(dataset.names) == names
    assert dataset.read(0).image.shape == (4, 6, 3)
    for index, message in enumerate(["got a named pipe", "File name too long", "cannot be"], 1):
        with refused(message):
            dataset.read(index)


@pytest.mark.parametrize(
    ("edge", "height"), [("9" * 400, "4"), ("1e400", "4"), ("1", "9" * 400), ("1", "1" * 5000)]
)
def test_numbers_beyond_any_image_cost_their_image_only(edge, height, tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text(
        f"image,x_min,y_min,x_max,y_max,width,height\na.png,0,0,{edge},1,6,{height}\n"
    )
    dataset = open_dataset(f"folder:{tmp_path}")
    with refused("in line 2 of .*which is not a number of pixels: correct them"):
        dataset.read(0)


def test_a_cell_that_is_beyond_any_table(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text("image,x_min,y_min,x_max,y_max\n" + "a" * 200_000)
    with refused("to be a CSV file, got one that cannot be read .field larger than field limit"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("kind", ["imagenet-boxes", "imagenet-segmentation", "voc", "folder"])
@pytest.mark.parametrize("place", ["a" * 5000, "b\0c", "pipe"], ids=["long", "zero", "pipe"])
def test_no_place_for_a_data_set(kind, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with refused("There is no folder|to be a file, got a named pipe|cannot be read") as error:
        open_dataset(f"{kind}:{place}")
    assert "\n" not in str(error.value)


def matlab(path, shape, **options):
    """A file in MATLAB's layout whose image has a shape that nothing was written to."""
    with h5py.File(path, "w") as mat:
        image = mat.create_dataset("img", shape, np.uint8, **options)
        references = {"img": image.ref, "mask": mat.create_dataset("mask", (6, 4), np.uint8).ref}
        cell = mat.create_dataset("cell", (1, 1), h5py.ref_dtype)
        cell[0, 0] = references["mask"]
        for field, reference in (("img", references["img"]), ("gt", cell.ref)):
            mat.create_dataset(f"value/{field}", (1, 1), h5py.ref_dtype)[0, 0] = reference
    return open_dataset(f"imagenet-segmentation:{path}")


def test_an_array_beyond_memory_costs_its_image_only(tmp_path):
    assert matlab(tmp_path / "a.mat", (3, 6, 4)).read(0).image.shape == (4, 6, 3)
    dataset = matlab(tmp_path / "b.mat", (3, 10**6, 10**6), chunks=(1, 100, 100))
    assert (tmp_path / "b.mat").stat().st_size < 10**5
    tracemalloc.start()
    with refused("The image '0000' in .* cannot be read .3,000.0 GB in one array"):
        dataset.read(0)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_an_array_whose_values_are_in_another_file(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(72))
    dataset = matlab(tmp_path / "a.mat", (3, 6, 4))
    with h5py.File(tmp_path / "a.mat", "r+") as mat:
        outside = [(str(tmp_path / "secret"), 0, 72)]
        image = mat.create_dataset("other", (3, 6, 4), np.uint8, external=outside)
        mat["value/img"][0, 0] = image.ref
    with refused("The image '0000' in .* cannot be read .its values are in other files"):
        dataset.read(0)
