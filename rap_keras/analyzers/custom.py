"""Custom methods: a function of a model, samples and classes that returns maps."""

import inspect
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.registry import read_method
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.target import Target
from rap_keras.inputs.tensors import readable
from rap_keras.support.options import as_json
from rap_keras.support.text import first_line, shown


class FunctionAnalyzer(Analyzer):
    """Explains with your own function, as `rap_keras.register_method` describes it."""

    def __init__(self, model: keras.Model, method: str, **options: Any) -> None:
        self._method_name, self._method = method, read_method(method)
        assert self._method.function is not None
        self._function = self._method.function
        known = _options_of(self._function)
        self._function_options = {
            name: options.pop(name) for name in list(options) if name in known
        }
        super().__init__(model, **options)

    def options(self) -> dict[str, Any]:
        """JSON-serialisable options that recreate this analyzer."""
        shared = {name: as_json(getattr(self, name)) for name in Analyzer.option_names()}
        return shared | {name: as_json(value) for name, value in self._function_options.items()}

    def _write(self, folder: Path) -> None:
        for name, value in self.options().items():
            try:
                json.dumps(value)
            except TypeError:
                raise InputError(
                    f"Expected options that JSON can store to save the analyzer, got {name}="
                    f"{shown(value)}: save the model, and create the analyzer again.",
                    name,
                ) from None
        super()._write(folder)

    @classmethod
    def option_names(cls, method: str = "") -> list[str]:
        """The options of a method: those of its function and of every analyzer."""
        return [*_options_of(read_method(method).function), *super().option_names()]

    def _explained(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        if target.kind in ("all", "region"):
            got = "all" if target.kind == "all" else "a region"
            raise InputError(
                f"Expected a class of each sample as target for {self.name!r}, got {got}.", "target"
            )
        if not len(arrays[0]) or target.kind == "classes":
            return super()._explained(arrays, target)
        logits = self._logits_of(arrays)
        neurons = target.neurons(logits)
        # A function explains the only logit of a binary model; for class 0 the signs of its maps change.
        sign = self._sign if self._method.signed(self._function_options) else 1
        parts = [
            self._called([a[chunk] for a in arrays], neurons[chunk])
            for chunk in as_batches(len(neurons), self.batch_size)
        ]
        maps = [sign * np.concatenate(p) for p in zip(*parts, strict=True)]
        return {"maps": maps, "logits": logits, "neurons": neurons}

    def _called(self, arrays: list[np.ndarray], neurons: np.ndarray) -> list[np.ndarray]:
        several = len(arrays) > 1
        x = [a.copy() for a in arrays] if several else arrays[0].copy()
        try:
            given = self._function(self.model, x, neurons.copy(), **self._function_options)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"The method {self.name!r} failed ({type(error).__name__}: {first_line(error)})."
            ) from error
        maps = list(given) if several else [given]
        if len(maps) != len(arrays):
            raise InputError(
                f"Expected {self.name!r} to return {len(arrays)} maps, one for each input, got "
                f"{len(maps)}."
            )
        return [self._read_map(m, a) for m, a in zip(maps, arrays, strict=True)]

    def _read_map(self, given: Any, array: np.ndarray) -> np.ndarray:
        dtype = self._dtype(array.dtype)
        try:
            found = np.asarray(readable(given), dtype)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Expected {self.name!r} to return numbers, got {type(given).__name__}."
            ) from error
        if found.shape == array.shape:
            return found
        if found.shape in (array.shape[:-1], (*array.shape[:-1], 1)):
            # One value per pixel, divided among the channels.
            found = found.reshape(*array.shape[:-1], 1) / array.shape[-1]
            return np.broadcast_to(found, array.shape).astype(dtype)
        raise InputError(
            f"Expected {self.name!r} to return maps of the shape of x, {array.shape}, or without its "
            f"channels, {array.shape[:-1]}, got {found.shape}."
        )


def _options_of(function: Any) -> list[str]:
    """The parameters of a function after the model, the samples and the classes."""
    parameters = list(inspect.signature(function).parameters.values())[3:]
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
