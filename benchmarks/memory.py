"""Print the peak memory of methods that make many copies of an image, for few and many copies.

    python benchmarks/memory.py [--size 256] [--batch 1] [--few 8] [--many 128]

One image, a small model, one process. The memory is that of NumPy and Python, which includes the copies,
as multiples of one float32 image. TensorFlow's tensors of one batch are not counted.
"""

import argparse
import os
import tracemalloc

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import rap_keras
from rap_keras import evaluation


def peak(call):
    """The peak number of bytes allocated during a call."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def calls(model, image, batch):
    """Method => a function that takes the number of copies and returns the call to measure."""
    side = image.shape[1]

    def explained(name, option, **options):
        def prepare(count):
            given = options | {option: count}
            if name == "occlusion":  # this many windows, a pixel or more apart
                given[option] = max(1, side // 2 // max(1, round(count**0.5) - 1))
            analyzer = rap_keras.create_analyzer(name, model, batch_size=batch, **given)
            analyzer.analyze(image)  # traces
            return lambda: analyzer.analyze(image)

        return prepare

    def predict(x):
        return model(x).numpy()

    heatmap = image[0].sum(-1)
    scene = predict, image[0], heatmap, 0

    def measured(function, option, *arguments, **options):
        return lambda count: (
            lambda: function(*arguments, **{option: count}, batch_size=batch, **options)
        )

    return {
        "integrated_gradients": explained("integrated_gradients", "steps"),
        "smoothgrad": explained("smoothgrad", "augment_by_n"),
        "expected_gradients": explained("expected_gradients", "draws", background=image),
        "rise": explained("rise", "masks"),
        "occlusion": explained("occlusion", "stride", window=side // 2),
        "perturbation_curve": measured(evaluation.perturbation_curve, "steps", *scene),
        "faithfulness_correlation": measured(
            evaluation.faithfulness_correlation, "samples", *scene
        ),
        "infidelity": measured(evaluation.infidelity, "samples", *scene),
        "smoothed_map": measured(
            evaluation.smoothed_map, "samples", lambda x: x.sum(-1), image[0], 0.1
        ),
    }


def rows(size, batch, few, many):
    """The lines of a Markdown table."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 8, strides=8, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    yield f"| method | {few} copies | {many} copies | ratio |"
    yield "|---|---|---|---|"
    for name, prepare in calls(model, image, batch).items():
        peaks = [peak(prepare(count)) for count in (few, many)]
        cells = [f"{p / image.nbytes:.1f}" for p in peaks]
        yield f"| `{name}` | {' | '.join(cells)} | {peaks[1] / peaks[0]:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="pixels of a side of the image")
    parser.add_argument("--batch", type=int, default=1, help="copies that are computed at a time")
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--many", type=int, default=128)
    options = parser.parse_args()
    for row in rows(options.size, options.batch, options.few, options.many):
        print(row, flush=True)


if __name__ == "__main__":
    main()
