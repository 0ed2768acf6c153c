"""The structure of a model, independent of a backend."""
