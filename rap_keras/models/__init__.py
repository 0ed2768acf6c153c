"""Image classifiers by name, with their preprocessing and class names."""

from rap_keras.models.applications import Application, applications
from rap_keras.models.loaded import LoadedModel
from rap_keras.models.loading import load_model
from rap_keras.models.randomisation import randomised

__all__ = ["Application", "LoadedModel", "applications", "load_model", "randomised"]
