"""The backends of a benchmark: the native backend and iNNvestigate."""

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from rap_keras.analyzers.registry import needs_patterns
from rap_keras.backends.version import has_keras3, keras_release
from rap_keras.benchmark.metrics.view import Inputs, Stack
from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError
from rap_keras.models.loading import LoadedModel, load_model
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.methods import MethodSpec


class Explain(Protocol):
    """A method on a model."""

    def __call__(self, x: Inputs, targets: Sequence[int], first: int = 0) -> Stack:
        """The relevance of images `(n, height, width, channels)` for the target of each, in their shape.

        If images are explained in several parts, `first` is the index of the first image of a part, so
        that methods with noise give the same maps as for all images at once.
        """
        ...


class _Keras:
    """Keras 3 with the analyzers of rap_keras."""

    def __init__(self, settings: Settings, loaded: LoadedModel | None = None) -> None:
        if not has_keras3():
            release = ".".join(map(str, keras_release()))
            raise InputError(
                f'backend="keras" needs Keras 3, got Keras {release}: choose backend="innvestigate".',
                "backend",
            )
        self.versions, self.device = native_versions(), device()
        self.loaded = loaded or _load(settings)
        self._settings = settings

    def logits(self, x: Inputs) -> Stack:
        """The logits of a batch of preprocessed images, `(n, classes)`."""
        return self.loaded.logits(x)

    def weights(self) -> Iterable[NDArray[Any]]:
        return (np.asarray(weight) for weight in self.loaded.model.weights)

    def explainer(self, method: MethodSpec) -> Explain:
        try:
            explainer = Explainer(self.loaded, method, batch_size=self._settings.batch_size)
        except InputError as error:
            error.arguments = ()  # a method's options, although flags may have the same names
            raise

        def explain(x: Inputs, targets: Sequence[int], first: int = 0) -> Stack:
            return explainer.explain(x, list(targets), first=first).relevance

        return explain

    def enlarged(self, size: tuple[int, int]) -> "_Keras":
        """The same for images of another size than the model's."""
        return _Keras(self._settings, self.loaded.enlarged(size))

    def randomised(self, stage: str) -> "_Keras":
        """The same with random parameters in the last layers; see `rap_keras.models.randomised`."""
        return _Keras(self._settings, self.loaded.randomised(stage, self._settings.seed))


class _Innvestigate:
    """iNNvestigate's analyzers, and rap_keras' plugin for "rap" and "pattern..."."""

    def __init__(self, settings: Settings) -> None:
        try:
            from rap_keras import innvestigate as plugin
            from rap_keras import tensors as ops
        except ImportError as error:
            raise InputError(
                f'backend="innvestigate" cannot be used: {error}', "backend"
            ) from error
        self._plugin = plugin
        self.device = device()
        with contextlib.nullcontext() if has_keras3() else plugin.new_graph():
            self.loaded = _load(settings)
            self._model = self._made()
        self.versions = {
            "tensorflow": ops.version(),
            "keras": version("tf_keras" if has_keras3() else "keras"),
            "innvestigate": version("innvestigate"),
        }

    def _made(self, **options: Any) -> Any:
        """The model in iNNvestigate's form."""
        make = self._plugin.from_keras3 if has_keras3() else self._plugin.prepare
        return make(self.loaded.model, keep_head=False, **options)

    def logits(self, x: Inputs) -> Stack:
        with self._plugin.graph_scope(self._model), _without_keras2_warning():
            return self._model.predict_on_batch(x)

    def weights(self) -> Iterable[NDArray[Any]]:
        with self._plugin.graph_scope(self._model):
            return self._model.get_weights()

    def explainer(self, method: MethodSpec) -> Explain:
        analyze = self._analyzer(method, self._model)
        if not self.loaded.is_binary:
            return analyze
        by_class = {1: analyze}

        def explain(x: Inputs, targets: Sequence[int], first: int = 0) -> Stack:
            chosen, maps = np.asarray(targets), np.zeros(x.shape)
            for target in np.unique(chosen).tolist():
                if target not in by_class:
                    by_class[target] = self._of_class_0(method)
                where = chosen == target
                maps[where] = by_class[target](x[where], [0] * int(where.sum()))
            return maps

        return explain

    def _of_class_0(self, method: MethodSpec) -> Explain:
        if needs_patterns(method.name):
            raise InputError(
                f'{method.title} explains only class 1 with backend="innvestigate", because its '
                'patterns belong to that logit: choose backend="keras".',
                "backend",
            )
        return self._analyzer(method, self._opposite)

    @functools.cached_property
    def _opposite(self) -> Any:
        """The model with the logit of class 0, if the model has one sigmoid."""
        return self._made(negated=True)

    def _analyzer(self, method: MethodSpec, model: Any) -> Explain:
        build = self._plugin.fast_building
        try:
            with build():
                analyzer = self._plugin.create_analyzer(
                    method.name, model, neuron_selection_mode="index", **method.options
                )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"iNNvestigate has no method {method.title!r} with these options ({error})."
            ) from error

        def explain(x: Inputs, targets: Sequence[int], first: int = 0) -> Stack:
            with build(), _without_keras2_warning():  # analyzers are built when first used
                return np.asarray(analyzer.analyze(x, neuron_selection=list(targets)))

        return explain

    def enlarged(self, size: tuple[int, int]) -> NoReturn:
        raise InputError(
            'Expected grid_cells="shrunk" with backend="innvestigate", got "full".', "grid_cells"
        )

    def randomised(self, stage: str) -> NoReturn:
        raise InputError(
            'Expected metrics without randomised models with backend="innvestigate": leave mprt, smprt '
            "and emprt out.",
            ("metrics", "backend"),
        )


Backend = _Keras | _Innvestigate
"""A model with its methods, the versions of the libraries and the device."""


def open_backend(settings: Settings, loaded: LoadedModel | None = None) -> Backend:
    """Loads the settings' model on their backend; `loaded` is a Keras model to use instead."""
    return _Keras(settings, loaded) if settings.backend == "keras" else _Innvestigate(settings)


def _load(settings: Settings) -> LoadedModel:
    import keras

    s = settings
    keras.utils.set_random_seed(s.seed)  # random weights are the same in each process
    loaded = load_model(s.model, s.weights, s.preprocess, s.mean, s.std, s.size)
    loaded.check_classifier()
    return loaded


@contextlib.contextmanager
def _without_keras2_warning() -> Iterator[None]:
    """Silences a warning of Keras 2 about its internals at each prediction in graph mode."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`Model.state_updates`")
        yield


def native_versions() -> dict[str, str]:
    """The versions of Keras and its backend."""
    import keras

    from rap_keras import tensors as ops
    from rap_keras.tensors.choice import backend_name

    return {backend_name(): ops.version(), "keras": keras.__version__}


def device() -> str:
    """The device. GPUs get deterministic operations; otherwise results would differ between runs."""
    from rap_keras import tensors as ops

    kind = ops.device()
    if kind == "CPU":
        return kind
    ops.deterministic()
    return f"{kind}, deterministic operations"
