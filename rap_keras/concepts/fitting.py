"""Fits an atlas, resumes it, and merges the parts of several machines."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rap_keras.benchmark.distributed import Workers
from rap_keras.benchmark.filling import Shard, check_shard, filled, merged
from rap_keras.benchmark.seeds import states_kept
from rap_keras.concepts.atlas import Atlas, from_store
from rap_keras.concepts.measuring import Channels
from rap_keras.concepts.settings import ModelRequest, Settings
from rap_keras.errors import InputError
from rap_keras.models.loaded import LoadedModel
from rap_keras.pipeline.explainer import reloaded
from rap_keras.pipeline.images import listed
from rap_keras.support.images import as_rgb


@states_kept()
def fit(
    model: Any,
    images: Any,
    out: str | Path,
    layer: str | None = None,
    *,
    method: str = "rap",
    target: int | str | None = None,
    count: int = 8,
    fit: str = "warp",
    chunk: int = 8,
    shard: Shard = (1, 1),
    strict: bool = False,
    workers: Workers | None = None,
    **loading: Any,
) -> Atlas | None:
    """Finds the images in which each channel of a layer has the largest relevance.

    An image counts with the largest relevance of the channel at one position. Images that were measured
    in an earlier run with the same arguments are not measured again.

    Args:
        model: A Keras model, a model returned by `rap_keras.models.load_model`, or a name that it
            accepts.
        images: Image files, folders, patterns or pixels, as in `rap_keras.explain`.
        out: The folder of the atlas.
        layer: The name of a layer, as in `PropagationAnalyzer.concepts`. None: the last layer of
            feature maps that all relevance passes.
        method: The method with its options, NAME:OPTION=VALUE.
        target: The class whose relevance is measured, by number or name. None: the class with the
            largest logit of each image.
        count: The number of references of each channel.
        fit: How images are resized, as in `rap_keras.explain`.
        chunk: Images that are explained as one batch and stored together.
        shard: (i, n): only the i-th of n parts of the chunks, counted from 1. See `merge`.
        strict: Stop at an image that cannot be read, or whose relevance is not finite, instead of
            skipping it.
        workers: Ray processes that measure; None measures in this process.
        **loading: weights, preprocess, mean, std, size and output, as in `load_model`.

    Returns:
        The atlas; None for a shard.

    Raises:
        InputError: An argument is wrong, the folder has results of other arguments, or a file cannot be
            read or written.

    Example:
        >>> import tempfile
        >>> scenes = rap_keras.datasets.cluttered_digits(4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atlas = rap_keras.concepts.fit("bundled:vgg", scenes.images, folder, "block3_conv2")
        >>> len(atlas), atlas.kind
        (48, 'channel')
    """
    settings = Settings(layer, method, target, count, fit, chunk)
    check_shard(shard)
    # Files that cannot be read keep their numbers, so that the chunks stay the same.
    sources = [one if isinstance(one, Path) else as_rgb(one) for one in listed(images)]
    request, loaded = _model(model, loading)
    if workers is not None and request is None:
        raise InputError(
            "Expected the name of a model for workers, which load it themselves, got a model: pass its "
            "name or file.",
            ("workers", "model"),
        )
    channels = Channels(request, sources, settings, loaded)
    make = functools.partial(Channels, request, sources, settings)
    with filled(Path(out), channels, make, shard, strict, workers) as store:
        return from_store(store).save(Path(out)) if shard[1] == 1 else None


def merge(folders: Sequence[str | Path], out: str | Path) -> Atlas:
    """Merges the shards of one atlas.

    Args:
        folders: The folders of all shards.
        out: The folder of the merged atlas.

    Returns:
        The atlas; the same as that of one run.

    Raises:
        InputError: A shard is missing, unfinished, given twice or of other arguments.

    Example:
        >>> import os, tempfile
        >>> images = rap_keras.datasets.cluttered_digits(4).images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = [os.path.join(folder, str(k)) for k in (1, 2)]
        ...     for k, part in enumerate(parts):
        ...         _ = rap_keras.concepts.fit(
        ...             "bundled:vgg", images, part, "block3_conv2", chunk=2, shard=(k + 1, 2)
        ...         )
        ...     atlas = rap_keras.concepts.merge(parts, os.path.join(folder, "whole"))
        >>> len(atlas)
        48
    """
    with merged([Path(folder) for folder in folders], Path(out), "concepts") as whole:
        return from_store(whole).save(Path(out))


def _model(model: Any, loading: dict[str, Any]) -> tuple[ModelRequest | None, LoadedModel | None]:
    """The model by its name, or the model itself."""
    if isinstance(model, str):
        return ModelRequest(model, **loading), None
    if isinstance(model, LoadedModel):
        return None, reloaded(model, loading.pop("output", None), loading)
    from rap_keras.models.loading import load_model

    return None, load_model(model, **loading)
