"""State that the backward pass moves: what is promised of the mechanism."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from gradients import gradients
from keras_norm import layers
from keras_norm.core import backward_state

XLA = keras.backend.backend() in ("tensorflow", "jax")
BATCHES = 6


def online():
    return layers.OnlineNormalization(alpha_forward=0.9, alpha_backward=0.8)


def power():
    return layers.PowerNormalization(groups=2, warmup_steps=2)


def moving_average():
    return layers.MovingAverageBatchNormalization(
        buffer_size=2, warmup_steps=0, renorm_start=2
    )


MAKERS = [online, power, moving_average]
STATE = {
    online: ("mean_control", "output_control"),
    power: ("mean_product",),
    moving_average: ("products",),
}


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.5, 1.0, (BATCHES, 6, 5, 8)).astype("float32")
    return x, rng.normal(size=(BATCHES, 6, 1)).astype("float32")


def model_of(makers, optimizer, **options):
    x = y = keras.Input((5, 8))
    for make in makers:
        y = keras.layers.Dense(8, kernel_initializer="identity")(make()(y))
    y = keras.layers.GlobalAveragePooling1D()(keras.ops.tanh(y))
    y = keras.layers.Dense(1, kernel_initializer="ones")(y)
    model = keras.Model(x, y)
    options = {"jit_compile": XLA, **options}
    model.compile(optimizer, "mse", **options)
    return model


def train(model, first=0, last=BATCHES):
    x, target = data()
    return [
        float(model.train_on_batch(x[i], target[i])) for i in range(first, last)
    ]


def carried(model):
    """{layer/weight: value} of the state of backward passes."""
    return {
        w.path: numpy(w)
        for w in model.trainable_weights
        if w.overwrite_with_gradient
    }


def sgd(**options):
    return keras.optimizers.SGD(0.05, **options)


@pytest.mark.compile
def test_training_goes_on_after_saving(tmp_path):
    whole = train(model_of(MAKERS, sgd(momentum=0.5)))
    model = model_of(MAKERS, sgd(momentum=0.5))
    before = train(model, 0, 3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    kept = carried(again).values()
    for a, b in zip(carried(model).values(), kept, strict=True):
        np.testing.assert_array_equal(a, b)
    # It matters: from zeros the losses are others.
    found = [*before, *train(again, 3)]
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)


@pytest.mark.compile
def test_the_state_matters():
    whole = train(model_of(MAKERS, sgd()))
    model = model_of(MAKERS, sgd())
    found = train(model, 0, 4)
    for weight in model.trainable_weights:
        if weight.overwrite_with_gradient and weight.shape:
            weight.assign(np.zeros(weight.shape))
    found += train(model, 4)
    assert np.max(np.abs(np.subtract(found, whole))) > 1e-5


@pytest.mark.compile
@pytest.mark.parametrize("kind", ["factor", "optimizer"])
def test_scaled_losses(kind):
    """State and gradient carry the same factor: the steps are the same."""
    plain = model_of(MAKERS, sgd())
    scaled = {
        "factor": lambda: sgd(loss_scale_factor=1024.0),
        "optimizer": lambda: keras.optimizers.LossScaleOptimizer(
            sgd(), initial_scale=1024.0
        ),
    }[kind]
    model = model_of(MAKERS, scaled())
    losses = train(plain)
    np.testing.assert_allclose(train(model), losses, rtol=0, atol=1e-5)
    pairs = zip(carried(plain).values(), carried(model).values(), strict=True)
    for a, b in pairs:
        factor = 1024.0 if a.shape else 1.0
        scale = max(1.0, np.max(np.abs(a)))
        np.testing.assert_allclose(b / factor, a, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "options", [{"gradient_accumulation_steps": 2}, {"use_ema": True}], ids=str
)
@pytest.mark.parametrize("make", MAKERS)
def test_optimizers_that_would_spoil_it_are_refused(make, options):
    model = model_of([make], sgd(**options), jit_compile=False)
    (name,) = options
    with pytest.raises(ValueError, match=name):
        train(model, 0, 1)


def test_other_options_of_optimizers_do_not_touch_it():
    found = []
    for optimizer in (
        keras.optimizers.SGD(0.0),
        keras.optimizers.AdamW(0.1, weight_decay=0.5, clipnorm=1e-3),
    ):
        model = model_of(MAKERS, optimizer, jit_compile=False)
        train(model, 0, 1)
        found.append(carried(model).values())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6)


def step_of(make, state=None, witness=-1.0):
    """(gradient of the input, layer after the step)."""
    x = data()[0][0]
    layer = make()
    layer.build(x.shape)
    # Past the first steps, where the buffer is not used yet.
    if hasattr(layer, "step"):
        layer.step.assign(3)
    for name in STATE[make]:
        weight = getattr(layer, name)
        if state is not None:
            weight.assign(np.full(weight.shape, state))
    layer.backward_witness.assign(witness)
    upstream = np.random.default_rng(1).normal(size=x.shape)
    return gradients(layer, [x], upstream).inputs[0], layer


@pytest.mark.parametrize("make", MAKERS)
def test_added_up_values_are_averaged(make):
    """A layer that is called twice, losses that are added up."""
    once, _ = step_of(make, 0.3)
    twice, layer = step_of(make, 0.6, -2.0)
    np.testing.assert_allclose(twice, once, rtol=0, atol=1e-5)
    assert numpy(layer.backward_witness) == -1.0


@pytest.mark.parametrize("make", [online, power])
@pytest.mark.parametrize("witness", [-0.99, -0.5, 0.0, 0.3])
def test_what_is_no_state_counts_as_the_start(make, witness):
    """After a step along it, zeros, a maximum, an average with zeros."""
    start, _ = step_of(make)
    spoilt, layer = step_of(make, 7.0, witness)
    np.testing.assert_array_equal(spoilt, start)
    assert numpy(layer.backward_witness) == -1.0


@pytest.mark.parametrize("witness", [-0.99, 0.0])
def test_what_is_no_buffer_gives_way_to_the_batch(witness):
    x = data()[0][0]
    square = np.mean(np.square(x), axis=(0, 1))
    found = []
    for warmup in (100, 0):
        layer = layers.MovingAverageBatchNormalization(2, warmup_steps=warmup)
        layer.build(x.shape)
        layer.step.assign(3)
        # The buffer's average is the batch's own, so that only the backward
        # passes can differ.
        layer.second_moments.assign(np.stack([square, square]))
        layer.products.assign(np.full((2, 8), 7.0))
        layer.backward_witness.assign(witness)
        upstream = np.random.default_rng(1).normal(size=x.shape)
        found.append(gradients(layer, [x], upstream).inputs[0])
    np.testing.assert_allclose(*found, rtol=0, atol=1e-5)


def test_one_layer_at_two_places():
    shared = online()
    model = model_of([lambda: shared, lambda: shared], sgd(), jit_compile=False)
    train(model, 0, 1)
    assert numpy(shared.backward_witness) == -2.0
    assert np.all(np.isfinite(train(model, 1, 3)))


@pytest.mark.compile
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = model_of(MAKERS, sgd())
    losses = train(model)
    assert np.all(np.isfinite(losses))
    for value in carried(model).values():
        assert value.dtype == "float32"
        assert np.all(np.isfinite(value))


def test_names():
    layer = online()
    layer.build((None, 5, 8))
    names = {w.name for w in layer.trainable_weights}
    assert {*STATE[online], backward_state.WITNESS} <= names
    assert len(layer.non_trainable_weights) == 2
    layer.trainable = False
    assert not layer.trainable_weights
