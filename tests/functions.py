"""Functions of tensors under test, and finite differences of their formulas."""

import keras
import numpy as np

STEP = 1e-6


class Primitive(keras.layers.Layer):
    """A function of tensors as a layer, so that `gradients` can take it."""

    def __init__(self, function):
        super().__init__(autocast=False)
        self.function = function
        self.built = True

    def call(self, inputs):
        return self.function(*inputs)


def differences(function, inputs, upstream):
    """d sum(function(inputs) * upstream) / d inputs, by central differences."""
    inputs = [np.array(i, "float64") for i in inputs]
    found = []
    for x in inputs:
        g = np.zeros(x.shape)
        for index in np.ndindex(*x.shape):
            kept = x[index]
            ends = []
            for step in (STEP, -STEP):
                x[index] = kept + step
                ends.append(np.sum(function(*inputs) * upstream))
            x[index] = kept
            g[index] = (ends[0] - ends[1]) / (2 * STEP)
        found.append(g)
    return found
