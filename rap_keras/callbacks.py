"""Heat maps during training."""

import io
from pathlib import Path
from typing import Any

import keras

from rap_keras.errors import InputError
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.support.options import read_integer
from rap_keras.tensors.summaries import Pictures, check_writer

DPI = 100


class HeatMaps(keras.callbacks.Callback):
    """Writes heat maps of samples to TensorBoard, before training and after epochs.

    With `model.fit(x, y, callbacks=[HeatMaps("logs", x_val[:4], images=photos[:4])])`, the command
    `tensorboard --logdir logs` shows them under Images, with a slider over the epochs. On JAX and
    PyTorch, TensorBoard must be installed.

    Args:
        log_dir: The folder that TensorBoard reads.
        x: The samples, the model's input, `(batch, height, width, channels)`.
        images: The pixels of the samples, drawn next to the maps, as in `rap_keras.plot.overlay`. None
            draws only the maps.
        method: The method; `rap_keras.analyzer_names()` lists the names.
        target: The target, as in `Analyzer.analyze`: a class, or one class per sample `(batch,)`, such
            as the true classes. None is the class with the largest logit, which can change during
            training.
        every: The number of epochs between two figures.
        **options: Options of the method, as in `create_analyzer`.

    Raises:
        InputError: An argument is wrong, or TensorBoard is missing; or, when training begins, the model
            cannot be explained.

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
        check_writer()
        self.every = read_integer("every", every, 1)
        self._x, self._images, self._target = x, images, target
        self._method = MethodSpec(method, method, options)
        if images is not None and len(images) != len(x):
            raise InputError(
                f"Expected one image for each of the {len(x)} samples, got {len(images)}.", "images"
            )
        self._log_dir = str(log_dir)
        self._explainer: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Draws the maps before training, as step 0."""
        self._open()
        self._writer = Pictures(self._log_dir)
        self._write(0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Draws the maps after an epoch, as step epoch + 1."""
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
            # The opened model has constants that were computed from earlier weights.
            self._open()
            found = self._explainer.explain(self._x, self._target)
        figure, file = found.plot(self._images), io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        width, height = (round(inches * DPI) for inches in figure.get_size_inches())
        self._writer.add(found.method, (width, height), file.getvalue(), step)
