"""Layers that run beside the formulas of their method, step by step."""

import keras
import numpy as np
from keras import ops

from contract.tolerances import close
from gradients import gradients
from keras_norm import layers
from oracles import GRADIENTS
from oracles import ORACLES

MOVING = ("moving_mean", "moving_variance")


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def values(variables):
    return {v.name: array(v).astype("float64") for v in variables}


class Given(keras.layers.Layer):
    """The normalization of h with what the layer before it saw and has."""

    def __init__(self, **options):
        super().__init__()
        self.autocast = False
        self.normalization = layers.CrossIterationBatchNormalization(
            name="normalization", **options
        )

    def build(self, h_shape, x_shape, w_shape):
        self.normalization.build(h_shape, x_shape, w_shape)

    def call(self, h, x, w, training=None):
        return self.normalization(h, training=training, layer_input=x, kernel=w)


def by_name(found):
    """Gradients of weights by their own names, without their layer's."""
    return {name.split("/")[-1]: g for name, g in found.weights.items()}


class Beside:
    """A layer and the formulas, each with a state of its own.

    Args:
        name: of the layer in `keras_norm.layers`.
        layer: built.
        config: the options that the formulas know.
    """

    def __init__(self, name, layer, config):
        self.name, self.layer, self.config = name, layer, config
        self.state = {}

    def step(self, inputs, seed=0, tolerance=None, mask=None, upstream=None):
        """One training call of both; outputs, gradients, moving averages."""
        layer = self.layer
        weights = values(layer.trainable_variables)
        arguments = (inputs, self.config, weights, self.state)
        y, new = ORACLES[self.name](*arguments, True, mask)
        if upstream is None:
            upstream = random(*y.shape, seed=seed + 100, shift=0.0)
        if mask is not None:
            upstream = np.where(mask[..., None], upstream, 0.0)
        found = gradients(layer, inputs, upstream, mask=mask)
        seen = np.ones(y.shape[:-1], bool) if mask is None else mask
        entries = inputs[0].size
        close(found.outputs[seen], y[seen], entries, scale=tolerance)
        of_inputs, of_weights = GRADIENTS[self.name](*arguments, upstream, mask)
        for a, b in zip(found.inputs, of_inputs, strict=True):
            # Sums of terms of the size of what was sent back.
            close(a, b, entries, scale=8 * max(1, np.max(np.abs(b))))
        for key, a in by_name(found).items():
            b = of_weights[key]
            close(a, b, entries, scale=8 * np.max(np.abs(b)))
        moved = values(layer.non_trainable_variables)
        for key in MOVING:
            close(moved[key], new[key], entries)
        self.state = new
        return new

    def shift_kernel(self, size, seed):
        """A step of the optimizer."""
        kernel = self.layer.kernel
        kernel.assign(kernel + size * random(*kernel.shape, seed=seed, shift=0))


def beside_kernel(name, shape, options):
    """A layer with a kernel of its own, of random gamma and beta."""
    layer = getattr(layers, name)(**options)
    layer.build(shape)
    for i, variable in enumerate(layer.trainable_variables):
        noise = 0.3 * random(*variable.shape, seed=50 + i, shift=0.0)
        variable.assign(array(variable) + noise)
    config = {"use_bias": False, **options}
    return Beside(name, layer, config)
