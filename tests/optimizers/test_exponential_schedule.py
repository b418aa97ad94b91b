"""Weight decay and the exponential schedule: the same functions."""

import json
import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

rng = np.random.default_rng(13)
X = rng.normal(size=(8, 5)).astype("float32")
Y = rng.normal(size=(8, 4)).astype("float32")
RATE, DECAY, STEPS = 0.2, 0.1, 10


def network(penalty=0.0):
    """Its output does not change when all its weights are multiplied."""
    regularizer = keras.regularizers.L2(penalty / 2) if penalty else None

    def dense(units):
        return layers.Dense(
            units, use_bias=False, kernel_regularizer=regularizer
        )

    def normalization():
        return kn.layers.LayerNormalization(
            center=False, scale=False, epsilon=0.0
        )

    model = keras.Sequential(
        [
            keras.Input((5,)),
            dense(6),
            normalization(),
            layers.Activation("tanh"),
            dense(4),
            normalization(),
        ]
    )
    for w in model.trainable_variables:
        values = np.random.default_rng(1).normal(size=w.shape)
        w.assign(values.astype("float32"))
    return model


def trajectory(model, optimizer, start=None):
    """The first weights after every step, and the outputs at the end."""
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    if start is not None:
        pairs = zip(optimizer.momentums, model.trainable_variables, strict=True)
        for momentum, w in pairs:
            momentum.assign(start * keras.ops.convert_to_tensor(w))
    weights = []
    for _ in range(STEPS):
        model.train_on_batch(X, Y)
        weights.append(model.get_weights()[0])
    return np.array(model.predict_on_batch(X)), np.array(weights)


@pytest.mark.parametrize("momentum, l2", [(0.9, False), (0.6, True)])
def test_goes_through_the_same_functions(momentum, l2):
    schedule = kn.optimizers.equivalent_exponential_schedule(
        RATE, DECAY, momentum, l2
    )
    decay = None if l2 else DECAY
    first, weights = trajectory(
        network(DECAY if l2 else 0.0),
        keras.optimizers.SGD(RATE, momentum, weight_decay=decay),
    )
    alpha = schedule.shrinkage
    second, grown = trajectory(
        network(),
        keras.optimizers.SGD(schedule, schedule.momentum),
        1 - alpha if l2 else None,
    )
    # Ten steps in float32, each of some twenty roundings, which are ten
    # times as large behind a normalization of little variance.
    assert np.abs(first - second).max() <= STEPS * 20 * 6e-8 * 10
    # Weights that differ by a factor are one function.
    factors = alpha ** -np.arange(1.0, STEPS + 1).reshape(-1, 1, 1)
    wrong = np.abs(grown - factors * weights).max()
    assert wrong <= STEPS * 20 * 6e-8 * 10 * np.abs(grown).max()
    assert factors[-1] > 1.2
    # It is not for nothing: without decay and with the rate as it was.
    plain, _ = trajectory(network(), keras.optimizers.SGD(RATE, momentum))
    assert np.abs(first - plain).max() > 1e-2


@pytest.mark.once
@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_is_the_formula(momentum, l2):
    decay = 0.01
    schedule = kn.optimizers.equivalent_exponential_schedule(
        RATE, decay, momentum, l2
    )
    alpha = 1 - RATE * decay
    if l2:
        b = 1 + momentum - RATE * decay
        alpha = (b + math.sqrt(b * b - 4 * momentum)) / 2
    assert schedule.shrinkage == pytest.approx(alpha, 1e-12)
    power = 2 if l2 else 1
    assert schedule.momentum == pytest.approx(momentum / alpha**power, 1e-12)
    for step in (0, 1, 1000):
        wanted = RATE * alpha ** -(2 * step + 1)
        assert float(schedule(step)) == pytest.approx(wanted, rel=1e-5)
    config = json.loads(json.dumps(schedule.get_config()))
    again = type(schedule).from_config(config)
    assert again.momentum == schedule.momentum
    assert again.get_config() == config
    # No decay: nothing changes.
    same = kn.optimizers.equivalent_exponential_schedule(
        RATE, 0.0, momentum, l2
    )
    assert float(same(7)) == pytest.approx(RATE)
    assert same.momentum == pytest.approx(momentum)


@pytest.mark.once
def test_messages():
    make = kn.optimizers.equivalent_exponential_schedule
    with pytest.raises(ValueError, match="must be less than 0.1 with this"):
        make(1.0, 0.2, 0.9)
    with pytest.raises(ValueError, match="no exponential schedule"):
        make(1.0, 0.01, 0.9, l2=True)
    with pytest.raises(ValueError, match="`momentum` must be at least 0"):
        make(1.0, 0.01, 1.0)
