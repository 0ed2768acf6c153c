"""Keras 2 models."""
