"""Keras 2, as the plugin's tests use it: of TensorFlow itself, or tf_keras beside Keras 3."""

import pytest
import tensorflow as tf

pytest.importorskip("innvestigate", reason="iNNvestigate is not installed")
k2 = tf.keras
