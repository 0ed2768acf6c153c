"""An analyzer of a model that is still trained, and that is used often."""

import gc
import os
import warnings

import keras
import numpy as np
import psutil
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain
from helpers.tensors import BACKEND
from keras import layers

import rap_keras
from rap_keras import InputError, create_analyzer

pytestmark = pytest.mark.programs
METHODS = {
    "rap": {},
    "lrp.epsilon": {},
    "gradient": {},
    "integrated_gradients": {"steps": 3},
    "grad_cam": {},
    "occlusion": {"window": 6},
}


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 12, 12, 3)).astype(np.float32)


def small():
    """A network of few layers, as each analyzer of it is traced."""
    x = inputs = keras.Input((12, 12, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2)(x))
    x = layers.Flatten()(layers.ReLU()(x))
    return biased(keras.Model(inputs, layers.Dense(10)(x)))


def train(model, x):
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(x, np.eye(10, dtype="float32")[:4], epochs=2, verbose=0)


@pytest.mark.parametrize(
    "method",
    METHODS,
)
@pytest.mark.quick("rap", "gradient")
def test_maps_are_of_the_weights_after_a_step_of_training(method, x):
    model = small()  # its normalization learns statistics, too
    analyzer = create_analyzer(method, model, **METHODS[method])
    before = analyzer.analyze(x, 3)
    train(model, x)
    after = analyzer.analyze(x, 3)
    assert abs(after - before).max() > 1e-3 * abs(before).max()
    assert_same(after, create_analyzer(method, model, **METHODS[method]).analyze(x, 3))


def test_everything_about_a_model_is_of_its_weights_after_training(x):
    model = small()
    analyzer = create_analyzer("rap", model)
    calls = {
        "explain": lambda a: [a.explain(x, 1).logits],
        "several": lambda a: [a.analyze(x, [[0, 1]] * 4)],
        "layers": lambda a: list(a.analyze_layers(x, 1).values()),
        "conservation": lambda a: [a.conservation(x, 1).model.outputs],
    }
    before = {name: call(analyzer) for name, call in calls.items()}
    train(model, x)
    new = create_analyzer("rap", model)
    for name, call in calls.items():
        found = call(analyzer)
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(found, before[name], strict=True))
        for one, other in zip(found, call(new), strict=True):
            assert_same(one, other)


class Maps(keras.callbacks.Callback):
    """Computes maps after every batch of training."""

    def __init__(self, explain):
        super().__init__()
        self.explain, self.maps = explain, []

    def on_train_batch_end(self, batch, logs=None):
        self.maps.append(self.explain())


@pytest.mark.parametrize("made", ["before", "between"])
def test_maps_between_two_batches_are_of_the_weights_then(made, x):
    model = plain()
    model.compile(keras.optimizers.SGD(0.05), "mse")
    analyzer = create_analyzer("lrp.epsilon", model)
    first = analyzer.analyze(x, 3)
    new = made == "between"
    callback = Maps(
        lambda: (create_analyzer("lrp.epsilon", model) if new else analyzer).analyze(x, 3)
    )
    model.fit(x, np.eye(10)[:4], batch_size=2, verbose=0, callbacks=[callback])
    one, last = callback.maps
    assert abs(one - first).max() > 1e-3 * abs(first).max()
    assert abs(last - one).max() > 1e-3 * abs(first).max()
    assert_same(last, analyzer.analyze(x, 3))


def test_an_analyzer_is_saved_between_two_batches(x, tmp_path):
    model = plain()
    model.compile(keras.optimizers.SGD(0.05), "mse")
    analyzer = create_analyzer("lrp.epsilon", model)

    def saved():
        analyzer.save(tmp_path)
        return rap_keras.load_analyzer(tmp_path).analyze(x, 3)

    callback = Maps(saved)
    model.fit(x, np.eye(10)[:4], verbose=0, callbacks=[callback])
    assert_same(callback.maps[-1], analyzer.analyze(x, 3))


def test_weights_that_another_model_has_are_missed(x):
    if BACKEND != "jax":
        pytest.skip("elsewhere, models have their weights at any time")
    whole = plain()
    analyzer = create_analyzer("lrp.epsilon", keras.Model(whole.inputs, whole.outputs))
    analyzer.analyze(x, 3)
    whole.compile(keras.optimizers.SGD(0.05), "mse")
    with pytest.raises(InputError, match="jax_state_sync"):
        whole.fit(x, np.eye(10)[:4], verbose=0, callbacks=[Maps(lambda: analyzer.analyze(x, 3))])
    assert np.isfinite(analyzer.analyze(x, 3)).all()


class Borrowing(layers.Layer):
    """Calls a layer that it does not have, so neither has the model."""

    def __init__(self, borrowed):
        super().__init__()
        self.borrow = lambda: borrowed

    def call(self, x):
        return self.borrow()(x)


