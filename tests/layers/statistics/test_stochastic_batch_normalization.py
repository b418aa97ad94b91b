"""Stochastic batch normalization: what is drawn, by which seed."""

import keras
import numpy as np

from contract.method import numpy
from contract.method import values
from contract.tolerances import close
from keras_norm.layers import StochasticBatchNormalization

CHANNELS = 400


def built(shape=(2, CHANNELS), **options):
    """A layer whose averages say: mean N(2, 0.5^2), log var N(-1, 0.3^2)."""
    layer = StochasticBatchNormalization(epsilon=0.0, **options)
    layer.build(shape)
    layer.moving_mean.assign(np.full(shape[-1], 2.0))
    layer.moving_squared_mean.assign(np.full(shape[-1], 4.25))
    layer.moving_log_variance.assign(np.full(shape[-1], -1.0))
    layer.moving_squared_log_variance.assign(np.full(shape[-1], 1.09))
    return layer


def drawn(y):
    """(mean, log variance) of every channel, of the results for 0 and 1."""
    rate = y[1] - y[0]
    return -y[0] / rate, -2.0 * np.log(rate)


X = np.stack([np.zeros(CHANNELS), np.ones(CHANNELS)]).astype("float32")


def test_moments_are_drawn_for_every_call_and_channel():
    layer = built(seed=1)
    first, second = (drawn(numpy(layer(X))) for _ in range(2))
    for k, (center, deviation) in enumerate([(2.0, 0.5), (-1.0, 0.3)]):
        both = np.concatenate([first[k], second[k]])
        # Four standard errors of 800 draws.
        allowed = 4.0 * deviation / np.sqrt(both.size)
        assert abs(np.mean(both) - center) < allowed
        assert abs(np.std(both) - deviation) < allowed
        correlation = np.corrcoef(first[k], second[k])[0, 1]
        assert abs(correlation) < 4.0 / np.sqrt(CHANNELS)
    correlation = np.corrcoef(*first)[0, 1]
    assert abs(correlation) < 4.0 / np.sqrt(CHANNELS)


def test_one_draw_serves_the_whole_batch():
    layer = built((5, 3, CHANNELS), seed=1)
    y = numpy(layer(np.ones((5, 3, CHANNELS), "float32")))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:1, :1], y.shape))


def test_the_seed_says_what_is_drawn():
    layer, same, other = built(seed=1), built(seed=1), built(seed=2)
    y, again = numpy(layer(X)), numpy(layer(X))
    np.testing.assert_array_equal(numpy(same(X)), y)
    np.testing.assert_array_equal(numpy(same(X)), again)
    assert np.any(again != y)
    assert np.any(numpy(other(X)) != y)
    copy = StochasticBatchNormalization.from_config(layer.get_config())
    copy.build(X.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(numpy(copy(X)), y)


def test_prediction_draws_anew():
    # Compiled and eager calls may use other generators, on TensorFlow.
    found = []
    for _ in range(2):
        model = keras.Sequential([keras.Input((CHANNELS,)), built(seed=1)])
        model.compile(jit_compile=keras.backend.backend() != "torch")
        found.append([model.predict(X, verbose=0) for _ in range(2)])
    first, again = found
    assert np.any(first[0] != first[1])
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_draws_nothing():
    layer = built(seed=1)
    y = numpy(layer(X, training=True))
    np.testing.assert_array_equal(y, numpy(built(seed=2)(X, training=True)))


def test_moving_is_the_center_of_what_is_drawn():
    mean, logarithm = drawn(numpy(built(inference="moving")(X)))
    close(mean, np.full(CHANNELS, 2.0))
    close(logarithm, np.full(CHANNELS, -1.0))


def test_inference_by_the_batch_leaves_the_state():
    layer = built(inference="batch")
    before = values(layer)[1]
    y = numpy(layer(X))
    for name, value in values(layer)[1].items():
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(numpy(layer(X, training=True)), y)


def test_rounding_is_no_noise():
    # The square of 1e4 is known to 8: a deviation of 1 cannot be seen, and
    # what cannot be seen is not drawn.
    layer = built((2, 4), seed=1)
    layer.moving_mean.assign(np.full(4, 1e4))
    layer.moving_squared_mean.assign(np.full(4, 1e8 + 24.0))
    layer.moving_squared_log_variance.assign(np.full(4, 1.0))
    y = numpy(layer(np.full((2, 4), 1e4, "float32")))
    np.testing.assert_array_equal(y, np.zeros((2, 4)))
