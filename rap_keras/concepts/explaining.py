"""Explains an image by the channels of an atlas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.analyzers.concepts import Concept, Concepts
from rap_keras.benchmark.protocol import weights_checksum
from rap_keras.concepts.atlas import Atlas, Reference
from rap_keras.concepts.measuring import preprocessing_checksum
from rap_keras.concepts.settings import ModelRequest
from rap_keras.errors import InputError
from rap_keras.models.loaded import LoadedModel
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.images import Source, listed, pixels_of
from rap_keras.pipeline.methods import read_spec
from rap_keras.pipeline.target import selected
from rap_keras.support.images import as_rgb
from rap_keras.support.options import read_integer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCES = 8


@dataclass(frozen=True, eq=False, repr=False)
class ConceptExplanation:
    """An image, its most relevant channels, and a map and reference images for each.

    Attributes:
        atlas: The atlas.
        image: The image at the size of the model's input, uint8 `(height, width, 3)`.
        found: The relevance of all channels, with the explained class.
        relevance: The whole map, `(height, width, channels)`.
        maps: The map of the relevance that passes through each channel, `(k, height, width, channels)`.
        references: The references of each channel.
        crops: Their pixels, cut to the receptive field where it is known.

    Example:
        >>> import tempfile
        >>> images = rap_keras.datasets.cluttered_digits(5).images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atlas = rap_keras.concepts.fit(
        ...         "bundled:vgg", images[:4], folder, "block3_conv2", method="lrp.epsilon"
        ...     )
        >>> found = rap_keras.concepts.explain(atlas, images[4], count=2, images=images[:4])
        >>> found.maps.shape, len(found.references)
        ((2, 64, 64, 3), 2)
    """

    atlas: Atlas
    image: NDArray[np.uint8]
    found: Concepts
    relevance: NDArray[Any]
    maps: NDArray[Any]
    references: list[list[Reference]]
    crops: list[list[NDArray[np.uint8]]]

    @property
    def concepts(self) -> list[Concept]:
        """The channels with their relevance and share of the logit, the most relevant first."""
        return self.found.strongest(len(self.maps))[0]

    def plot(self, caption: str | None = None, **options: Any) -> "Figure":
        """Draws a row for each channel: its share, its map over the image, and reference images.

        Args:
            caption: The line above the figure. None: the model, the class and the layer.
            **options: Options of `rap_keras.plot.concepts`: percentile, colormap.

        Returns:
            The figure.
        """
        from rap_keras import plot

        if caption is None:
            caption = f"{self.atlas.about['model']}, {self.atlas.layer}: {self.decision}"
        titles = [f"{self.atlas.kind} {one.unit}\n{one.share:.1%}" for one in self.concepts]
        method = self.atlas.about["method"]
        return plot.concepts(
            self.image, self.relevance, self.maps, self.crops, titles, method, caption, **options
        )

    @property
    def decision(self) -> str:
        """What is explained, in words."""
        return self.found.explanation.decisions[0]

    def summary(self) -> dict[str, Any]:
        """A JSON-serialisable summary: what is explained, and each channel with its references."""
        about = self.atlas.about
        return {
            "model": about["model"],
            "layer": self.atlas.layer,
            "method": about["method"],
            "decision": self.decision,
            "concepts": [
                {
                    self.atlas.kind: one.unit,
                    "relevance": one.relevance,
                    "share": None if np.isnan(one.share) else one.share,
                    "position": list(one.position),
                    "references": [
                        {"name": r.name, "relevance": r.relevance, "neuron": r.neuron, "box": r.box}
                        for r in references
                    ],
                }
                for one, references in zip(self.concepts, self.references, strict=True)
            ],
        }

    def __repr__(self) -> str:
        each = ", ".join(f"{one.unit} ({one.share:.1%})" for one in self.concepts)
        return f"<{self.atlas.kind}s of {self.atlas.layer}, {self.decision}: {each}>"

    def _repr_png_(self) -> bytes:
        return self.plot()._repr_png_()  # type: ignore[attr-defined]


def explain(
    atlas: Atlas,
    image: Any,
    target: int | str | None = None,
    count: int = 5,
    *,
    model: Any = None,
    images: Any = None,
    classes: Sequence[str] | None = None,
) -> ConceptExplanation:
    """Explains an image by its most relevant channels.

    Args:
        atlas: The atlas of a layer.
        image: An image file, a Pillow image or uint8 pixels `(height, width, 3)`.
        target: The class to explain, by number or name; None: that with the largest logit.
        count: The number of channels.
        model: The model that the atlas was fitted to; as `rap_keras.models.load_model` returns it, if
            it was fitted with options of that. None: it is loaded by its name.
        images: Where the fitted images are now: a folder, or their pixels as they were given to `fit`.
            None: where they were.
        classes: The names of the model's classes.

    Returns:
        The channels with their shares of the logit, maps and references. A notebook shows a figure.

    Raises:
        InputError: The model or an image is not available, or the model is another.

    Example:
        >>> import tempfile
        >>> images = rap_keras.datasets.cluttered_digits(5).images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atlas = rap_keras.concepts.fit(
        ...         "bundled:vgg", images[:4], folder, "block3_conv2", method="lrp.epsilon"
        ...     )
        >>> found = rap_keras.concepts.explain(atlas, images[4], count=2, images=images[:4])
        >>> len(found.plot().axes)
        15
    """
    count = min(read_integer("count", count, 1), len(atlas))
    (source,), opened = _one(image), _opened(atlas, images)
    loaded = _loaded(atlas, model)
    if classes is not None:
        loaded = loaded.with_labels(classes)
    about = atlas.about
    explainer = Explainer(loaded, read_spec(about["method"]))
    pixels = pixels_of(source, loaded.input_size, about["fit"])
    x = loaded.preprocess(pixels[np.newaxis])
    wanted = selected(loaded, x, target)
    found = explainer.analyzer.concepts(x, atlas.layer, wanted)
    units = found.order[:, :count]
    maps = explainer.analyzer.analyze(x, wanted, concepts={atlas.layer: units})
    references = [atlas.references(unit, REFERENCES) for unit in units[0].tolist()]
    return ConceptExplanation(
        atlas,
        pixels,
        found,
        explainer.analyzer.analyze(x, wanted)[0],
        maps[0],
        references,
        [[_crop(atlas, one, opened(one)) for one in several] for several in references],
    )


def _one(image: Any) -> Sequence[Any]:
    found = listed(image)
    if len(found) != 1:
        raise InputError(f"Expected one image to explain, got {len(found)}.", "image")
    return [_source(one) for one in found]


def _source(image: Any) -> Source:
    return image if isinstance(image, Path) else as_rgb(image)


def _loaded(atlas: Atlas, model: Any) -> LoadedModel:
    """The model of an atlas."""
    about = atlas.about
    if model is None and about["request"] is None:
        raise InputError(
            f"Expected model, because the atlas was fitted to a model without a name "
            f"({about['model']}): pass it to rap_keras.concepts.explain.",
            "model",
        )
    if model is None:
        loaded = ModelRequest(**about["request"]).load()
    elif isinstance(model, LoadedModel):
        loaded = model
    else:
        from rap_keras.models.loading import load_model

        loaded = load_model(model, size=tuple(about["input_size"]))
    if weights_checksum(map(np.asarray, loaded.model.weights)) != about["weights_crc32"]:
        raise InputError(
            f"Expected the weights of {about['model']} with which the atlas was fitted, got others: fit "
            "the atlas again.",
            "model",
        )
    if model is not None:
        made = preprocessing_checksum(loaded, about["input_size"])
        if (loaded.output, made) != (about["output"], about["preprocess_crc32"]):
            raise InputError(
                "Expected the output and the preprocessing to which the atlas was fitted, got others: "
                "pass rap_keras.models.load_model(model, ...) with the same arguments.",
                "model",
            )
    return loaded


def _opened(atlas: Atlas, images: Any) -> Callable[[Reference], Source]:
    """A function that returns the image of a reference, which must be there."""
    if images is not None and not isinstance(images, str | Path):
        given = listed(images)
        if len(given) <= max(atlas.names, default=-1):
            raise InputError(
                f"Expected the {atlas.about['images']} images to which the atlas was fitted, got "
                f"{len(given)}: pass all of them.",
                "images",
            )
        return lambda reference: _source(given[reference.number])
    folder = atlas.about["folder"] if images is None else images
    if folder is None:
        raise InputError(
            "Expected images, because the atlas was fitted to pixels: pass them.", "images"
        )
    missing = [name for name in atlas.names.values() if not (Path(folder) / name).is_file()]
    if missing:
        raise InputError(
            f"There is no image {str(Path(folder) / missing[0])!r}, which the atlas refers to: pass the "
            "folder of its images, images=DIR.",
            "images",
        )
    return lambda reference: Path(folder) / reference.name


def _crop(atlas: Atlas, reference: Reference, source: Source) -> NDArray[np.uint8]:
    """The pixels of a reference, at the size of the model's input, cut to its box."""
    height, width = atlas.about["input_size"]
    pixels = pixels_of(source, (height, width), atlas.about["fit"])
    if reference.box is None:
        return pixels
    top, left, bottom, right = reference.box
    return pixels[top:bottom, left:right]
