"""What an atlas is fitted to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rap_keras.errors import InputError
from rap_keras.models.loaded import LoadedModel
from rap_keras.models.names import full_name
from rap_keras.models.request import check_request
from rap_keras.pipeline.methods import MethodSpec, check_early, check_given, read_spec
from rap_keras.support.fitting import check_fit
from rap_keras.support.options import read_integer


@dataclass(frozen=True)
class ModelRequest:
    """A model by its name, as `rap_keras.models.load_model` takes it."""

    model: str
    weights: str = "imagenet"
    preprocess: str = "auto"
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    size: int | Sequence[int] | None = None
    output: str | int | None = None

    def __post_init__(self) -> None:
        """Checks the request before Keras is loaded."""
        object.__setattr__(self, "model", full_name(self.model))
        size: Any = tuple(self.size) if isinstance(self.size, list) else self.size
        object.__setattr__(self, "size", size)
        check_request(self.model, self.weights, self.preprocess, self.mean, self.std, size)

    def load(self) -> LoadedModel:
        """Loads the model."""
        import keras

        from rap_keras.models.loading import load_model

        keras.utils.set_random_seed(0)  # random weights are the same in each process
        options: dict[str, Any] = asdict(self)
        return load_model(options.pop("model"), **options)


@dataclass(frozen=True)
class Settings:
    """What is fitted, apart from the model and the images; see `fit`."""

    layer: str | None = None
    method: str = "rap"
    target: int | str | None = None
    count: int = 8
    fit: str = "warp"
    chunk: int = 8

    def __post_init__(self) -> None:
        """Checks the settings as far as possible without the model."""
        read_integer("count", self.count, 1)
        read_integer("chunk", self.chunk, 1)
        check_fit(self.fit)
        if not isinstance(self.target, int | str | None) or isinstance(self.target, bool):
            raise InputError(
                f"Expected target to be one class or None, got {self.target!r}.", "target"
            )
        check_early(self.spec)

    @property
    def spec(self) -> MethodSpec:
        """The method with its options."""
        found = read_spec(self.method)
        check_given(found, "command")
        return found


def relative_names(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """The folder that files have in common, and their names in it."""
    if len(paths) == 1:
        return paths[0].parent, [paths[0].name]
    parents = [path.parent for path in paths]
    common = parents[0]
    while not all(parent.is_relative_to(common) for parent in parents):
        common = common.parent
    return common, [path.relative_to(common).as_posix() for path in paths]
