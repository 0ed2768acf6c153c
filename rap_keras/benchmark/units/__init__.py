"""Mechanism tests: nine tiny networks whose relevance is known by construction."""

from rap_keras.benchmark.units.networks import UNITS
from rap_keras.benchmark.units.unit import CELLS, Drawn, Unit

__all__ = ["CELLS", "UNITS", "Drawn", "Unit"]
