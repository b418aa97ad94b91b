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


@pytest.mark.parametrize("witness", [-1.0, 0.0])
def test_rows_that_were_not_written_are_not_averaged(witness):
    """The buffer begins anew, or only now, far behind the warm-up."""
    layer = layers.MovingAverageBatchNormalization(4, warmup_steps=0)
    layer.build((6, 5, 8))
    x, *upstreams = np.random.default_rng(0).normal(size=(3, 6, 5, 8))
    x = x.astype("float32")
    square = np.mean(np.square(x, dtype="float64"), axis=(0, 1))
    # The average of the second moments is always that of x, so that z is, too.
    layer.second_moments.assign(np.stack([square] * 4))
    layer.step.assign(9)
    layer.products.assign(np.full((4, 8), 7.0 if witness == 0 else 0.0))
    layer.backward_witness.assign(witness)
    root = np.sqrt(square + layer.epsilon)
    z = x / root
    first, second = (np.mean(g * z, axis=(0, 1)) for g in upstreams)
    for g, product in zip(
        upstreams, (first, 0.75 * first + 0.25 * second), strict=True
    ):
        found = gradients(layer, [x], g.astype("float32"))
        expected = (g - z * product) / root
        np.testing.assert_allclose(
            found.inputs[0], expected, rtol=1e-5, atol=1e-5
        )
        layer.products.assign(found.weights["products"])
        layer.backward_witness.assign(-1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"buffer_size": 0},
        {"warmup_steps": -1},
        {"renorm_start": 1.5},
        {"renorm_clip": 0.5},
        {"renorm_clip": "a"},
        {"momentum": 1.5},
    ],
    ids=lambda o: next(iter(o)),
)
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        layers.MovingAverageBatchNormalization(**options)
