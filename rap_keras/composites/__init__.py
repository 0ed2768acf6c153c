"""Composites: which rule each layer of a model gets. Presets are tables from layer types to rules."""

from rap_keras.composites.composite import Composite, RuleTable, register_rule, table
from rap_keras.composites.rap import rap_composite
from rap_keras.composites.routing import additions

__all__ = ["Composite", "RuleTable", "additions", "rap_composite", "register_rule", "table"]
