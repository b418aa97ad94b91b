"""Pieces shared by the reference implementations: layout, sets, means.

Everything is float64 and works on explicit sets of entries. A data array is
brought to the shape (N, P, C): samples, positions, channels. A *set* is the
group of entries that share one statistic; `labels` gives every entry the
number of its set. Masked entries have weight 0 and may hold NaN.
"""

import math
from types import SimpleNamespace

import numpy as np

ALWAYS_ALLOWED = ("name", "dtype", "trainable", "synchronized")
ALWAYS_ALLOWED_ENDINGS = ("_initializer", "_regularizer", "_constraint")


def settings(config, **defaults):
    """The constructor arguments `config`, completed with the defaults."""
    for key in config:
        if (
            key not in defaults
            and key not in ALWAYS_ALLOWED
            and not key.endswith(ALWAYS_ALLOWED_ENDINGS)
        ):
            raise TypeError(f"Unknown constructor argument {key!r}.")
    return SimpleNamespace(**{**defaults, **config})


# Layout ---------------------------------------------------------------------


def axis_list(axis, rank):
    """`axis` (int or several) as a list of non-negative axes, as given."""
    several = [axis] if isinstance(axis, int) else list(axis)
    return [a % rank for a in several]


def entry_weights(shape, mask):
    """The weight of every entry; the mask is aligned to the leading axes."""
    if mask is None:
        return np.ones(shape)
    mask = np.asarray(mask).astype("float64")
    mask = mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
    return np.broadcast_to(mask, shape)


def to_npc(array, axis):
    """Channel axis last, all positions in one axis: (N, P, C)."""
    moved = np.moveaxis(np.asarray(array, dtype="float64"), axis, -1)
    samples, *spatial, channels = moved.shape
    return moved.reshape(samples, math.prod(spatial), channels)


def from_npc(array, axis, shape):
    """(N, P, C) back to the layout of an input of shape `shape`."""
    channels_last = np.moveaxis(np.empty(shape), axis, -1).shape
    return np.moveaxis(array.reshape(channels_last), -1, axis)


def prepare(inputs, axis, mask):
    """First input and its weights as (N, P, C), and the input's shape."""
    shape = np.shape(inputs[0])
    weights = entry_weights(shape, mask)
    return to_npc(inputs[0], axis), to_npc(weights, axis), shape


def spread_parameter(parameter, axes, shape):
    """A parameter whose axes are `axes` of the data, made broadcastable."""
    parameter = np.asarray(parameter, dtype="float64")
    increasing = np.argsort(axes)
    parameter = np.transpose(parameter, increasing)
    new_shape = [1] * len(shape)
    for a in axes:
        new_shape[a] = shape[a]
    return parameter.reshape(new_shape)


def affine(normalized, weights, arguments):
    """gamma * normalized + beta, channels last (methods, section 0)."""
    y = normalized
    if arguments.scale and "gamma" in weights:
        y = y * np.asarray(weights["gamma"], dtype="float64")
    if arguments.center and "beta" in weights:
        y = y + np.asarray(weights["beta"], dtype="float64")
    return y


# Means over one set ---------------------------------------------------------


def weighted_mean(values, weights):
    """sum(w x) / sum(w) over all entries; 0 for a set of total weight 0."""
    total = np.sum(weights)
    if total == 0:
        return 0.0
    return np.sum(np.where(weights > 0, values, 0) * weights) / total


def weighted_variance(values, weights):
    """sum(w (x - mean)^2) / sum(w): the biased variance."""
    mean = weighted_mean(values, weights)
    return weighted_mean((values - mean) ** 2, weights)


def weighted_mean_square(values, weights):
    """sum(w x^2) / sum(w): the second moment about zero."""
    return weighted_mean(values**2, weights)


def bessel(count):
    """m / (m - 1), with m - 1 replaced by 1 where it is smaller."""
    count = np.asarray(count, dtype="float64")
    return count / np.maximum(count - 1, 1)


# Sets -----------------------------------------------------------------------


def group_count(groups, channels):
    """Number of channel groups; -1: one for each channel."""
    groups = channels if groups == -1 else groups
    if channels % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels.")
    return groups


def set_labels(area, shape, groups=None):
    """Set number of every entry of (N, P, C), and how many sets there are.

    Sets of activations.md, section 0. Channel groups are contiguous.
    """
    samples, _, channels = shape
    n, _, c = np.indices(shape)
    if area == "batch":
        return c, channels
    if area == "layer":
        return n, samples
    if area == "instance":
        return n * channels + c, samples * channels
    if area == "group":
        groups = group_count(groups, channels)
        group = c // (channels // groups)
        return n * groups + group, samples * groups
    raise ValueError(f"Unknown area {area!r}.")


def over_sets(function, values, weights, labels, count):
    """function(values of the set, weights of the set) for every set."""
    labels = labels.ravel()
    values = np.broadcast_to(values, weights.shape).ravel()
    weights = weights.ravel()
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(count))
    ends = np.append(starts[1:], len(order))
    result = np.zeros(count)
    for k in range(count):
        members = order[starts[k] : ends[k]]
        result[k] = function(values[members], weights[members])
    return result


def set_weight(weights, labels, count):
    """Total weight of every set: its number of entries without a mask."""
    return over_sets(lambda _, w: np.sum(w), weights, weights, labels, count)


def moments(values, weights, labels, count):
    """Mean, biased variance and total weight of every set."""
    return (
        over_sets(weighted_mean, values, weights, labels, count),
        over_sets(weighted_variance, values, weights, labels, count),
        set_weight(weights, labels, count),
    )


# State ----------------------------------------------------------------------


def moving_average(old, new, weight, momentum):
    """momentum*old + (1-momentum)*new; old itself where weight is 0."""
    updated = momentum * old + (1 - momentum) * new
    return np.where(weight > 0, updated, old)
