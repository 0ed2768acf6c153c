"""Models of Keras 2."""
