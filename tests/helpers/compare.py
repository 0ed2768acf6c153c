"""When two maps count as equal."""

import numpy as np

from helpers.tensors import array

# The largest difference between two computations of a value, as a share of the largest value. Another
# processor, number of threads or batch size sums in another order. A sum of n terms is then off
# by about eps sqrt(n), and a few layers add up; here n is at most some thousands.
FLOAT32 = 100 * float(np.finfo(np.float32).eps)  # 1.2e-5
# Far more than eps sqrt(n), and far below the smallest error that matters.
FLOAT64 = 1e-10


def assert_same(found, expected, tolerance=FLOAT32):
    """Equal except for rounding, which threads and fusion change from one traced function to the next.

    The tolerance is a share of the largest value of the expected map.
    """
    found, expected = array(found), array(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max())