def borrowing(x, how):
    """A model, another that trains what the first uses but does not have, and its samples."""
    dense = layers.Dense(5, "relu")
    owner = keras.Sequential([keras.Input((12,)), dense, layers.Dense(10)])
    inputs = keras.Input((12,))
    if how == "operation":
        hidden = keras.ops.relu(keras.ops.matmul(inputs, dense.kernel))
    else:
        hidden = Borrowing(dense)(inputs)
    return keras.Model(inputs, layers.Dense(10)(hidden)), owner, abs(x[:, 0, :, 0])


@pytest.mark.parametrize("classes", [3, [[3, 1]] * 4], ids=["one", "several"])
@pytest.mark.parametrize("how", ["layer", "operation"])
def test_maps_are_of_weights_that_the_model_does_not_have(how, classes, x):
    model, owner, x = borrowing(x, how)
    analyzer = create_analyzer("gradient", model)
    before = analyzer.analyze(x, classes)
    owner.set_weights([1.5 * w + 0.1 for w in owner.get_weights()])
    after = analyzer.analyze(x, classes)
    assert abs(after - before).max() > 1e-3 * abs(before).max()
    assert_same(after, create_analyzer("gradient", model).analyze(x, classes))


def test_weights_that_the_model_does_not_have_are_missed(x):
    if BACKEND != "jax":
        pytest.skip("elsewhere, models have their weights at any time")
    model, owner, x = borrowing(x, "layer")
    analyzer = create_analyzer("gradient", model)
    owner.compile(keras.optimizers.SGD(0.05), "mse")
    with pytest.raises(InputError, match="jax_state_sync"):
        owner.fit(x, np.eye(10)[:4], verbose=0, callbacks=[Maps(lambda: analyzer.analyze(x, 3))])
    assert np.isfinite(analyzer.analyze(x, 3)).all()


@pytest.mark.parametrize("classes", [3, [[3, 1]] * 4], ids=["one", "several"])
def test_variables_that_a_model_gets_later_count(classes, x):
    model = plain()
    analyzer = create_analyzer("lrp.epsilon", model)
    before = analyzer.analyze(x, classes)
    for layer in (model.layers[1], model.layers[-1]):
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape) / 4)
    after = analyzer.analyze(x, classes)
    assert abs(after - before).max() > 1e-3 * abs(before).max()
    assert_same(after, create_analyzer("lrp.epsilon", model).analyze(x, classes))


def test_models_that_are_quantized_later_are_refused(x):
    model = plain()
    if not hasattr(model, "quantize"):
        pytest.skip("Keras before 3.4 cannot quantize")
    analyzer = create_analyzer("gradient", model)
    analyzer.analyze(x, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras names the layers that it cannot quantize
        model.quantize("int8")
    with pytest.raises(InputError, match="quantized"):
        analyzer.analyze(x, 1)


def test_few_programs_serve_every_number_of_samples(x, monkeypatch):
    analyzer = create_analyzer("rap", plain())
    traces, explaining = [], analyzer._explaining
    monkeypatch.setattr(
        analyzer, "_explaining", lambda *given: traces.append(1) or explaining(*given)
    )
    x = np.concatenate([x, -x, 2 * x, x - 1])
    whole = analyzer.analyze(x)
    for size in (1, 2, 3, 5, 7, 9, 12, 16):
        assert_same(analyzer.analyze(x[:size]), whole[:size])
    expected = {"tensorflow": 1, "jax": 2}  # of 8 samples, and of one
    assert len(traces) == expected.get(BACKEND, len(traces))


def alive():
    """The number of tensors that exist; 0 where the backend does not count them."""
    gc.collect()
    if BACKEND == "jax":
        import jax

        return len(jax.live_arrays())
    if BACKEND == "torch":
        import torch

        return sum(isinstance(value, torch.Tensor) for value in gc.get_objects())
    return 0


def test_two_hundred_maps_keep_nothing(x):
    analyzer = create_analyzer("rap", plain())
    x = np.concatenate([x, -x])
    for _ in range(20):
        analyzer.analyze(x)
    count, memory = alive(), psutil.Process(os.getpid()).memory_info().rss
    for _ in range(200):
        analyzer.analyze(x)
    assert alive() <= count
    # What one call computes is as large: 8 samples, ten tensors of 12 x 12 x 6.
    assert psutil.Process(os.getpid()).memory_info().rss - memory < 50 * 2**20


@pytest.mark.slow
def test_analyzers_that_are_gone_keep_nothing(x):
    model = plain()

    def use():
        analyzer = create_analyzer("rap", model)
        analyzer.analyze(x)
        create_analyzer("gradient", model).analyze(x)

    use()
    count = alive()
    for _ in range(5):
        use()
    assert alive() <= count
