"""Real networks and photographs, as optional local data."""

import xml.etree.ElementTree as ET

import keras
import numpy as np
from PIL import Image

from helpers.shared_data import SHARED

FOLDER = SHARED / "data" / "imagenette_val_boxes"


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


NETWORKS = {
    "vgg16_imagenette10": (224, keras.applications.vgg16.preprocess_input),
    "squeezenet": (227, keras.applications.vgg16.preprocess_input),
    "efficientnet_lite0": (224, lambda x: (x - 127) / 128),
    "mobilenet_v2": (224, keras.applications.mobilenet_v2.preprocess_input),
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
