"""Statistics of parts of a batch, of widths, frozen, sampled, of groups."""

import numpy as np

from .batch_gradient import batch_moments
from .common import affine
from .common import bessel
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import settings
from .linear import padded
from .linear import patches
from .shapes import start

AFFINE = {"axis": -1, "epsilon": 1e-5, "center": True, "scale": True}
MOMENTS = ("moving_mean", "moving_variance")


def _moved(state, batch, total, momentum):
    """`state` with moving averages of the pair (mean, variance)."""
    new = dict(state)
    for name, value in zip(MOMENTS, batch, strict=True):
        new[name] = moving_average(state[name], value, total, momentum)
    return new


def ghost_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """Batch normalization of parts of n consecutive samples, the last of them
    smaller (combinations.md 3.11).

    State: one moving average after the other, or ("mean") one with the mean
    of the parts' statistics, weighted by their entries.
    """
    s = settings(
        config,
        **AFFINE,
        virtual_batch_size=None,
        momentum=0.9,
        update="sequential",
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("GhostBatchNormalization", config, shape, state)
    if not training:
        mean, variance = (state[name] for name in MOMENTS)
        normalized = (x - mean) / np.sqrt(variance + s.epsilon)
        return from_npc(affine(normalized, weights, s), s.axis, shape), state
    parts, normalized = [], np.zeros(x.shape)
    for first in range(0, len(x), s.virtual_batch_size):
        part = slice(first, first + s.virtual_batch_size)
        mean, variance, total = batch_moments(x[part], w[part])
        root = np.sqrt(variance + s.epsilon)
        normalized[part] = (x[part] - mean) / root
        parts.append((mean, variance, total))
    new = state
    if s.update == "sequential":
        for mean, variance, total in parts:
            new = _moved(new, (mean, variance), total, s.momentum)
    elif parts:
        means, variances, totals = np.moveaxis(np.array(parts), 0, 1)
        total = np.sum(totals, axis=0)
        share = totals / np.where(total > 0, total, 1)
        batch = np.sum(share * means, axis=0), np.sum(share * variances, axis=0)
        new = _moved(new, batch, total, s.momentum)
    return from_npc(affine(normalized, weights, s), s.axis, shape), new


def frozen_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """gamma (x - mean) / sqrt(var + eps) + beta, all of them constants."""
    s = settings(config, **AFFINE)
    x, _, shape = prepare(inputs, s.axis, mask)
    state = start("FrozenBatchNormalization", config, shape, state)
    mean, variance = (state[name] for name in MOMENTS)
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    y = affine(normalized, {**state, **weights}, s)
    return from_npc(y, s.axis, shape), state


def switchable_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """Batch normalization with weights and state for every width, of which
    the number of channels says one (combinations.md 5.10).

    Row i of every table, filled up to the largest width, is for width i;
    shared gamma and beta are those of the largest.
    """
    s = settings(
        config,
        **AFFINE,
        widths=None,
        shared_affine=False,
        momentum=0.9,
        unbiased_moving_variance=False,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("SwitchableBatchNormalization", config, shape, state)
    channels = x.shape[-1]
    row = list(s.widths).index(channels)
    own = {name: state[name][row, :channels] for name in MOMENTS}
    mean, variance = (own[name] for name in MOMENTS)
    new = state
    if training:
        mean, variance, total = batch_moments(x, w)
        factor = bessel(total) if s.unbiased_moving_variance else 1
        moved = _moved(own, (mean, variance * factor), total, s.momentum)
        new = {name: np.array(value) for name, value in state.items()}
        for name in MOMENTS:
            new[name][row, :channels] = moved[name]
    part = slice(channels) if s.shared_affine else (row, slice(channels))
    weights = {name: np.asarray(value)[part] for name, value in weights.items()}
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    return from_npc(affine(normalized, weights, s), s.axis, shape), new


LOG_EPSILON = 1e-6
STOCHASTIC = (
    "moving_mean",
    "moving_squared_mean",
    "moving_log_variance",
    "moving_squared_log_variance",
)


def sampled_moments(state, noise_mean, noise_variance, floor=0.0):
    """mean ~ N(m, m2 - m^2), log variance ~ N(l, l2 - l^2), at these draws
    of N(0, 1) (combinations.md 3.13)."""
    m, m2, log, log2 = (state[name] for name in STOCHASTIC)
    mean = m + noise_mean * np.sqrt(np.maximum(m2 - m**2, floor))
    spread = np.sqrt(np.maximum(log2 - log**2, floor))
    return mean, np.exp(log + noise_variance * spread)


def stochastic_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """Training: batch normalization. State: moving averages of mu, mu^2,
    l = log(var + 1e-6), l^2, from 0. Inference: moments of the "batch", or
    "moving": m and exp(l)."""
    s = settings(config, **AFFINE, momentum=0.9, inference="sample", seed=None)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("StochasticBatchNormalization", config, shape, state)
    new = dict(state)
    if training or s.inference == "batch":
        mean, variance, total = batch_moments(x, w)
        log = np.log(variance + LOG_EPSILON)
        batch = (mean, mean**2, log, log**2)
    if training:
        for name, value in zip(STOCHASTIC, batch, strict=True):
            new[name] = moving_average(state[name], value, total, s.momentum)
    elif s.inference == "sample":
        raise ValueError("What is sampled has no formula: sampled_moments.")
    elif s.inference == "moving":
        mean, variance = sampled_moments(state, 0.0, 0.0)
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    return from_npc(affine(normalized, weights, s), s.axis, shape), new


def fine_grained_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = sum_g gamma_g (x_g - mean_g) / sqrt(var_g + eps) + beta; x_g are
    the consecutive groups of the channels (combinations.md 5.11)."""
    s = settings(config, **AFFINE, groups=None, momentum=0.9)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("FineGrainedBatchNormalization", config, shape, state)
    y, new = _partial_sums(x, w, s, weights, state, training)
    shape = list(shape)
    shape[s.axis] //= s.groups
    return from_npc(y, s.axis, tuple(shape)), new


def _partial_sums(x, w, s, weights, state, training):
    new = state
    mean, variance = (np.ravel(state[name]) for name in MOMENTS)
    if training:
        mean, variance, total = batch_moments(x, w)
        shape = np.shape(state["moving_mean"])
        batch = (mean.reshape(shape), variance.reshape(shape))
        new = _moved(state, batch, total.reshape(shape), s.momentum)
    y = (x - mean) / np.sqrt(variance + s.epsilon)
    if s.scale:
        y = y * np.ravel(weights.get("gamma", np.ones(x.shape[-1])))
    y = np.sum(y.reshape(*x.shape[:-1], s.groups, -1), axis=-2)
    if s.center:
        y = y + np.asarray(weights.get("beta", 0.0))
    return y, new


def fine_grained_conv2d(inputs, config, weights, state, training, mask=None):
    """Every group of the input has its own convolution to all filters; each
    result is batch normalized and they are summed."""
    s = settings(
        config,
        **AFFINE,
        filters=None,
        kernel_size=None,
        groups=1,
        strides=1,
        padding="valid",
        dilation_rate=1,
        data_format="channels_last",
        momentum=0.9,
    )
    first = s.data_format == "channels_first"
    x = np.asarray(inputs[0], dtype="float64")
    x = np.moveaxis(x, 1, -1) if first else x
    state = start("FineGrainedConv2D", config, np.shape(inputs[0]), state)
    kernel = np.asarray(weights["kernel"], dtype="float64")
    kernel = np.moveaxis(kernel, 2, 0)
    width = x.shape[-1] // s.groups
    results = []
    for g in range(s.groups):
        own = x[..., g * width : (g + 1) * width]
        if kernel.shape[0] == x.shape[-1] and s.groups > 1:
            part = kernel[g * width : (g + 1) * width]
        else:
            part = kernel[..., g * s.filters : (g + 1) * s.filters]
        rows = patches(padded(own, s), s, 1)
        results.append(rows @ part.reshape(-1, s.filters))
    h, w, shape = prepare([np.concatenate(results, axis=-1)], -1, mask)
    y, new = _partial_sums(h, w, s, weights, state, training)
    y = from_npc(y, -1, (*shape[:-1], s.filters))
    return (np.moveaxis(y, -1, 1) if first else y), new
