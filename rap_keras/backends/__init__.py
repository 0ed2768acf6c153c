"""Opened models: a Keras 3 or Keras 2 model as a graph that can be run."""
