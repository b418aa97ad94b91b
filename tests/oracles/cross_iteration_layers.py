"""Cross-iteration batch normalization with and without a kernel."""

import numpy as np

from .common import settings
from .cross_iteration import normalize
from .cross_iteration import normalize_gradient
from .linear import ACTIVATIONS
from .linear import padded
from .linear import patches
from .shapes import start

DEFAULTS = {
    "window_size": 8,
    "burn_in": 0,
    "momentum": 0.9,
    "epsilon": 1e-5,
    "epsilon_placement": "outside",
    "center": True,
    "scale": True,
}
CONVOLUTION = {
    "filters": None,
    "kernel_size": None,
    "strides": 1,
    "padding": "valid",
    "dilation_rate": 1,
    "groups": 1,
    "data_format": "channels_last",
}


class Layer:
    """The three layers: how rows, kernel and h come from what they get.

    Args:
        name: of the layer.
        defaults: arguments besides those of the normalization.
    """

    def __init__(self, name, **defaults):
        self.name, self.defaults = name, {**DEFAULTS, **defaults}

    def __call__(self, inputs, config, weights, state, training, mask=None):
        s, *given, state, place = self._given(inputs, config, weights, state)
        y, new = normalize(*given, weights, state, training, mask, s)
        if getattr(s, "activation", None) is not None:
            y = ACTIVATIONS[s.activation](y)
        return np.moveaxis(y, -1, place), new

    def _given(self, inputs, config, weights, state):
        """(settings, h, rows, kernel, state, where the channels go)."""
        s = settings(config, **self.defaults)
        place = getattr(s, "axis", -1)
        if getattr(s, "data_format", None) == "channels_first":
            place = 1
        x = np.moveaxis(np.asarray(inputs[0], "float64"), place, -1)
        shape = np.shape(inputs[0])
        state = start(self.name, config, shape, state)
        if self.name == "CrossIterationBatchNormalization":
            if len(inputs) == 1:
                return s, x, None, None, state, place
            # h, what was convolved ("valid", stride 1), and with what.
            kernel = np.asarray(inputs[2], dtype="float64")
            s.kernel_size, s.strides, s.dilation_rate = kernel.shape[:-2], 1, 1
            source = np.moveaxis(np.asarray(inputs[1], "float64"), place, -1)
            _, rows, kernel = multiplied(source, kernel, None, s)
            return s, x, rows, kernel, state, place
        kernel = np.asarray(weights["kernel"], dtype="float64")
        bias = weights["bias"] if s.use_bias else None
        return s, *multiplied(x, kernel, bias, s), state, place

    def gradient(self, inputs, config, weights, state, upstream, mask=None):
        """([dx], {weight: gradient}); of h alone where that is an input."""
        s, *given, state, place = self._given(inputs, config, weights, state)
        _, rows, kernel = given
        upstream = np.moveaxis(np.asarray(upstream, "float64"), place, -1)
        dh, gradients = normalize_gradient(
            *given, weights, state, upstream, mask, s
        )
        if self.name == "CrossIterationBatchNormalization":
            others = [np.zeros(np.shape(a)) for a in inputs[1:]]
            return [np.moveaxis(dh, -1, place), *others], gradients
        if s.activation is not None:
            raise ValueError("No gradient through an activation.")
        found, dx = through_product(dh, rows, kernel, weights, inputs, place, s)
        return [dx], {**found, **gradients}


def multiplied(x, kernel, bias, s):
    """(h, rows, kernel as a matrix); a bias is one more row of it."""
    if kernel.ndim == 2:
        rows, matrix = x, kernel
    else:
        kernel = ungrouped(kernel, x.shape[-1])
        rows = patches(padded(x, _with_padding(s)), s, 1)
        # Patches are numbered channel first.
        matrix = np.moveaxis(kernel, 2, 0).reshape(-1, kernel.shape[-1])
    if bias is not None:
        ones = np.ones((*rows.shape[:-1], 1))
        rows = np.concatenate([rows, ones], axis=-1)
        matrix = np.concatenate([matrix, np.asarray(bias)[None]])
    h = rows @ matrix
    return h, rows.reshape(len(x), -1, rows.shape[-1]), matrix


def group_slices(kernel_shape, channels):
    """(inputs, outputs) of every group of a convolution."""
    inputs, outputs = kernel_shape[-2:]
    groups = channels // inputs
    for g in range(groups):
        part = outputs // groups
        yield (
            slice(g * inputs, (g + 1) * inputs),
            slice(g * part, (g + 1) * part),
        )


def ungrouped(kernel, channels):
    """The kernel over all channels, zeros outside of an output's group."""
    whole = np.zeros((*kernel.shape[:-2], channels, kernel.shape[-1]))
    for inputs, outputs in group_slices(kernel.shape, channels):
        whole[..., inputs, outputs] = kernel[..., outputs]
    return whole


def _with_padding(s):
    s.padding = getattr(s, "padding", "valid")
    return s


def through_product(dh, rows, kernel, weights, inputs, place, s):
    """h = rows W: ({weight: gradient}, dx)."""
    flat = dh.reshape(len(dh), -1, dh.shape[-1])
    dmatrix = np.einsum("npi,npo->io", rows, flat)
    gradients = {}
    drows = flat @ kernel.T
    if s.use_bias:
        gradients["bias"] = dmatrix[-1]
        dmatrix, drows = dmatrix[:-1], drows[..., :-1]
    shape = np.shape(weights["kernel"])
    x = np.moveaxis(np.asarray(inputs[0], "float64"), place, -1)
    if len(shape) == 2:
        gradients["kernel"] = dmatrix
        return gradients, np.moveaxis(drows.reshape(x.shape), -1, place)
    channels = x.shape[-1]
    channel_first = (channels, *shape[:2], shape[3])
    whole = np.moveaxis(dmatrix.reshape(channel_first), 0, 2)
    gradients["kernel"] = np.zeros(shape)
    for ins, outs in group_slices(shape, channels):
        gradients["kernel"][..., outs] = whole[..., ins, outs]
    # Which entry of x every entry of a row is.
    where = np.arange(1, x.size + 1, dtype="float64").reshape(x.shape)
    where = patches(padded(where, s), s, 1).astype(int).ravel()
    dx = np.bincount(where, drows.ravel(), minlength=x.size + 1)[1:]
    return gradients, np.moveaxis(dx.reshape(x.shape), -1, place)


cross_iteration_batch_normalization = Layer(
    "CrossIterationBatchNormalization", axis=-1
)
cross_iteration_dense = Layer(
    "CrossIterationDense", units=None, activation=None, use_bias=False
)
cross_iteration_conv2d = Layer(
    "CrossIterationConv2D", **CONVOLUTION, activation=None, use_bias=False
)
