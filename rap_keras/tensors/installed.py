"""The backends that `rap_keras` knows; imports none."""

KNOWN = ("tensorflow", "jax", "torch")
