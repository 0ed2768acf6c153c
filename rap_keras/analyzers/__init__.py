"""Analyzers: a method applied to a model."""

from rap_keras.analyzers.factory import create_analyzer, load_analyzer
from rap_keras.analyzers.registry import analyzer_names, register_method

__all__ = ["analyzer_names", "create_analyzer", "load_analyzer", "register_method"]
