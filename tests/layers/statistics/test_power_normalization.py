"""Power normalization: its first step, errors."""

import numpy as np
import pytest

from contract.method import numpy
from gradients import gradients
from keras_norm import layers


def test_the_first_gradient_takes_nothing_off():
    """dh = gamma dy / sqrt(psi + epsilon) while nu is 0."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 6, 5, 8)).astype("float32")
    layer = layers.PowerNormalization(group_scaling=False)
    found = gradients(layer, [x], dy)
    psi = np.mean(np.square(x), axis=(0, 1))
    expected = dy / np.sqrt(psi + 1e-5)
    np.testing.assert_allclose(found.inputs[0], expected, rtol=0, atol=1e-5)
    product = np.mean(dy * found.outputs, axis=(0, 1))
    np.testing.assert_allclose(numpy(layer.mean_product), product, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 0},
        {"warmup_steps": -1},
        {"alpha_forward": 2.0},
        {"alpha_backward": 2.0},
        {"backward": "none"},
    ],
    ids=lambda o: next(iter(o)),
)
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        layers.PowerNormalization(**options)


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="groups"):
        layers.PowerNormalization(groups=3).build((None, 5, 8))
