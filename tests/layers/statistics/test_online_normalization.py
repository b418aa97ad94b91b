"""Online normalization: order, batches of any size, errors."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from keras_norm import layers


def layer_of(shape, **options):
    layer = layers.OnlineNormalization(alpha_forward=0.9, **options)
    layer.build(shape)
    return layer


@pytest.mark.parametrize("shape", [(7, 8), (7, 4, 8)])
def test_a_batch_is_its_samples_one_after_another(shape):
    x = np.random.default_rng(0).normal(2.0, 3.0, shape).astype("float32")
    whole, single = layer_of(shape), layer_of(shape)
    y = numpy(whole(x, training=True))
    each = [numpy(single(x[i : i + 1], training=True)) for i in range(7)]
    np.testing.assert_allclose(y, np.concatenate(each), rtol=0, atol=1e-5)
    for a, b in zip(
        whole.non_trainable_weights, single.non_trainable_weights, strict=True
    ):
        np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-5, atol=1e-6)


@pytest.mark.compile
def test_batches_of_unknown_size_in_a_compiled_step():
    """A last batch of another size; the whole epoch equals eager steps."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 5, 8)).astype("float32")
    target = rng.normal(size=(16, 5, 8)).astype("float32")
    found = []
    xla = keras.backend.backend() != "torch"
    for options in ({"jit_compile": xla}, {"run_eagerly": True}):
        model = keras.Sequential([keras.Input((5, 8)), layer_of((None, 5, 8))])
        model.compile(keras.optimizers.SGD(0.1), "mse", **options)
        model.fit(x, target, batch_size=6, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha_forward": 1.5},
        {"alpha_backward": -0.1},
        {"error_compensation": "scaling"},
        {"control": "none"},
        {"clamp_value": 0.0},
        {"clamp_value": None},
    ],
    ids=lambda o: next(iter(o)),
)
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        layers.OnlineNormalization(**options)


def test_masks_are_refused():
    with pytest.raises(ValueError, match="mask"):
        layer_of((2, 3, 8))(np.ones((2, 3, 8)), mask=np.ones((2, 3), "bool"))
