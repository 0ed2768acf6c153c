"""Composites: which rule each layer of a model gets. Presets are tables from layer types to rules."""

from collections.abc import Collection, Mapping
from typing import Any

from rap_keras.errors import InputError, UnknownLayerError
from rap_keras.network import layer_types as types
from rap_keras.network.attention import projections
from rap_keras.network.graph import Graph, Node, batch_axis
from rap_keras.network.kernels import channel_axis
from rap_keras.network.negation import Negative
from rap_keras.rules import Rule, name_of, required_facts, routing
from rap_keras.support.warn import warn

LayerType = str | type
_registered: dict[type, Rule] = {}
# Methods to recommend if a layer has no rule.
WITHOUT_RULES = "gradient, integrated_gradients, smoothgrad; for images also occlusion and rise"


def register_rule(layer_type: type, rule: Rule) -> None:
    """Registers a rule for a layer type, for methods that propagate relevance.

    It takes precedence over built-in rules. It also applies to subclasses, unless they define a `call`.

    Args:
        layer_type: The class of the layer.
        rule: A function `rule(layer, inputs, outputs, relevances)` that returns a list of relevances,
            one per input tensor, in the inputs' shapes; see `rap_keras.rules`.

    Raises:
        InputError: `layer_type` is not a class, or `rule` is not callable.

    Example:
        >>> import keras
        >>> class Twice(keras.layers.Layer):
        ...     def call(self, x):
        ...         return 2 * x
        >>> rap_keras.register_rule(Twice, lambda layer, inputs, outputs, relevances: relevances)
        >>> model = keras.Sequential([keras.Input((3,)), Twice(), keras.layers.Dense(2)])
        >>> rap_keras.create_analyzer("rap", model).analyze(np.ones((1, 3), "float32")).shape
        (1, 3)
    """
    if not isinstance(layer_type, type):
        raise InputError(
            f"Expected a layer class, got {layer_type!r}: pass the class, e.g. type(layer)."
        )
    if not callable(rule):
        raise InputError(
            f"Expected a rule(layer, inputs, outputs, relevances), got {rule!r}: pass a function."
        )
    _registered[layer_type] = rule


def has_registered_rule(layer: Any) -> bool:
    """Whether `register_rule` has a rule for a layer's type."""
    return types.lookup(layer, _registered) is not None


