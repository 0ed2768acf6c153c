"""The inputs of an analyzer: samples, targets, contrast, bounds."""
