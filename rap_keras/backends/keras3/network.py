"""An opened Keras 3 model."""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.backends.keras3.opening import ONE_SIZE
from rap_keras.backends.keras3.source import Source, specs
from rap_keras.backends.keras3.trace import trace, without_head
from rap_keras.backends.network import Network, Run
from rap_keras.errors import InputError
from rap_keras.inputs.classes import read_output
from rap_keras.network.layer_types import SIZED, is_a
from rap_keras.propagate import logits_of
from rap_keras.support.text import first_line


class Keras3Network(Network):
    """A Keras 3 model, traced once; its functions are those of `rap_keras.tensors`.

    `output` is the given output and `position` its number. `kept` are classes of layers that stay whole
    although they could be opened, because they have rules.
    """

    _alone = False  # whether it is built for batches of one and mixes the samples of larger ones

    def __init__(
        self, model: Any, output: str | int | None = None, kept: Collection[type] = ()
    ) -> None:
        ops.attach_weights(model)
        self._source = Source.of(model)
        self.position = read_output(output, self._source.output_names)
        self.output = output if output is None or isinstance(output, str) else int(output)
        self.kept = frozenset(kept)
        self._whole = trace(self._source, True, self.position, self.kept)
        self._read = [(variable, np.array(variable)) for variable in self._whole.read]
        self._variables: list[Any] = []  # of the model when it was checked
        super().__init__(model, without_head(self._whole))

    def __reduce__(self) -> Any:
        """A copy, also by pickle, is opened again, of the copied model."""
        return _opened, (self.model, self.output, self.kept, self.labels)

    @property
    def own_inputs(self) -> list[ops.Spec]:
        """Shapes and dtypes of the model's inputs."""
        return specs(self._source.inputs)

    @property
    def _current_variables(self) -> list[Any]:
        """The model's variables; all have values, also while it is trained."""
        ops.attach_weights(self.model)
        return self.model.variables

    @property
    def inputs(self) -> list[ops.Spec]:
        """Shapes and dtypes of the inputs; a view has further ones."""
        return self.own_inputs

    @property
    def outputs(self) -> list[ops.Spec]:
        """Shapes and dtypes of the model's own outputs."""
        return specs(self._source.outputs)

    def check(self, sample: Sequence[np.ndarray]) -> None:
        """Like `Network.check`. At each call it also checks that constant weights have not changed.

        A model that has other variables than before, such as those of LoRA, is checked again.
        """
        variables = self._current_variables
        for variable, value in self._read:
            if not np.array_equal(variable, value, equal_nan=True):
                raise InputError(
                    "Expected the weights with which the model was opened, but "
                    f"{variable.path!r}, which the call of its layer uses as a constant, has changed: "
                    "create the analyzer again."
                )
        if not _same(variables, self._variables):
            self._variables, self._checked = variables, None
        super().check(sample)
        if self._alone and len(sample[0]) > 1:
            raise InputError(
                "Expected one sample at a time, as the model is built for batches of one and mixes the "
                f"samples of larger ones, got {len(sample[0])}: set batch_size=1, or build the model "
                "without a batch size.",
                "batch_size",
            )

    def _refuse_mixing(self, sample: Sequence[np.ndarray]) -> None:
        try:
            super()._refuse_mixing(sample)
        except InputError:
            if 1 not in [t.shape[0] for t in self._source.inputs]:
                raise
            self._alone = True

    def _build(
        self,
        function: Callable[..., Any],
        others: Sequence[ops.Spec] = (),
        jit_compile: bool = False,
    ) -> Run:
        return self._current_by_size(
            lambda inputs, variables: ops.compiled(function, inputs, others, variables, jit_compile)
        )

    def compiled_by_column(
        self,
        function: Callable[..., Any],
        column: ops.Spec,
        others: Sequence[ops.Spec] = (),
        jit_compile: bool = False,
    ) -> Run:
        """Compiles a function of the model's inputs, others and each column of another array.

        The function takes the inputs and the others, and returns a function of a column `(batch, ...)`.
        What is compiled takes k columns, `(batch, k, ...)`, and returns k results. Anything that does
        not depend on the column is computed once.
        """

        def compiled(inputs: Sequence[ops.Spec], variables: Sequence[Any]) -> Run:
            return ops.compiled_by_column(function, inputs, others, column, variables, jit_compile)

        return self._checking(lambda: self._current_by_size(compiled))

    def _current(self, build: Callable[[Sequence[Any]], Run]) -> Run:
        """A function built of the model's variables, and again when it has others.

        What is compiled reads the variables that the model had then.
        """
        built: list[Any] = []  # variables, function

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            variables = self._current_variables
            if not built or not _same(variables, built[0]):
                built[:] = variables, build(variables)
            return built[1](arrays, *given)

        return run

    def _immediate(self, function: Callable[..., Any]) -> Run:
        return self._current(lambda variables: ops.immediate(function, variables))

    def _current_by_size(self, compiled: Callable[[Sequence[ops.Spec], Sequence[Any]], Run]) -> Run:
        return self._current(
            lambda variables: self._by_size(lambda inputs: compiled(inputs, variables))
        )

    def _by_size(self, compiled: Callable[[Sequence[ops.Spec]], Run]) -> Run:
        """The compiled function, which is made for any size of the inputs if possible."""
        built: dict[Any, Any] = {}
        if self._needs_sizes():
            built[None] = None

        def fitting(arrays: Sequence[np.ndarray]) -> Run:
            sizes = tuple(a.shape[1:] for a in arrays)
            if None not in built:
                try:
                    return built.setdefault(None, compiled(self.inputs))
                except Exception:  # a layer may raise any error for an unknown size
                    if all(None not in t.shape[1:] for t in self.inputs):
                        raise
                    built[None] = None
            if built[None] is not None:
                return built[None]
            if sizes not in built:
                pairs = zip(self.inputs, sizes, strict=True)
                built[sizes] = compiled([ops.Spec([None, *size], t.dtype) for t, size in pairs])
            return built[sizes]

        return lambda arrays, *given: fitting(arrays)(arrays, *given)

    def _needs_sizes(self) -> bool:
        return any(
            is_a(node.layer, SIZED) and None in self.graph.shapes[node.inputs[0]][1:]
            for node in self.graph.nodes
            if node.inputs
        )

    def part_sizes(self, jit_compile: bool) -> Sequence[int]:
        """The numbers of samples that programs are compiled for; none if any number will do."""
        return () if self._fixed_size() else ops.part_sizes(jit_compile)

    def _fixed_size(self) -> int | None:
        sizes = [] if self._source.context.traced else [t.shape[0] for t in self._source.inputs]
        return next((n for n in sizes if n is not None and n > 1), None)

    def _logits_of(self, sample: Sequence[np.ndarray]) -> Any:
        return self._graph_output(sample)

    @cached_property
    def _graph_output(self) -> Run:
        return self._immediate(lambda xs: logits_of(self.graph, xs))

    @cached_property
    def _whole_output(self) -> Run:
        return self._immediate(lambda xs: logits_of(self._whole, xs))

    @cached_property
    def _own_output(self) -> Run:
        def output(inputs: list[ops.Tensor]) -> ops.Tensor:
            return self._source.own_output(inputs)[self.position]

        return self._immediate(output)

    def _takes(self, sample: Sequence[np.ndarray]) -> bool:
        try:
            self._own_output(sample)
        except Exception:  # a layer may raise any error
            return False
        return True

    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        expected = self._own_output(sample)
        try:
            found = self._whole_output(sample)
        except InputError:
            raise
        except (ValueError, TypeError, *ops.ERRORS) as error:
            sizes = any(None in t.shape[1:] for t in self._source.inputs)
            raise InputError(
                "Expected layers that compute the same outside the model, but called separately they "
                f"fail ({first_line(error)}): {ONE_SIZE if sizes else 'flatten nested models'}."
            ) from error
        return found, expected

    @property
    def output_names(self) -> list[str]:
        """The names of the model's outputs."""
        return self._source.output_names


def _opened(
    model: Any, output: str | int | None, kept: Collection[type], labels: Sequence[str] | None
) -> Keras3Network:
    network = Keras3Network(model, output, kept)
    network.labels = labels
    return network


def _same(variables: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether these are the same variables, of any values."""
    return list(map(id, variables)) == list(map(id, others))


def open_output(
    model: Any, output: str | int | None = None, kept: Collection[type] = ()
) -> Keras3Network:
    """Opens a model up to one of its outputs.

    The model may be opened, and is then returned unchanged if this was done for the output and with
    these layers whole; or be an object with an opened model as its `network`. None is the only output,
    or the one that was opened.
    """
    held = getattr(model, "network", None)
    if isinstance(held, Keras3Network):
        model = held
    if not isinstance(model, Keras3Network):
        return Keras3Network(model, output, kept)
    same = output is None or read_output(output, model.output_names) == model.position
    if same and model.kept.issuperset(kept):
        return model
    labels = model.labels if same else None
    return _opened(model.model, model.output if output is None else output, kept, labels)
