"""What it means that two maps are the same."""

import numpy as np


def assert_same(found, expected, tolerance=2e-6):
    """Equal but for rounding, which threads and fusion change from one traced function to the next.

    The tolerance is a share of the largest value of the expected map.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max())
