"""Heat maps while a model is trained."""

import io
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.support.options import read_integer

DPI = 100
BLOBS = 3
"""DATA_CLASS_BLOB_SEQUENCE of TensorBoard's summary.proto."""


class HeatMaps(keras.callbacks.Callback):
    """Writes heat maps of given samples to TensorBoard: before training, and after epochs.

    With `model.fit(x, y, callbacks=[HeatMaps("logs", x_val[:4], images=photos[:4])])`, the command
    `tensorboard --logdir logs` shows them under Images, with a slider over the epochs.

    Args:
        log_dir: The folder that TensorBoard reads.
        x: The samples, as the model takes them, `(batch, height, width, channels)`.
        images: Their pixels, to be drawn next to the maps, as `rap_keras.plot.overlay` takes them; None
            draws the maps alone.
        method: The method; `rap_keras.analyzer_names()` lists them.
        target: What is explained, as in `Analyzer.analyze`: a class, or one for each sample `(batch,)`,
            such as the right one. None: the class with the largest logit, which may be another after
            each epoch.
        every: Epochs from one picture to the next.
        **options: Those of the method, as `create_analyzer` takes them.

    Raises:
        InputError: An argument is wrong; when training begins, that the model cannot be explained.

    Example:
        >>> import tempfile
        >>> model = rap_keras.bundled.load("vgg")
        >>> model.compile("sgd", "mse")
        >>> x = np.ones((2, 64, 64, 3), "float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     maps = rap_keras.callbacks.HeatMaps(folder, x, method="gradient", target=7)
        ...     history = model.fit(x, np.ones((2, 10)), verbose=0, callbacks=[maps])
    """

    def __init__(
        self,
        log_dir: str | Path,
        x: Any,
        images: Any = None,
        method: str = "rap",
        target: Any = None,
        every: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.every = read_integer("every", every, 1)
        self._x, self._images, self._target = x, images, target
        self._method = MethodSpec(method, method, options)
        if images is not None and len(images) != len(x):
            raise InputError(
                f"Expected an image of each of the {len(x)} samples, got {len(images)}.", "images"
            )
        self._log_dir = str(log_dir)
        self._explainer: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Draws the maps of the model as it is: step 0."""
        self._open()
        self._writer = tf.summary.create_file_writer(self._log_dir)
        self._write(0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Draws the maps after an epoch: step epoch + 1."""
        if (epoch + 1) % self.every == 0:
            self._write(epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        """Closes the file."""
        self._writer.close()

    def _open(self) -> None:
        self._explainer = Explainer(self.model, self._method)

    def _write(self, step: int) -> None:
        try:
            found = self._explainer.explain(self._x, self._target)
        except InputError:
            # Weights that a layer turns into a constant are those of the time when it was opened.
            self._open()
            found = self._explainer.explain(self._x, self._target)
        figure, picture = found.plot(self._images), io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI)
        width, height = (str(round(inches * DPI)) for inches in figure.get_size_inches())
        with self._writer.as_default():
            tf.summary.write(
                found.method, [width, height, picture.getvalue()], step, _image_metadata()
            )
        self._writer.flush()


def _image_metadata() -> Any:
    """What makes TensorBoard show a summary of [width, height, PNG] as an image."""
    # `tf.summary.image` needs TensorBoard where the model is trained, not only where it is looked at.
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "images"
    metadata.data_class = BLOBS
    return metadata
