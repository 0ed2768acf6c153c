"""The figure of the most relevant channels."""

import numpy as np
import pytest

from rap_keras import InputError, plot


def test_rows_of_channels(rng):
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    maps = rng.normal(size=(2, 8, 8, 3))
    crops = [[image[:4, :4], image], [image]]
    figure = plot.concepts(image, maps.sum(0), maps, crops, ["a\n1 %", "b"], "rap", "all")
    axes = np.array(figure.axes).reshape(3, 3)
    assert [ax.get_title() for ax in axes[0]] == ["image", "rap", ""]
    assert [row[0].get_ylabel() for row in axes] == ["", "a\n1 %", "b"]
    drawn = [[len(ax.images) for ax in row] for row in axes]
    assert drawn == [[1, 1, 0], [2, 1, 1], [2, 1, 0]]  # the map over the image, then crops
    assert axes[1, 1].images[0].get_array().shape == (4, 4, 3)
    np.testing.assert_allclose(axes[2, 0].images[1].get_array(), maps[1].sum(-1))


@pytest.mark.parametrize(("maps", "crops", "titles"), [(0, 0, 0), (2, 1, 2), (1, 1, 2)])
def test_other_numbers_are_refused(maps, crops, titles):
    image = np.zeros((8, 8, 3), np.uint8)
    given = [np.eye(8)] * maps, [[image]] * crops, ["one"] * titles
    with pytest.raises(InputError, match="a map, crops and a title for each channel"):
        plot.concepts(image, np.eye(8), *given)
