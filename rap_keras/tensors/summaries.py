"""Pictures for TensorBoard, written by TensorFlow; on other backends by TensorBoard."""

import time
from collections.abc import Sequence
from typing import Any

from rap_keras.errors import InputError
from rap_keras.tensors.choice import backend_name

PLUGIN = "images"
BLOBS = 3
"""DATA_CLASS_BLOB_SEQUENCE of TensorBoard's summary.proto."""


class Pictures:
    """A file of pictures in a folder that TensorBoard reads.

    Args:
        folder: The folder.

    Raises:
        InputError: TensorBoard, which writes the file, is not installed.
    """

    def __init__(self, folder: str) -> None:
        if backend_name() == "tensorflow":
            import tensorflow as tf

            self._writer: Any = tf.summary.create_file_writer(folder)
            self._add = self._add_by_tensorflow
            return
        check_writer()
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(folder)
        self._add = self._add_by_tensorboard

    def add(self, name: str, size: tuple[int, int], png: bytes, step: int) -> None:
        """Writes a picture.

        Args:
            name: Its name in TensorBoard.
            size: Its width and height.
            png: The picture as a PNG file.
            step: The step of training.
        """
        width, height = (str(n).encode() for n in size)
        self._add(name, [width, height, png], step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _add_by_tensorflow(self, name: str, parts: Sequence[bytes], step: int) -> None:
        # `tf.summary.image` would need TensorBoard to be installed where the model is trained.
        import tensorflow as tf

        metadata = tf.compat.v1.SummaryMetadata(data_class=BLOBS)
        metadata.plugin_data.plugin_name = PLUGIN
        with self._writer.as_default():
            tf.summary.write(name, parts, step, metadata)

    def _add_by_tensorboard(self, name: str, parts: Sequence[bytes], step: int) -> None:
        from tensorboard.compat.proto import event_pb2, types_pb2

        event = event_pb2.Event(wall_time=time.time(), step=step)
        value = event.summary.value.add(tag=name)
        value.metadata.data_class = BLOBS
        value.metadata.plugin_data.plugin_name = PLUGIN
        value.tensor.dtype = types_pb2.DT_STRING
        value.tensor.tensor_shape.dim.add(size=len(parts))
        value.tensor.string_val.extend(parts)
        self._writer.add_event(event)


def check_writer() -> None:
    """Refuses to continue where nothing can write the file.

    Raises:
        InputError: TensorBoard is not installed, and Keras does not use TensorFlow.
    """
    if backend_name() == "tensorflow":
        return
    try:
        import tensorboard.summary.writer.event_file_writer
    except ImportError as error:
        raise InputError(
            f"Expected TensorBoard for HeatMaps, but it cannot be imported ({error}): run pip install "
            "tensorboard."
        ) from error