class Composite:
    """A table of rules, with other rules for the first and the last linear layers.

    Args:
        rules: Maps layer types to rules. A type is a class, or the name of a class of Keras. Rules from
            `register_rule` take precedence, unless there is a default.
        first: The rule of the kernel layers that no other kernel layer feeds, where it can be applied
            (the input rule needs an image).
        last: The rule of the kernel layers that feed no other. It takes precedence over `first`.
        dense: The rule of the other kernel layers of vectors, those of a classifier's head: all axes of
            their input except batch and channels have size 1. None: the rule of their type.
        default: The rule of all types that are not in the table. None: such layers raise an error.
        attention: The rule of the kernel layers that make queries, keys and values, and of those that
            take what an attention returns. `first` and `last` take precedence over it.

    Raises:
        InputError: A rule is not callable.

    Example:
        >>> from rap_keras.composites.rap import RAP
        >>> from rap_keras.rules import lrp
        >>> composite = rap_keras.Composite({**RAP, "Dense": lrp.flat})
        >>> model = rap_keras.bundled.load("vgg")
        >>> analyzer = rap_keras.create_analyzer("lrp", model, composite=composite)
        >>> analyzer.analyze(np.ones((1, 64, 64, 3), "float32")).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self,
        rules: Mapping[Any, Rule],
        first: Rule | None = None,
        last: Rule | None = None,
        default: Rule | None = None,
        dense: Rule | None = None,
        attention: Rule | None = None,
    ) -> None:
        parts = {"first": first, "last": last, "dense": dense}
        parts |= {"default": default, "attention": attention}
        for kind, rule in (*rules.items(), *parts.items()):
            if rule is not None and not callable(rule):
                raise InputError(f"Expected a rule for {kind!r}, got {rule!r}: pass a function.")
        self.rules = dict(rules)
        self.first = first
        self.last = last
        self.dense = dense
        self.default = default
        self.attention = attention
        # The rule of a limit by a constant, as in activations; None if the default applies to all.
        self.limits: Rule | None = None if default else routing.share_sum

    def layer_classes(self) -> set[type]:
        """The classes of layers, not given by name, that the table has rules for."""
        return {kind for kind in self.rules if isinstance(kind, type) and hasattr(kind, "call")}

    def assign(self, graph: Graph) -> "RuleTable":
        """The rule of every node of a graph.

        Raises:
            UnknownLayerError: A layer has no rule.
        """
        self._warn_of_unknown_names(graph)
        first = self._first_layers(graph) if self.first else set()
        last = graph.last_linear() if self.last else set()
        attention = projections(graph) if self.attention else set()
        rows: list[tuple[Node, Rule | None]] = []
        for node in graph.nodes:
            rule = self._rule(graph, node)
            if node.name in last:
                rule = self.last
            elif node.name in first and self.first and _can_work(self.first, graph, node):
                rule = self.first
            elif graph.only_masks(node):
                rule = routing.nothing
            elif self.dense and _maps_vectors(graph, node):
                rule = self.dense
            elif node.name in attention:
                rule = self.attention
            rows.append((node, rule))
        table = RuleTable(rows)
        if any(rule is None for _, rule in rows):
            raise UnknownLayerError(_unknown(table, self.rules))
        return table

    def _warn_of_unknown_names(self, graph: Graph) -> None:
        bases = {base for node in graph.nodes for base in type(node.layer).__mro__}
        known = types.NAMED | {base.__name__ for base in bases if types.is_library_class(base)}
        for name in self.rules:
            if isinstance(name, str) and name not in known:
                warn(
                    f"The rule for {name!r} has no effect, because no layer has a rule by this name: "
                    "correct the name, or pass the class itself, as for custom layers and for layers "
                    "that are opened."
                )

    def _first_layers(self, graph: Graph) -> set[str]:
        return graph.first_linear()

    def _rule(self, graph: Graph, node: Node) -> Rule | None:
        if self.default is None and _differs_from_its_name(graph, node):
            return _registered.get(type(node.layer))
        limit = types.is_a(node.layer, {"Maximum", "Minimum", "Where"}) and len(node.inputs) == 1
        if limit and self.limits:
            return self.limits
        registered = {} if self.default else _registered
        found = types.lookup(node.layer, self.rules | registered) or self.default
        # No model has such a node, so a custom table may lack it.
        turns = found is None and isinstance(node.layer, Negative)
        return routing.pass_on if turns else found


def _differs_from_its_name(graph: Graph, node: Node) -> bool:
    """Whether an argument makes a layer compute something other than its type suggests."""
    layer = node.layer
    if types.is_a(layer, {"Average"}) and not types.is_layer(layer):  # ops.average, with weights
        return True
    if types.is_a(layer, types.CONTRACTION) and len(node.inputs) != 2:
        return True
    if types.is_a(layer, {"RandomCrop"}):
        return graph.shapes[node.inputs[0]] != graph.shapes[node.outputs[0]]
    smooth = getattr(layer, "interpolation", "nearest") in ("nearest", "bilinear", "area")
    return graph.crosses_samples(node) or (types.is_a(layer, types.AVERAGING) and not smooth)


def _maps_vectors(graph: Graph, node: Node) -> bool:
    """Whether a node is a kernel layer of vectors: samples with at most one position."""
    if not types.is_a(node.layer, types.KERNEL) or not node.inputs:
        return False
    shape = graph.shapes[node.inputs[0]]
    one = {batch_axis(shape) or 0, channel_axis(node.layer, len(shape))}
    return all(size == 1 for axis, size in enumerate(shape) if axis not in one)


def _can_work(rule: Rule, graph: Graph, node: Node) -> bool:
    return "box" not in required_facts(rule) or all(graph.has_box(slot) for slot in node.inputs)


class RuleTable:
    """The rule of each layer of a model. Printing it shows a table.

    Attributes:
        rows: Nodes and their rules, in the order of computation.

    Example:
        >>> analyzer = rap_keras.create_analyzer("rap", rap_keras.bundled.load("vgg"))
        >>> [rap_keras.rules.name_of(rule) for _, rule in analyzer.rules().rows][:2]
        ['rap.first', 'routing.winner']
    """

    def __init__(self, rows: list[tuple[Node, Rule | None]]) -> None:
        self.rows = rows

    def __repr__(self) -> str:
        cells = [("layer", "type", "rule")]
        for node, rule in self.rows:
            named = name_of(rule) if rule else "??? none"
            cells.append((node.name, type(node.layer).__name__, named))
        widths = [max(len(row[i]) for row in cells) for i in range(2)]
        return "\n".join(f"{a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in cells)

    def __len__(self) -> int:
        return len(self.rows)


def _unknown(table: RuleTable, rules: Mapping[Any, Rule]) -> str:
    unknown = [node for node, rule in table.rows if rule is None]
    kinds = sorted({type(node.layer).__name__ for node in unknown})
    bases = {base.__name__ for node in unknown for base in type(node.layer).__mro__[1:]}
    why = " (a subclass that defines call() needs its own rule)" if bases & set(rules) else ""
    closed = "".join(
        f"\nLayer {n.name!r} cannot be opened: {n.closed}." for n in unknown if n.closed
    )
    lines = "\n".join(f"    rap_keras.register_rule({kind}, my_rule)" for kind in kinds)
    return (
        f"Expected layers with a known rule, got {len(unknown)} of type {', '.join(kinds)}{why}; "
        f"use a method that needs none ({WITHOUT_RULES}), or write my_rule(layer, inputs, outputs, "
        f"relevances) and run\n{lines}"
        f"\n{closed}\n{table}"
    )


def table(*parts: tuple[Collection[LayerType], Rule]) -> dict[Any, Rule]:
    """Makes a table of rules from pairs of type names and a rule. Later pairs override earlier ones.

    Args:
        *parts: Pairs of a set of layer types (names or classes) and their rule.

    Returns:
        Layer type => rule.

    Example:
        >>> from rap_keras.rules import lrp, routing
        >>> rules = rap_keras.composites.table(({"Dense"}, lrp.z_plus), ({"ReLU"}, routing.pass_on))
        >>> sorted(rules)
        ['Dense', 'ReLU']
    """
    return {name: rule for names, rule in parts for name in names}
