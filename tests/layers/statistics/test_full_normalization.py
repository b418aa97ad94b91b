"""Full normalization: by the mean of all batches, with the batch's gradient."""

import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import FullNormalization
from keras_norm.layers import PopulationBatchNormalization

SHAPE = (6, 3, 2, 4)


def data(seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.0 + seed, SHAPE).astype("float32")


def built(cls, **options):
    layer = cls(epsilon=1e-5, **options)
    layer.build(SHAPE)
    return layer


@pytest.mark.parametrize("options", [{}, {"momentum": 0.0}], ids=str)
def test_a_of_one_is_batch_normalization(options):
    x, upstream = data(shift=3.0), data(1)
    layer, twin = built(FullNormalization, **options), built(BatchNormalization)
    # Of the state nothing is left, whatever it was.
    layer.moving_mean.assign(np.full(4, 50.0))
    layer.moving_variance.assign(np.full(4, 1e4))
    ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
    close(ours.outputs, theirs.outputs)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)


@pytest.mark.parametrize(
    "cls, options",
    [
        (FullNormalization, {"power": 1.0}),
        (PopulationBatchNormalization, {"weight": "diminishing"}),
    ],
    ids=["full", "diminishing"],
)
def test_diminishing_weights_give_the_mean_of_all_batches(cls, options):
    batches = [data(k, shift=float(k)) for k in range(4)]
    layer = built(cls, **options)
    for batch in batches:
        layer(batch, training=True)
    together = np.stack(batches).astype("float64")
    means = np.mean(together, axis=(1, 2, 3))
    close(numpy(layer.moving_mean), np.mean(means, axis=0), together.size)
    if cls is FullNormalization:
        # E[x^2] - E[x]^2 of all batches as one.
        variance = np.var(together, axis=(0, 1, 2, 3))
    else:
        variance = np.mean(np.var(together, axis=(1, 2, 3)), axis=0)
    close(numpy(layer.moving_variance), variance, together.size)
    assert int(layer.step) == 4


def test_gradient_has_full_weight():
    # With the state at the batch's own moments value and gradient are batch
    # normalization's at any a; by the share a alone it would vanish with a.
    x, upstream = data(shift=3.0), data(1)
    layer = built(FullNormalization, momentum=0.99)
    exact = x.astype("float64")
    layer.moving_mean.assign(np.mean(exact, axis=(0, 1, 2)))
    layer.moving_variance.assign(np.var(exact, axis=(0, 1, 2)))
    ours, theirs = (
        gradients(t, [x], upstream) for t in (layer, built(BatchNormalization))
    )
    close(ours.outputs, theirs.outputs)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)
