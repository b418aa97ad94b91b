"""Data far from zero, and layers whose state has seen such data."""

import numpy as np

from contract.method import MEANS
from contract.method import numpy


def shifted_inputs(method, shift, rank=None, seed=1):
    """x = shift + N(0, 1), rounded to float32 once: the data of both sides."""
    return method.inputs(rank, seed=seed, shift=shift)


def shifted_layer(method, shift, rank=None):
    """A scrambled layer whose means follow the data."""
    layer = method.shared(rank)
    for variable in layer.non_trainable_variables:
        if variable.name in MEANS:
            moved = numpy(variable).astype("float64") + shift
            variable.assign(moved.astype("float32"))
    return layer


def with_outlier(inputs, shift, distance=1e4):
    """The first entry of the first sample, far away from all others."""
    x = np.array(inputs[0])
    x[(0,) * x.ndim] = shift + distance
    return [x, *inputs[1:]]
