"""Pieces of gradients through statistics of a batch, from the formulas.

All arrays are (N, P, C); a statistic has one entry for every channel.
"""

import numpy as np

from .common import moments
from .common import set_labels


def batch_moments(x, w):
    """Mean, biased variance and total weight of every channel."""
    return moments(x, w, *set_labels("batch", x.shape))


def clean(x, w):
    """The data with 0 where they are masked."""
    return np.where(w > 0, x, 0.0)


def shares(w):
    """w / sum(w): the derivative of a channel's mean by its entries."""
    total = np.sum(w, axis=(0, 1))
    return w / np.where(total > 0, total, 1)


def through_affine(dy, normalized, weights, s):
    """y = gamma z + beta: (dz, {weight: gradient})."""
    gradients = {}
    dz = dy
    if s.scale and "gamma" in weights:
        gradients["gamma"] = np.sum(dy * normalized, axis=(0, 1))
        dz = dy * np.asarray(weights["gamma"], dtype="float64")
    if s.center and "beta" in weights:
        gradients["beta"] = np.sum(dy, axis=(0, 1))
    return dz, gradients


def through_standardize(dz, x, mean, variance, epsilon):
    """z = (x - mean) / sqrt(var + eps): (dx, dmean, dvar), each alone."""
    rate = 1 / np.sqrt(variance + epsilon)
    dmean = -np.sum(dz, axis=(0, 1)) * rate
    dvariance = -0.5 * np.sum(dz * (x - mean), axis=(0, 1)) * rate**3
    return dz * rate, dmean, dvariance


def through_moments(x, w, mean, dmean, dvariance):
    """mean = sum(w x) / sum(w), var = sum(w (x - mean)^2) / sum(w): dx.

    d mean / dx_i = w_i / sum(w), d var / dx_i = 2 (x_i - mean) w_i / sum(w).
    """
    return shares(w) * (dmean + 2 * (x - mean) * dvariance)
