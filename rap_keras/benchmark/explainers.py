"""Who explains in a benchmark: the native backend, or iNNvestigate."""

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rap_keras.analyzers.registry import needs_patterns
from rap_keras.backends.version import has_keras3
from rap_keras.benchmark.methods import Method
from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError
from rap_keras.models.loading import LoadedModel, load_model


class Explain(Protocol):
    """See `Backend.explainer`."""

    def __call__(  # noqa: D102
        self, x: NDArray[np.float32], targets: Sequence[int], first: int = 0
    ) -> NDArray[np.floating]: ...


class Backend(Protocol):
    """A model with its methods.

    Attributes:
        loaded: The model, its preprocessing and its size.
        versions: The libraries that compute.
        device: What computes, as the protocol tells it.
    """

    loaded: LoadedModel
    versions: dict[str, str]
    device: str

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """The logits of a batch of preprocessed images, `(n, classes)`."""
        ...

    def weights(self) -> Iterable[NDArray[Any]]:
        """The model's weights."""
        ...

    def explainer(self, method: Method) -> Explain:
        """A function of preprocessed images `(n, height, width, channels)` and a neuron of each.

        It returns the relevance, of the images' shape. Of images that are explained part by part it is
        told the number of the first, so that methods with noise give what they give of all at once.
        """
        ...

    def enlarged(self, size: tuple[int, int]) -> "Backend":
        """The same for images of a height and width, which the model was not made for.

        Raises:
            InputError: It does not take them.
        """
        ...

    def randomised(self, stage: str) -> "Backend":
        """The same with random parameters in the last layers, see `rap_keras.models.randomised`.

        Raises:
            InputError: The backend cannot do that.
        """
        ...


def open_backend(settings: Settings) -> Backend:
    """Loads the settings' model on their backend.

    Raises:
        InputError: The model or the backend cannot be loaded.
    """
    return (_Keras if settings.backend == "keras" else _Innvestigate)(settings)


def _load(settings: Settings) -> LoadedModel:
    import keras

    s = settings
    keras.utils.set_random_seed(s.seed)  # random weights are the same in each process
    loaded = load_model(s.model, s.weights, s.preprocess, s.mean, s.std, s.size)
    loaded.check_classifier()
    return loaded


class _Keras:
    """Keras 3: rap_keras' own analyzers."""

    def __init__(self, settings: Settings, loaded: LoadedModel | None = None) -> None:
        import keras
        import tensorflow as tf

        if not has_keras3():
            raise InputError(
                f'backend="keras" needs Keras 3, got Keras {keras.__version__}: choose '
                'backend="innvestigate".',
                "backend",
            )
        self.versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
        self.device = _device()
        self.loaded = loaded or _load(settings)
        self._settings = settings

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        return self.loaded.logits(x)

    def weights(self) -> Iterable[NDArray[Any]]:
        return (np.asarray(weight) for weight in self.loaded.model.weights)

    def explainer(self, method: Method) -> Explain:
        from rap_keras.analyzers.factory import create_analyzer

        try:
            analyzer = create_analyzer(
                method.name,
                self.loaded.network,
                neuron_selection_mode="index",
                batch_size=self._settings.batch_size,
                **method.options,
            )
        except InputError as error:
            error.arguments = ()  # options of a method, though flags may have the same names
            raise

        def explain(
            x: NDArray[np.float32], targets: Sequence[int], first: int = 0
        ) -> NDArray[np.floating]:
            with analyzer.counting_from(first):
                return np.asarray(analyzer.analyze(x, list(targets)))

        return explain

    def enlarged(self, size: tuple[int, int]) -> Backend:
        return _Keras(self._settings, self.loaded.enlarged(size))

    def randomised(self, stage: str) -> Backend:
        return _Keras(self._settings, self.loaded.randomised(stage, self._settings.seed))


class _Innvestigate:
    """iNNvestigate: its own analyzers, and rap_keras' plugin for "rap" and "pattern..."."""

    def __init__(self, settings: Settings) -> None:
        try:
            import tensorflow as tf

            from rap_keras import innvestigate as plugin
        except ImportError as error:
            raise InputError(
                f'backend="innvestigate" cannot be used: {error}', "backend"
            ) from error
        self._plugin = plugin
        own = not has_keras3()
        with plugin.new_graph() if own else contextlib.nullcontext():
            self.loaded = _load(settings)
            if own:
                model = plugin.prepare(self.loaded.model, keep_head=False)
        self.device = _device()
        self._model = model if own else plugin.from_keras3(self.loaded.model, keep_head=False)
        self.versions = {
            "tensorflow": tf.__version__,
            "keras": _version("keras" if own else "tf_keras"),
            "innvestigate": _version("innvestigate"),
        }

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        with self._plugin.graph_scope(self._model), _without_keras2_warning():
            return self._model.predict_on_batch(x)

    def weights(self) -> Iterable[NDArray[Any]]:
        with self._plugin.graph_scope(self._model):
            return self._model.get_weights()

    def explainer(self, method: Method) -> Explain:
        analyze = self._analyzer(method, self._model)
        if not self.loaded.is_binary:
            return analyze
        others: list[Explain] = []

        def explain(
            x: NDArray[np.float32], targets: Sequence[int], first: int = 0
        ) -> NDArray[np.floating]:
            zero = np.asarray(targets) == 0
            if zero.any() and needs_patterns(method.name):
                raise InputError(
                    f'{method.title} explains only class 1 with backend="innvestigate", because its '
                    'patterns belong to that logit: choose backend="keras".',
                    "backend",
                )
            if zero.any() and not others:
                others.append(self._analyzer(method, self._opposite))
            maps = np.zeros(x.shape)
            for where, of_class in ((~zero, [analyze]), (zero, others)):
                if where.any():
                    maps[where] = of_class[0](x[where], [0] * int(where.sum()))
            return maps

        return explain

    @functools.cached_property
    def _opposite(self) -> Any:
        """The model with the logit of class 0, for one sigmoid."""
        make = self._plugin.prepare if not has_keras3() else self._plugin.from_keras3
        return make(self.loaded.model, keep_head=False, negated=True)

    def _analyzer(self, method: Method, model: Any) -> Explain:
        """A function of images and the neuron of each, by iNNvestigate's analyzer."""
        try:
            with self._plugin.fast_building():
                analyzer = self._plugin.create_analyzer(
                    method.name, model, neuron_selection_mode="index", **method.options
                )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"iNNvestigate has no method {method.title!r} with these options ({error})."
            ) from error
        build = self._plugin.fast_building

        def explain(
            x: NDArray[np.float32], targets: Sequence[int], first: int = 0
        ) -> NDArray[np.floating]:
            with build(), _without_keras2_warning():  # analyzers are built when first used
                return np.asarray(analyzer.analyze(x, neuron_selection=list(targets)))

        return explain

    def enlarged(self, size: tuple[int, int]) -> Backend:
        raise InputError(
            'Expected grid_cells="shrunk" with backend="innvestigate", got "full".', "grid_cells"
        )

    def randomised(self, stage: str) -> Backend:
        raise InputError(
            'Expected metrics without randomised models with backend="innvestigate": leave mprt, smprt '
            "and emprt out.",
            ("metrics", "backend"),
        )


@contextlib.contextmanager
def _without_keras2_warning() -> Iterator[None]:
    """Silences what Keras 2 says of its own code at each prediction in graph mode."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`Model.state_updates`")
        yield


def _device() -> str:
    """What computes; GPUs are told to sum in one order, or results would differ each time."""
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return "CPU"
    tf.config.experimental.enable_op_determinism()
    return "GPU, deterministic operations"


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
