"""The segmentations of ImageNet, `gtsegs_ijcv.mat`."""

import h5py
import numpy as np
from helpers.image_files import (
    FIRST,
    SECOND,
    check_dataset,
    check_objects,
    mask,
    pixels,
    refused,
    same,
    save_gtsegs,
    save_mat,
    write,
)

from rap_keras.datasets import NO_CLASS, open_dataset


def test_imagenet_segmentation(tmp_path):
    ids = ["n02123045_77", "n02085620_5"]
    path = save_gtsegs(tmp_path / "gtsegs_ijcv.mat", ids=ids, targets=["n02121808", "n02085374"])
    samples = {
        ids[0]: (pixels(1), {"n02121808": FIRST}),  # the first of two
        ids[1]: (pixels(2), {"n02085374": SECOND}),
    }
    dataset = check_dataset(f"imagenet-segmentation:{path}", "pixels of the class", samples)
    # Centres fall on pixels 1 and 3 of 4, 1, 3 and 5 of 6.
    check_objects(dataset.read(0, (2, 3)))
    check_objects(dataset.read(1, (2, 3)), n02085374=mask("##.", "..."))


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
    same(dataset.read(0).objects[NO_CLASS], FIRST)
    with refused(r"Expected the image 'grey'.*got uint8 \(4, 6\)"):
        dataset.read(1)
    with refused("mask of the image 'turned'.*width 6 and height 4, got width 4 and height 6"):
        dataset.read(2)
    with refused("The image 'unsegmented' in .* cannot be read"):
        dataset.read(3)
