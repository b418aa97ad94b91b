"""Momentum batch normalization: two averages with a fraction each."""

import numpy as np

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import MomentumBatchNormalization

SHAPE = (6, 3, 2, 4)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, SHAPE).astype("float32")


def built(cls, **options):
    layer = cls(epsilon=1e-5, **options)
    layer.build(SHAPE)
    return layer


def test_without_momentum_it_is_batch_normalization():
    x, upstream = data(), data(1)
    layer = built(MomentumBatchNormalization)
    twin = built(BatchNormalization, momentum=0.9)
    ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
    close(ours.outputs, theirs.outputs)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)
    for name in ("moving_mean", "moving_variance"):
        close(numpy(getattr(layer, name)), numpy(getattr(twin, name)))


def test_each_average_has_its_fraction():
    layer = built(MomentumBatchNormalization)
    layer.training_momentum.assign(0.25)
    layer.moving_momentum.assign(0.75)
    batches = [data(k) for k in range(3)]
    training = moving = np.zeros(4)
    for batch in batches:
        layer(batch, training=True)
        mean = np.mean(batch.astype("float64"), axis=(0, 1, 2))
        training = 0.25 * training + 0.75 * mean
        moving = 0.75 * moving + 0.25 * mean
    close(numpy(layer.training_mean), training, entries=batch.size)
    close(numpy(layer.moving_mean), moving, entries=batch.size)
