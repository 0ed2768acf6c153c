"""A method applied to a loaded model."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.analyzers.explanation import Explanation
from rap_keras.analyzers.factory import create_analyzer
from rap_keras.errors import InputError
from rap_keras.models.loading import LoadedModel, load_model
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.pipeline.target import Region, selected
from rap_keras.support.text import shown


class Explainer:
    """A method applied to a loaded or a Keras model, with options of analyzers such as batch_size."""

    def __init__(self, model: Any, method: MethodSpec, **options: Any) -> None:
        self._name = model.name if isinstance(model, LoadedModel) else None
        self._method = method
        options |= method.options
        self._loaded = _loaded(model, options.pop("output", None))
        self.analyzer = create_analyzer(method.name, self._loaded.network, **options)

    def explain(
        self,
        x: Any,
        target: Any = None,
        region: Region | None = None,
        sources: Sequence[Any] = (),
        first: int = 0,
        against: Any = None,
    ) -> Explanation:
        """Explains a batch of images, as returned by `loaded.preprocess`; see `target.selected`.

        `first` is the number of images before this batch: noise depends on an image's position.
        """
        neurons = selected(self._loaded, x, target, region, sources)
        with self.analyzer.counting_from(first):
            found = self.analyzer.explain(x, neurons, against=against)
        return dataclasses.replace(found, method=self._method.title, model=self._name)

    def layers(
        self, x: Any, target: Any = None, region: Region | None = None, sources: Sequence[Any] = ()
    ) -> dict[str, Any]:
        """Returns the relevance of a batch at every layer. The arguments are those of `explain`."""
        neurons = selected(self._loaded, x, target, region, sources)
        return self.analyzer.analyze_layers(x, neurons)


def reloaded(loaded: LoadedModel, output: Any, loading: Mapping[str, Any]) -> LoadedModel:
    """A model that `load_model` returned, with another output; refuses its other arguments."""
    parameters = inspect.signature(load_model).parameters
    for name, value in loading.items():
        default = parameters[name].default
        if value is not None and not (isinstance(value, str) and value == default):
            raise InputError(
                f"Expected no {name} for a model that load_model returned, which has its own, got "
                f"{shown(value)}: pass it to load_model.",
                name,
            )
    return loaded.of_output(output)


def _loaded(model: Any, output: str | int | None) -> LoadedModel:
    if not isinstance(model, LoadedModel):
        return LoadedModel(model, model.name, None, np.asarray, output=output)
    return model.of_output(output)
