"""Chapter area: batch, layer, instance, group, positional, batch group.

Also the composed normalization: any of the first areas with any operation.
"""

import math

import numpy as np

from .common import affine
from .common import axis_list
from .common import bessel
from .common import entry_weights
from .common import from_npc
from .common import group_count
from .common import moments
from .common import moving_average
from .common import over_sets
from .common import prepare
from .common import set_labels
from .common import set_weight
from .common import settings
from .common import spread_parameter
from .common import weighted_mean
from .common import weighted_mean_square
from .common import weighted_variance
from .shapes import start


def batch_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (activations.md 1).

    Statistics per channel over samples and positions, biased; state: moving
    averages of the mean and of the biased (or unbiased) variance.

    With renorm (combinations.md 3.1, two sets of state as in Keras 3.15):
    y = gamma ((x - mean) / sigma r + d) + beta, sigma = sqrt(var + eps),
    r = clip(sigma / max(renorm_stddev, sqrt(eps)), rmin, rmax),
    d = clip((mean - renorm_mean) / the same, -dmax, dmax), from the state
    before the step.
    """
    s = settings(
        config,
        axis=-1,
        momentum=0.99,
        epsilon=1e-3,
        center=True,
        scale=True,
        renorm=False,
        renorm_clipping=None,
        renorm_momentum=0.99,
        unbiased_moving_variance=False,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("BatchNormalization", config, shape, state)
    if not training:
        mean, variance = state["moving_mean"], state["moving_variance"]
        normalized = (x - mean) / np.sqrt(variance + s.epsilon)
        y = affine(normalized, weights, s)
        return from_npc(y, s.axis, shape), state

    labels, count = set_labels("batch", x.shape)
    mean, variance, total = moments(x, w, labels, count)
    stored = variance
    if s.unbiased_moving_variance:
        stored = variance * bessel(total)
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    new = dict(state)
    new["moving_mean"] = moving_average(
        state["moving_mean"], mean, total, s.momentum
    )
    if not s.renorm:
        new["moving_variance"] = moving_average(
            state["moving_variance"], stored, total, s.momentum
        )
    else:
        r, d = renorm_correction(mean, variance, state, s)
        normalized = normalized * r + d
        deviation = np.sqrt(stored + s.epsilon)
        new["moving_stddev"] = moving_average(
            state["moving_stddev"], deviation, total, s.momentum
        )
        new["renorm_mean"] = moving_average(
            state["renorm_mean"], mean, total, s.renorm_momentum
        )
        new["renorm_stddev"] = moving_average(
            state["renorm_stddev"], deviation, total, s.renorm_momentum
        )
        new["moving_variance"] = np.where(
            total > 0,
            np.maximum(new["moving_stddev"] ** 2 - s.epsilon, 0),
            state["moving_variance"],
        )
    y = affine(normalized, weights, s)
    return from_npc(y, s.axis, shape), new


def renorm_correction(mean, variance, state, s):
    """r and d of batch renormalization (combinations.md 3.1)."""
    clipping = s.renorm_clipping or {}
    old = np.maximum(state["renorm_stddev"], np.sqrt(s.epsilon))
    r = np.sqrt(variance + s.epsilon) / old
    d = (mean - state["renorm_mean"]) / old
    if clipping.get("rmin") is not None:
        r = np.maximum(r, clipping["rmin"])
    if clipping.get("rmax") is not None:
        r = np.minimum(r, clipping["rmax"])
    if clipping.get("dmax") is not None:
        d = np.clip(d, -clipping["dmax"], clipping["dmax"])
    return r, d


def layer_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (activations.md 2).

    Statistics over the axes `axis`, biased; gamma and beta have the axes
    `param_axis` (None: `axis`). A set without an unmasked entry gives beta.
    """
    s = settings(
        config,
        axis=-1,
        epsilon=1e-3,
        center=True,
        scale=True,
        param_axis=None,
    )
    x = np.asarray(inputs[0], dtype="float64")
    w = entry_weights(x.shape, mask)
    axes = axis_list(s.axis, x.ndim)

    def mean_over_axes(values):
        values = np.where(w > 0, values, 0)
        value_sum = np.sum(w * values, axis=tuple(axes), keepdims=True)
        total = np.sum(w, axis=tuple(axes), keepdims=True)
        return value_sum / np.where(total > 0, total, 1)

    mean = mean_over_axes(x)
    variance = mean_over_axes((x - mean) ** 2)
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    seen = np.sum(w, axis=tuple(axes), keepdims=True) > 0
    normalized = np.where(seen, normalized, 0)

    param_axis = s.axis if s.param_axis is None else s.param_axis
    param_axes = axis_list(param_axis, x.ndim)
    y = normalized
    if s.scale and "gamma" in weights:
        y = y * spread_parameter(weights["gamma"], param_axes, x.shape)
    if s.center and "beta" in weights:
        y = y + spread_parameter(weights["beta"], param_axes, x.shape)
    return y, {}


def _standardize_sets(x, w, labels, count, epsilon):
    """(x - mean) / sqrt(var + eps), 0 in sets without weight."""
    mean, variance, total = moments(x, w, labels, count)
    rate = 1 / np.sqrt(variance + epsilon)
    normalized = (x - mean[labels]) * rate[labels]
    return np.where(total[labels] > 0, normalized, 0)


