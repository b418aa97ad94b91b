"""Moving average batch normalization: identities, errors."""

import numpy as np
import pytest

from gradients import gradients
from keras_norm import layers


def test_a_buffer_of_one_is_scaling_by_the_batch():
    """With the true gradient, masked or not."""
    rng = np.random.default_rng(0)
    shape = (6, 5, 8)
    weights = rng.uniform(0.0, 2.0, shape[:2]).astype("float32")
    ours = layers.MovingAverageBatchNormalization(1, warmup_steps=0)
    exact = layers.ComposedNormalization(operation="scale")
    for _ in range(3):
        x, dy = rng.normal(size=(2, *shape)).astype("float32")
        for mask in (None, weights):
            a, b = (gradients(m, [x], dy, mask=mask) for m in (ours, exact))
            for p, q in (
                (a.outputs, b.outputs),
                (a.inputs[0], b.inputs[0]),
                (a.weights["gamma"], b.weights["gamma"]),
            ):
                np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"buffer_size": 0},
        {"warmup_steps": -1},
        {"renorm_start": 1.5},
        {"renorm_clip": 0.5},
        {"momentum": 1.5},
    ],
    ids=lambda o: next(iter(o)),
)
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        layers.MovingAverageBatchNormalization(**options)
