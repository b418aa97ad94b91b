"""Batch renormalization between batch normalization and inference."""

import math

import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import BatchRenormalization

SHAPE = (6, 3, 2, 4)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, SHAPE).astype("float32")


def built(cls, **options):
    layer = cls(epsilon=1e-5, **options)
    layer.build(SHAPE)
    return layer


def test_without_correction_it_is_batch_normalization():
    x, upstream = data(), data(1)
    layer = built(BatchRenormalization, rmax=1.0, dmax=0.0)
    twin = built(BatchNormalization)
    ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
    close(ours.outputs, theirs.outputs)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)


def test_without_bounds_training_computes_what_inference_does():
    x, upstream = data(), data(1)
    layer = built(BatchRenormalization, rmax=math.inf, dmax=math.inf)
    stddev = np.array([0.5, 1.0, 2.0, 4.0], "float32")
    layer.moving_mean.assign([3.0, -1.0, 0.0, 20.0])
    layer.moving_stddev.assign(stddev)
    inferred = numpy(layer(x, training=False))
    found = gradients(layer, [x], upstream)
    close(found.outputs, inferred, entries=x.size)
    # The gradient is batch normalization's, r times.
    twin = gradients(built(BatchNormalization), [x], upstream)
    r = np.sqrt(np.var(x.astype("float64"), axis=(0, 1, 2)) + 1e-5) / stddev
    close(found.inputs[0], twin.inputs[0] * r, entries=x.size)


def test_moving_deviation_contains_epsilon():
    layer = BatchRenormalization(epsilon=0.5, momentum=0.75)
    layer.build((2, 1))
    layer(np.array([[1.0], [3.0]], "float32"), training=True)
    close(numpy(layer.moving_stddev), 0.75 + 0.25 * np.sqrt([1.5]))
    # Inference divides by it, and adds nothing.
    y = numpy(layer(np.array([[0.5]], "float32") + layer.moving_stddev))
    close(y, [[1.0]])


@pytest.mark.parametrize("option", ["rmax", "dmax"])
def test_config_has_the_bounds_of_the_start(option):
    layer = BatchRenormalization(**{option: 7.0})
    layer.build(SHAPE)
    getattr(layer, option).assign(2.0)
    assert layer.get_config()[option] == 7.0


def test_the_form_of_keras_keeps_its_weights():
    layer = BatchNormalization(renorm=True)
    layer.build(SHAPE)
    assert [w.name for w in layer.non_trainable_weights] == [
        "moving_mean",
        "moving_variance",
        "moving_stddev",
        "renorm_mean",
        "renorm_stddev",
    ]
