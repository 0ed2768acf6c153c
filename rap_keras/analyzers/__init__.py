"""Analyzers: methods at work on a model."""

from rap_keras.analyzers.registry import analyzer_names, create_analyzer, load_analyzer

__all__ = ["analyzer_names", "create_analyzer", "load_analyzer"]