def instance_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (activations.md 3).

    Statistics per sample and channel over the positions, biased.
    """
    s = settings(config, axis=-1, epsilon=1e-5, center=True, scale=True)
    x, w, shape = prepare(inputs, s.axis, mask)
    labels, count = set_labels("instance", x.shape)
    normalized = _standardize_sets(x, w, labels, count, s.epsilon)
    return from_npc(affine(normalized, weights, s), s.axis, shape), {}


def group_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (activations.md 4).

    Statistics per sample and contiguous group of channels, biased.
    """
    s = settings(
        config, groups=32, axis=-1, epsilon=1e-3, center=True, scale=True
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    labels, count = set_labels("group", x.shape, s.groups)
    normalized = _standardize_sets(x, w, labels, count, s.epsilon)
    return from_npc(affine(normalized, weights, s), s.axis, shape), {}


def positional_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (x - mean) / std, std = sqrt(var + eps) (activations.md 5).

    Over the channels at each position; the variance divided by C - 1 if
    unbiased. Positions are not mixed: a mask plays no part.
    """
    s = settings(
        config,
        axis=-1,
        epsilon=1e-5,
        center=False,
        scale=False,
        unbiased=True,
        return_moments=False,
    )
    x = np.asarray(inputs[0], dtype="float64")
    channels = x.shape[s.axis]
    mean = np.mean(x, axis=s.axis, keepdims=True)
    square_sum = np.sum((x - mean) ** 2, axis=s.axis, keepdims=True)
    divisor = max(channels - 1, 1) if s.unbiased else channels
    std = np.sqrt(square_sum / divisor + s.epsilon)
    normalized = np.moveaxis((x - mean) / std, s.axis, -1)
    y = np.moveaxis(affine(normalized, weights, s), -1, s.axis)
    if s.return_moments:
        return (y, mean, std), {}
    return y, {}


def moment_shortcut(inputs, config, weights, state, training, mask=None):
    """y = x * std + mean (activations.md 5)."""
    settings(config)
    x, mean, std = (np.asarray(a, dtype="float64") for a in inputs)
    return x * std + mean, {}


def batch_group_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (activations.md 6).

    grouped: one set = the samples of one part of the batch x the positions
    x one contiguous group of channels. flat: the entries of a sample, in
    the order (C, positions), are cut in `groups` equal pieces.
    Parts: ceil(N / batch_groups) consecutive samples.
    State, per channel group: the averages over the parts, weighted by
    their number of entries.
    """
    s = settings(
        config,
        groups=32,
        batch_groups=1,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        mode="grouped",
        unbiased_moving_variance=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    samples, positions, channels = x.shape
    n, p, c = np.indices(x.shape)
    if s.mode == "grouped":
        groups = group_count(s.groups, channels)
        group = c // (channels // groups)
    else:
        groups = s.groups
        if (channels * positions) % groups:
            raise ValueError("`groups` must divide channels * positions.")
        group = (c * positions + p) // (channels * positions // groups)
    state = start("BatchGroupNormalization", config, shape, state)

    if not training:
        mean = state["moving_mean"][group]
        variance = state["moving_variance"][group]
        normalized = (x - mean) / np.sqrt(variance + s.epsilon)
        return from_npc(affine(normalized, weights, s), s.axis, shape), state

    part_size = max(math.ceil(samples / s.batch_groups), 1)
    labels = (n // part_size) * groups + group
    count = s.batch_groups * groups
    mean, variance, total = moments(x, w, labels, count)
    rate = 1 / np.sqrt(variance + s.epsilon)
    normalized = (x - mean[labels]) * rate[labels]

    stored = variance
    if s.unbiased_moving_variance:
        stored = variance * bessel(total)
    new = dict(state)
    for g in range(groups):
        of_group = slice(g, None, groups)
        part_weights = total[of_group]
        for name, values in (
            ("moving_mean", mean[of_group]),
            ("moving_variance", stored[of_group]),
        ):
            new[name] = new[name].copy()
            new[name][g] = moving_average(
                state[name][g],
                weighted_mean(values, part_weights),
                np.sum(part_weights),
                s.momentum,
            )
    return from_npc(affine(normalized, weights, s), s.axis, shape), new


def composed_normalization(inputs, config, weights, state, training, mask=None):
    """Any area with any operation (activations.md, section 0).

    standardize: (x - mean) / sqrt(var + eps); center: x - mean;
    scale: x / sqrt(E[x^2] + eps). recovery "affine": gamma, beta (C,).
    statistics None: those of the input; "moving" (area batch only): moving
    averages at inference.
    """
    s = settings(
        config,
        area="batch",
        operation="standardize",
        statistics=None,
        recovery="affine",
        axis=-1,
        epsilon=1e-5,
        center=True,
        scale=True,
        groups=32,
        momentum=0.9,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("ComposedNormalization", config, shape, state)
    labels, count = set_labels(s.area, x.shape, s.groups)
    total = set_weight(w, labels, count)
    measures = {
        "standardize": {
            "moving_mean": weighted_mean,
            "moving_variance": weighted_variance,
        },
        "center": {"moving_mean": weighted_mean},
        "scale": {"moving_second_moment": weighted_mean_square},
    }[s.operation]
    measured = {
        name: over_sets(measure, x, w, labels, count)
        for name, measure in measures.items()
    }
    new = dict(state)
    if s.statistics is not None:
        if training:
            for name, value in measured.items():
                new[name] = moving_average(
                    state[name], value, total, s.momentum
                )
        else:
            measured = {name: state[name] for name in measured}

    normalized = x
    if "moving_mean" in measured:
        normalized = normalized - measured["moving_mean"][labels]
    for name in ("moving_variance", "moving_second_moment"):
        if name in measured:
            rate = 1 / np.sqrt(measured[name] + s.epsilon)
            normalized = normalized * rate[labels]
    y = affine(normalized, weights, s) if s.recovery == "affine" else normalized
    return from_npc(y, s.axis, shape), new
