"""Pretrained networks on photographs: relevance lies on the object."""

import xml.etree.ElementTree as ET

import keras
import numpy as np
import pytest
from PIL import Image
from shared_data import SHARED, needs_shared, shared_models

from rap_keras import create_analyzer

FOLDER = SHARED / "data" / "imagenette_val_boxes"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
NETWORKS = {
    "vgg16_imagenette10": (224, keras.applications.vgg16.preprocess_input),
    "squeezenet": (227, keras.applications.vgg16.preprocess_input),
    "efficientnet_lite0": (224, lambda x: (x - 127) / 128),
    "resnet18_trunk": (224, lambda x: (x / 255 - MEAN) / STD),
}


def photographs(size, count=4):
    """Every 30th image, with the mask of its boxes."""
    images, masks = [], []
    for path in sorted((FOLDER / "images").iterdir())[::30][:count]:
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB").resize((size, size)), "float32"))
        root = ET.parse(FOLDER / "annotations" / f"{path.stem}.xml").getroot()
        width, height = (int(root.findtext(f"size/{side}")) for side in ("width", "height"))
        mask = np.zeros((size, size), bool)
        for box in root.iter("bndbox"):
            x0, x1 = (int(box.findtext(k)) * size // width for k in ("xmin", "xmax"))
            y0, y1 = (int(box.findtext(k)) * size // height for k in ("ymin", "ymax"))
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        masks.append(mask)
    return np.stack(images), np.stack(masks)


@needs_shared
@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_is_positive_on_the_object_and_negative_around_it(name):
    size, preprocess = NETWORKS[name]
    images, masks = photographs(size)
    model = getattr(shared_models(), name)()
    analyzer = create_analyzer("rap", model)
    x = np.asarray(preprocess(images.copy()), "float32")
    maps = analyzer.analyze(x).sum(-1)
    logits = model.predict(x, verbose=0).max(1)
    sizes = abs(maps).sum((1, 2))
    np.testing.assert_array_less(abs(maps.sum((1, 2), dtype="float64") - logits), 1e-5 * sizes)
    pairs = [(m[mask], m[~mask]) for m, mask in zip(maps, masks, strict=True) if not mask.all()]
    inside = np.array([on_object.mean() for on_object, _ in pairs])
    outside = np.array([around.mean() for _, around in pairs])
    assert (inside > outside).all()
    assert (inside > 0).mean() >= 0.75
    if name != "resnet18_trunk":  # its small fields of view leave some relevance everywhere
        assert (outside < 0).mean() >= 0.75
