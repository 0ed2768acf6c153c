"""Pretrained networks on photographs: relevance lies on the object."""

import numpy as np
import pytest
from helpers.real_networks import NETWORKS, photographs
from helpers.shared_data import needs_shared, shared_models

from rap_keras import create_analyzer


@needs_shared
@pytest.mark.slow
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
