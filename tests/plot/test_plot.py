import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from rap_keras import plot
from rap_keras.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(ax):
    """The colours (height, width, RGBA) the axes' last image gives its values."""
    image = ax.images[-1]
    return image.cmap(image.norm(image.get_array()))


def pixels(ax, points):
    """The RGB values (0..1) in the rendered figure at data coordinates (column, row)."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    rendered = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    positions = ax.transData.transform(points).round().astype(int)
    return [rendered[y, x] for x, y in positions]


def test_heatmap_sums_the_channels(rng):
    relevance = rng.normal(size=(5, 7, 3))
    ax = plot.heatmap(relevance)
    np.testing.assert_allclose(ax.images[0].get_array(), relevance.sum(-1))
    ax = plot.heatmap(np.moveaxis(relevance, -1, 0), channel_axis=0)
    np.testing.assert_allclose(ax.images[0].get_array(), relevance.sum(-1))


def test_a_map_of_three_rows_is_not_taken_for_channels(rng):
    relevance = rng.normal(size=(3, 3, 8))
    ax = plot.heatmap(relevance)
    np.testing.assert_allclose(ax.images[0].get_array(), relevance.sum(-1))


def test_heatmap_scale_is_symmetric_and_zero_white_for_an_asymmetric_map():
    relevance = np.array([[10.0, 0.0], [-0.1, 2.0]])
    ax = plot.heatmap(relevance, channel_axis=None, percentile=100)
    norm = ax.images[0].norm
    assert norm.vmin == -10
    assert norm.vmax == 10
    positive, zero, slightly_negative, _ = drawn(ax).reshape(4, 4)
    assert np.all(zero >= 0.99)
    assert positive[0] > 0.4
    assert positive[2] < 0.01
    assert np.all(slightly_negative >= 0.9)


def test_rendered_pixels_are_red_white_and_blue():
    relevance = np.array([[5.0, 0.0], [-5.0, 2.5]])
    ax = plot.heatmap(relevance, channel_axis=None)
    positive, zero, negative, half = pixels(ax, [(0, 0), (1, 0), (0, 1), (1, 1)])
    assert np.all(zero >= 0.99)
    assert positive[0] > 0.4
    assert max(positive[1:]) < 0.01
    assert negative[2] > 0.2
    assert max(negative[:2]) < 0.01
    np.testing.assert_allclose(half, [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-320, 1e-249, 9e249])
def test_constant_maps_draw_with_zero_in_the_middle(value):
    ax = plot.heatmap(np.full((4, 4), value), channel_axis=None, colorbar=True)
    norm = ax.images[0].norm
    assert norm.vmin == -norm.vmax
    assert norm.vmax > 0
    (color,) = pixels(ax, [(1, 1)])
    if abs(value) < 1e-310:
        assert np.all(color >= 0.99)
    else:
        assert color[0 if value > 0 else 2] > 0.2
        assert color[2 if value > 0 else 0] < 0.01


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_the_first_row_is_above_whatever_matplotlib_is_set_to(origin):
    with matplotlib.rc_context({"image.origin": origin}):
        figure = plot.explanation(np.eye(2), np.zeros((2, 2, 3), np.uint8), channel_axis=None)
    axes = [ax for ax in figure.axes if ax.images]
    assert len(axes) == 3
    for ax in axes:
        first, second = (ax.transData.transform((0, row))[1] for row in (0, 1))
        assert first > second
        assert {image.origin for image in ax.images} == {"upper"}


def test_percentile_saturates_the_scale():
    relevance = np.arange(-50.0, 51.0).reshape(1, 101)
    ax = plot.heatmap(relevance, channel_axis=None, percentile=80)
    norm = ax.images[0].norm
    assert norm.vmax == np.percentile(np.abs(relevance), 80)
    assert norm.vmin == -norm.vmax
    # A sparse map has a percentile of zero: its maximum scales it.
    sparse = np.zeros((10, 10))
    sparse[0, 0] = -4
    assert plot.heatmap(sparse, channel_axis=None, percentile=50).images[0].norm.vmax == 4


@pytest.mark.parametrize("percentile", [0, -1, 101, float("nan")])
def test_percentile_out_of_range_is_refused(percentile):
    with pytest.raises(InputError, match="percentile to be above 0"):
        plot.heatmap(np.ones((2, 2)), channel_axis=None, percentile=percentile)


def limits(figure):
    """The limits of the colours of each map, which are the last images of their axes."""
    norms = [ax.images[-1].norm for ax in figure.axes if ax.images]
    return [(norm.vmin, norm.vmax) for norm in norms]


def test_maps_share_a_scale_on_request(rng):
    maps = {"weak": rng.normal(size=(2, 4, 4, 3)), "strong": 10 * rng.normal(size=(2, 4, 4, 3))}
    sums = {name: abs(batch.sum(-1)) for name, batch in maps.items()}
    each = [np.percentile(sums[name][k], 90) for k in range(2) for name in maps]
    found = limits(plot.grid(None, maps, percentile=90))
    np.testing.assert_allclose(found, [(-limit, limit) for limit in each])
    together = np.percentile(np.stack([*sums.values()]), 90)
    found = limits(plot.grid(None, maps, percentile=90, scale="shared"))
    np.testing.assert_allclose(found, [(-together, together)] * 4)
    assert limits(plot.grid(None, maps, scale=2.5)) == [(-2.5, 2.5)] * 4
    layered = {name: batch[:1] for name, batch in maps.items()}
    together = np.percentile(np.stack([sums[name][0] for name in maps]), 90)
    figure = plot.layers(layered, percentile=90, scale="shared", colorbar=False)
    np.testing.assert_allclose(limits(figure), [(-together, together)] * 2)


def test_a_number_sets_the_scale_of_one_map(rng):
    relevance, image = rng.normal(size=(4, 4, 3)), np.zeros((4, 4, 3), np.uint8)
    for ax in (plot.heatmap(relevance, scale=3), plot.overlay(relevance, image, scale=3)):
        assert (ax.images[-1].norm.vmin, ax.images[-1].norm.vmax) == (-3, 3)
    _, middle, over, *_ = plot.explanation(relevance, image, scale=3).axes
    assert middle.images[-1].norm.vmax == over.images[-1].norm.vmax == 3
    alone = plot.heatmap(relevance, scale="shared").images[-1].norm.vmax
    assert alone == plot.heatmap(relevance).images[-1].norm.vmax


def test_a_figure_without_maps_has_no_scale():
    figure = plot.grid(np.zeros((2, 4, 4), np.uint8), {}, scale="shared")
    assert len(figure.axes) == 2


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf, "both", True, None, np.ones(2)])
def test_what_is_no_scale_is_refused(scale):
    with pytest.raises(
        InputError, match='Expected scale to be "each", "shared" or a number above 0'
    ):
        plot.grid(None, {"map": np.ones((1, 2, 2))}, scale=scale)


def test_channels_of_an_image_are_picked(rng):
    bands, relevance = rng.integers(0, 256, (5, 6, 7), np.uint8), rng.normal(size=(5, 6, 7))
    figure = plot.explanation(relevance, bands, channels=(4, 3, 2))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), bands[..., [4, 3, 2]])
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), relevance.sum(-1))
    figure = plot.grid(bands[None], {"map": relevance[None]}, channels=-1, over_image=True)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), bands[..., -1])
    figure = plot.layers({"one": relevance[None]}, bands, channels=[0, 1, 2], colorbar=False)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), bands[..., :3])


def test_picked_values_out_of_range_are_stretched(rng):
    bands = rng.uniform(0, 9000, (20, 30, 6))
    shown = plot.explanation(np.ones((20, 30)), bands, channels=(4, 3, 2)).axes[0].images[0]
    for band, k in enumerate((4, 3, 2)):
        low, high = np.percentile(bands[..., k], (1, 99))
        expected = np.clip((bands[..., k] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(shown.get_array()[..., band], expected)


def test_the_range_of_floats_is_that_of_the_batch():
    images = np.stack([np.full((4, 4, 3), value) for value in (0.0, 1.0, 1.5, 200.0)])
    for over_image in (False, True):
        figure = plot.grid(images, {"map": np.ones((4, 4, 4))}, over_image=over_image)
        for ax, image in zip(figure.axes[::2], images, strict=True):
            np.testing.assert_allclose(ax.images[0].get_array(), image / 255)
    grey = [ax.images[0].get_array().max() for ax in figure.axes[1::2]]
    np.testing.assert_allclose(grey, np.array([0.0, 1.0, 1.5, 200.0]) / 255)


def test_channels_of_grey_images_are_refused():
    grey = np.zeros((2, 6, 7), np.uint8)
    with pytest.raises(InputError, match="one or three of the 0 channels"):
        plot.grid(grey, {"map": np.ones((2, 6, 7))}, channels=0)


@pytest.mark.parametrize("channels", [(0, 1), 5, (0, 1, 9), "red", (0.0, 1.0, 2.0)])
def test_unknown_channels_are_refused(channels):
    with pytest.raises(InputError, match="Expected channels to be one or three of the 5 channels"):
        plot.overlay(np.ones((2, 2)), np.zeros((2, 2, 5), np.uint8), channels=channels)
    with pytest.raises(InputError, match="choose what is shown by channels"):
        plot.overlay(np.ones((2, 2)), np.zeros((2, 2, 5), np.uint8))


def test_colorbar_only_on_request():
    assert len(plot.heatmap(np.ones((2, 2)), channel_axis=None).figure.axes) == 1
    ax = plot.heatmap(np.full((2, 2), 3.0), channel_axis=None, colorbar=True)
    bar = ax.figure.axes[1]
    assert bar.get_ylim() == (-3, 3)


def test_draws_on_the_axes_given():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot.heatmap(np.ones((2, 2)), ax=right, channel_axis=None, title="two") is right
    assert right.get_title() == "two"
    assert not left.images


@pytest.mark.parametrize(
    ("relevance", "channel_axis"),
    [
        (np.ones((1, 4, 4, 3)), -1),
        (np.ones((4, 4, 3)), None),
        (np.ones(4), None),
    ],
)
def test_only_a_single_map_is_drawn(relevance, channel_axis):
    with pytest.raises(InputError, match=r"Expected one relevance map .* shape .*\.$"):
        plot.heatmap(relevance, channel_axis=channel_axis)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.7e308])
def test_values_without_a_colour_are_refused(bad):
    relevance = np.zeros((4, 4, 3))
    relevance[1, 2, :] = bad
    with pytest.raises(InputError, match="NaN, infinity"):
        plot.heatmap(relevance)


@pytest.mark.parametrize("relevance", [np.zeros((0, 4, 3)), "map", np.ones((2, 2, 1)) * 1j])
def test_what_is_no_map_is_refused(relevance):
    with pytest.raises(InputError, match=r"real numbers|with pixels"):
        plot.heatmap(relevance)


def test_no_such_channel_axis():
    with pytest.raises(InputError, match="channel_axis from -3 to 2, got 3"):
        plot.heatmap(np.ones((2, 2, 2)), channel_axis=3)


def test_overlay_leaves_the_image_where_relevance_is_zero():
    image = np.zeros((2, 2, 3))
    image[0] = 1.0
    relevance = np.array([[0.0, 4.0], [0.0, -4.0]])
    ax = plot.overlay(relevance, image, channel_axis=None, alpha=1.0)
    bright, positive, dark, negative = pixels(ax, [(0, 0), (1, 0), (0, 1), (1, 1)])
    np.testing.assert_allclose(bright, 1.0)
    assert dark.max() - dark.min() < 0.01
    assert 0.2 < dark[0] < 0.5
    assert positive[0] > 0.4
    assert positive[2] < 0.01
    assert negative[2] > 0.2
    assert negative[0] < 0.01


def test_overlay_is_grey_and_has_a_symmetric_scale(rng):
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    ax = plot.overlay(np.full((6, 8, 3), 1.0), image, alpha=0.5)
    under, over = ax.images
    expected = image @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(under.get_array(), expected, atol=1e-12)
    assert (over.norm.vmin, over.norm.vmax) == (-3, 3)
    np.testing.assert_allclose(over.get_alpha(), 0.5)


def test_heatmap_with_an_image_is_an_overlay(rng):
    image = rng.uniform(size=(6, 6, 3))
    relevance = rng.normal(size=(6, 6, 3))
    ax, expected = plot.heatmap(relevance, image=image), plot.overlay(relevance, image)
    assert len(ax.images) == 2
    for one, other in zip(ax.images, expected.images, strict=True):
        np.testing.assert_array_equal(one.get_array(), other.get_array())
        np.testing.assert_array_equal(one.get_alpha(), other.get_alpha())


def test_a_coarse_map_is_stretched_over_the_image():
    ax = plot.overlay(np.array([[1.0, -1.0]]), np.full((40, 20), 0.5), channel_axis=None, alpha=1)
    left, right = pixels(ax, [(4, 35), (15, 3)])
    assert left[0] > 0.4
    assert left[2] < 0.01
    assert right[2] > 0.2
    assert right[0] < 0.01


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(InputError, match="alpha from 0 to 1"):
        plot.overlay(np.ones((2, 2)), np.ones((2, 2)), channel_axis=None, alpha=alpha)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), 1.5), "0..1 or in 0..255"),
        (np.full((4, 4, 3), 256.0), "0..1 or in 0..255"),
        (np.full((4, 4, 3), -0.5), "0..1"),
        (np.full((4, 4, 3), np.nan), "0..1"),
        (np.ones((4, 4, 3), dtype=np.int64), "uint8"),
        (np.ones((1, 4, 4, 3)), "shape"),
        (np.ones((4, 4, 4)), "shape"),
        (np.ones((0, 4, 3)), "image with pixels"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        plot.overlay(np.ones((4, 4, 3)), image)


def test_a_dark_uint8_image_keeps_its_range():
    image = np.ones((4, 4, 3), dtype=np.uint8)
    figure = plot.grid(image[None], {})
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image)
    (color,) = pixels(figure.axes[0], [(1, 1)])
    np.testing.assert_allclose(color, 1 / 255, atol=1e-6)


def test_a_float_image_of_0_to_255_is_that_of_its_pixels(rng):
    image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    figures = [plot.grid(one[None], {}) for one in (image, image.astype(np.float32))]
    places = [(x, y) for x in range(4) for y in range(4)]
    first, second = (pixels(figure.axes[0], places) for figure in figures)
    np.testing.assert_allclose(first, second, atol=1 / 254)


def test_a_map_without_channels_needs_no_telling(rng):
    relevance = rng.standard_normal((4, 6))
    for ax in (plot.heatmap(relevance), plot.heatmap(relevance, channel_axis=None)):
        np.testing.assert_array_equal(ax.images[0].get_array(), relevance)
    assert plot.explanation(relevance, np.full((4, 6), 0.5)).axes


def test_grid_has_a_row_per_image_and_a_column_per_method(rng):
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    maps = {"rap": rng.normal(size=(2, 8, 8, 3)), "summed": rng.normal(size=(2, 8, 8))}
    figure = plot.grid(images, maps, row_titles=["one", "two"])
    axes = np.array(figure.axes).reshape(2, 3)
    assert [ax.get_title() for ax in axes[0]] == ["image", "rap", "summed"]
    assert [ax.get_title() for ax in axes[1]] == ["", "", ""]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["one", "two"]
    for row in range(2):
        image, rap, summed = (ax.images[0].get_array() for ax in axes[row])
        np.testing.assert_array_equal(image, images[row])
        np.testing.assert_allclose(rap, maps["rap"][row].sum(-1))
        np.testing.assert_array_equal(summed, maps["summed"][row])
        norm = axes[row, 1].images[0].norm
        limit = np.percentile(np.abs(maps["rap"][row].sum(-1)), 99.5)
        assert norm.vmax == limit == -norm.vmin


def test_grid_of_channels_first_maps(rng):
    maps = rng.normal(size=(2, 3, 8, 8))
    figure = plot.grid(np.ones((2, 8, 8)), {"rap": maps}, channel_axis=0)
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), maps[0].sum(0))


def test_grid_needs_as_many_maps_as_images():
    images = np.ones((2, 4, 4, 3))
    with pytest.raises(InputError, match=r"2 images .*\(3, 4, 4, 3\) for 'rap'"):
        plot.grid(images, {"rap": np.ones((3, 4, 4, 3))})
    with pytest.raises(InputError, match="batch of images"):
        plot.grid(np.ones((4, 4)), {})
    with pytest.raises(InputError, match="batch of images"):
        plot.grid(np.ones((0, 4, 4)), {})
    with pytest.raises(InputError, match="row_titles for 2 images, got 1"):
        plot.grid(images, {}, row_titles=["one"])


@pytest.fixture
def layer_maps(rng):
    return {
        "input": rng.normal(size=(1, 8, 8, 3)),
        "conv": rng.normal(size=(1, 4, 4, 6)),
        "pool": rng.normal(size=(1, 2, 2, 6)),
        "flatten": rng.normal(size=(1, 24)),
        "dense": rng.normal(size=(1, 10)),
    }


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_label() != "<colorbar>"]


def test_layers_go_from_output_to_input(layer_maps):
    figure = plot.layers(layer_maps, image=np.ones((8, 8, 3)))
    assert titles(figure) == ["pool", "conv", "input", "input image"]
    for ax in figure.axes[:3]:
        expected = layer_maps[ax.get_title()][0].sum(-1)
        np.testing.assert_allclose(ax.images[0].get_array(), expected)
        assert ax.images[0].norm.vmax == np.percentile(np.abs(expected), 99.5)
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert [bar.get_ylabel() for bar in bars] == ["relevance"] * 3


def test_captions_and_colours(rng, layer_maps):
    image, relevance = rng.random((4, 4)), rng.normal(size=(4, 4, 3))
    options = {"caption": "vgg16: $1_000", "colormap": "PuOr_r"}
    for figure in (
        plot.explanation(relevance, image, **options),
        plot.grid(image[None], {"rap": relevance[None]}, row_titles=["a\nclass 3"], **options),
        plot.layers(layer_maps, image=image, **options),
    ):
        assert figure.get_suptitle() == "vgg16: $1_000"
        drawn_maps = [
            ax.images[0] for ax in figure.axes if ax.images and ax.images[0].norm.vmin < 0
        ]
        assert {one.cmap.name for one in drawn_maps} <= {"PuOr_r", "gray"}
        assert sum(one.cmap.name == "PuOr_r" for one in drawn_maps) >= 1
    own = ListedColormap(["b", "w", "r"])
    assert plot.overlay(relevance, image, colormap=own).images[1].cmap is own
    with pytest.raises(InputError, match="such as seismic or RdBu_r, got 'sismic'"):
        plot.heatmap(relevance, colormap="sismic")


def test_layers_by_name(layer_maps):
    assert titles(plot.layers(layer_maps, names=["input", "pool"])) == ["pool", "input"]
    with pytest.raises(InputError, match=r"layer 'pol'.*pool"):
        plot.layers(layer_maps, names=["pol"])
    with pytest.raises(InputError, match=r"'dense' has no positions .*\(1, 10\)"):
        plot.layers(layer_maps, names=["dense"])
    with pytest.raises(InputError, match="empty"):
        plot.layers(layer_maps, names=[])


def test_many_layers_are_thinned_out_evenly():
    maps = {f"layer{index}": np.ones((1, 2, 2, 1)) for index in range(45)}
    figure = plot.layers(maps, max_columns=5)
    expected = [f"layer{index}" for index in range(44, -1, -4)]
    assert titles(figure) == expected


def test_layers_of_a_batch_need_a_sample(rng):
    maps = {"conv": rng.normal(size=(3, 4, 4, 2))}
    with pytest.raises(InputError, match="one sample, got 3"):
        plot.layers(maps)
    figure = plot.layers(maps, sample=2)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), maps["conv"][2].sum(-1))
    for sample in (3, -1):
        with pytest.raises(InputError, match=f"sample from 0 to 2, got {sample}"):
            plot.layers(maps, sample=sample)


def test_layers_without_positions_or_columns(layer_maps):
    with pytest.raises(InputError, match="nothing to draw"):
        plot.layers({"dense": np.ones((1, 10))})
    with pytest.raises(InputError, match="max_columns"):
        plot.layers(layer_maps, max_columns=0)


def test_nothing_given_is_modified(rng):
    relevance = rng.normal(size=(2, 4, 4, 3))
    images = rng.uniform(size=(2, 4, 4, 3))
    kept = relevance.copy(), images.copy()
    relevance.setflags(write=False)
    images.setflags(write=False)
    for ax in (
        plot.heatmap(relevance[0], percentile=90),
        plot.heatmap(relevance[0, ..., 0], channel_axis=None),
        plot.overlay(relevance[0], images[0]),
    ):
        pixels(ax, [(0, 0)])
    for figure in (plot.grid(images, {"rap": relevance}), plot.layers({"conv": relevance[:1]})):
        FigureCanvasAgg(figure).draw()
    np.testing.assert_array_equal(relevance, kept[0])
    np.testing.assert_array_equal(images, kept[1])


def test_changing_the_array_later_does_not_change_the_picture():
    relevance = np.ones((2, 2))
    ax = plot.heatmap(relevance, channel_axis=None)
    relevance[:] = -5
    np.testing.assert_array_equal(ax.images[0].get_array(), 1)


def test_pyplot_is_not_imported(tmp_path):
    code = (
        "import sys, numpy; from rap_keras import plot;"
        "plot.grid(numpy.ones((1, 4, 4)), {'a': numpy.ones((1, 4, 4))}).savefig(sys.argv[1]);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "grid.png")], check=True)


def test_grid_over_the_images(rng):
    images, maps = rng.uniform(size=(2, 6, 6, 3)), rng.normal(size=(2, 6, 6, 3))
    ax = plot.grid(images, {"rap": maps}, over_image=True).axes[3]
    expected = plot.overlay(maps[1], images[1])
    assert len(ax.images) == 2
    for one, other in zip(ax.images, expected.images, strict=True):
        np.testing.assert_array_equal(one.get_array(), other.get_array())


def test_explanation_shows_image_map_and_overlay(rng):
    image, relevance = rng.uniform(size=(6, 6, 3)), rng.normal(size=(6, 6, 3))
    figure = plot.explanation(relevance, image, title="rap", percentile=90)
    left, middle, right = figure.axes[:3]
    np.testing.assert_array_equal(left.images[0].get_array(), image)
    np.testing.assert_allclose(middle.images[0].get_array(), relevance.sum(-1))
    assert middle.get_title() == "rap"
    limit = np.percentile(np.abs(relevance.sum(-1)), 90)
    for drawn_map in (middle.images[0], right.images[1]):
        assert (drawn_map.norm.vmin, drawn_map.norm.vmax) == (-limit, limit)


def test_layers_with_several_outputs_are_left_out(layer_maps):
    layer_maps["split"] = [np.ones((1, 4, 4, 1)), np.ones((1, 4, 4, 2))]
    assert titles(plot.layers(layer_maps)) == ["pool", "conv", "input"]
    with pytest.raises(InputError, match="several outputs"):
        plot.layers(layer_maps, names=["split"])


def test_figures_show_in_notebooks() -> None:
    figure = plot.heatmap(np.ones((4, 4, 1))).figure
    assert figure._repr_png_().startswith(b"\x89PNG")


def segments(ax):
    """The lines of an outline, each once, as pairs of corners (column, row)."""
    lines = [one for one in ax.collections if isinstance(one, LineCollection)]
    if not lines:
        return set()
    _, line = lines  # on a darker one
    return {tuple(map(tuple, np.sort(ends, 0).tolist())) for ends in line.get_segments()}


def test_a_region_is_outlined_in_the_image_and_in_the_overlay(rng):
    image, relevance = rng.random((6, 8)), rng.normal(size=(6, 8, 3))
    region = np.zeros((3, 4), bool)  # its pixels are twice as large as the image's
    region[0, 1:3] = True
    figure = plot.explanation(relevance, image, region=region)
    left, middle, right = figure.axes[:3]
    corners = {
        ((1.5, -0.5), (3.5, -0.5)),
        ((3.5, -0.5), (5.5, -0.5)),
        ((1.5, 1.5), (3.5, 1.5)),
        ((3.5, 1.5), (5.5, 1.5)),
        ((1.5, -0.5), (1.5, 1.5)),
        ((5.5, -0.5), (5.5, 1.5)),
    }
    assert segments(left) == segments(right) == corners
    assert not segments(middle)
    assert not any(segments(ax) for ax in plot.explanation(relevance, image).axes[:3])


def test_grids_and_layers_outline_regions(rng, layer_maps):
    images, maps = rng.random((2, 4, 4)), rng.normal(size=(2, 4, 4, 3))
    region = np.eye(4, dtype=bool)
    figure = plot.grid(images, {"a": maps}, regions=[None, region])
    assert [len(segments(ax)) for ax in figure.axes] == [0, 0, 16, 0]
    with pytest.raises(InputError, match="regions for 2 images, got 1"):
        plot.grid(images, {"a": maps}, regions=[region])
    figure = plot.layers(layer_maps, image=images[0], region=region)
    assert sorted(len(segments(ax)) for ax in figure.axes[:4])[-2:] == [0, 16]


@pytest.mark.parametrize("region", [np.ones((2, 2, 1), bool), np.ones((2, 2))])
def test_what_is_no_region_is_refused(region):
    with pytest.raises(InputError, match="Expected region to be a boolean array"):
        plot.explanation(np.ones((2, 2, 3)), np.ones((2, 2)), region=region)
