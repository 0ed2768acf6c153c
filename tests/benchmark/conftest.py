"""Fixtures of the benchmark's tests."""

from helpers.benchmarks import common, network, photos, whole

__all__ = ["common", "network", "photos", "whole"]
