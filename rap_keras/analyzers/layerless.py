"""What methods without relevance of layers answer."""

from typing import Any

from rap_keras.analyzers.concepts import Concepts
from rap_keras.analyzers.conservation import ConservationReport
from rap_keras.composites.composite import RuleTable
from rap_keras.errors import InputError


class LayerlessAnalyzer:
    """The part of an analyzer that refuses questions about layers; see `PropagationAnalyzer`."""

    def rules(self) -> RuleTable:
        """The rule of every layer, for methods that propagate by rules; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def analyze_layers(
        self, x: Any, target: Any = None, *, against: Any = None, neuron_selection: Any = None
    ) -> dict[str, Any]:
        """Relevance layer by layer, for methods that have it; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def conservation(
        self, x: Any, target: Any = None, *, against: Any = None, neuron_selection: Any = None
    ) -> ConservationReport:
        """Sums of relevance layer by layer, for methods that have it; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def concepts(
        self,
        x: Any,
        layer: str,
        target: Any = None,
        *,
        against: Any = None,
        neuron_selection: Any = None,
    ) -> Concepts:
        """Relevance of the channels of a layer, for methods that have it; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def _conditional(self, x: Any, target: Any, against: Any, concepts: Any) -> Any:
        raise self._no_layers()

    def _no_layers(self) -> InputError:
        this: Any = self
        return InputError(
            f"The method {this.name!r} has no relevance of layers: use one that propagates relevance, "
            'such as "rap".'
        )
