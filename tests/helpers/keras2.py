"""Keras 2 for the tests of the plugin: that of TensorFlow, or tf_keras next to Keras 3."""

import pytest
import tensorflow as tf

pytest.importorskip("innvestigate", reason="iNNvestigate is not installed")
k2 = tf.keras
