"""A model of either Keras as a graph that runs."""
