"""Kalman normalization (combinations.md 3.10)."""

from types import SimpleNamespace

import numpy as np

from .batch_gradient import batch_moments
from .batch_gradient import clean
from .batch_gradient import through_affine
from .batch_gradient import through_moments
from .batch_gradient import through_standardize
from .common import affine
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import settings
from .common import to_npc
from .shapes import start

DEFAULTS = {
    "keep": 0.9,
    "learn_keep": False,
    "max_ratio": 100.0,
    "axis": -1,
    "momentum": 0.9,
    "epsilon": 1e-5,
    "center": True,
    "scale": True,
}
MOMENTS = ("moving_mean", "moving_variance")


def _fused(x, w, predicted, weights, s):
    """What normalizes, and what it was made of.

    mean = p m + (1 - p) mu_B, var = p v + (1 - p) var_B + p (1 - p)
    (mu_B - m)^2 with the prediction m, v, if the mean over the channels of
    v / var_B is below max_ratio; else the batch's.
    """
    mean, variance, total = batch_moments(x, w)
    p = 0.0
    m, v = mean, variance
    if predicted:
        given = [np.reshape(a, mean.shape) for a in predicted]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.mean(given[1] / variance)
        if ratio < s.max_ratio:
            m, v = given
            p = np.reshape(weights["keep"], ()) if s.learn_keep else s.keep
    return SimpleNamespace(
        p=p,
        predicted_mean=m,
        predicted_variance=v,
        batch_mean=mean,
        batch_variance=variance,
        total=total,
        mean=p * m + (1 - p) * mean,
        variance=p * v + (1 - p) * variance + p * (1 - p) * (mean - m) ** 2,
    )


def kalman_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, and the two statistics.

    State: their moving averages, which are all that inference uses.
    """
    s = settings(config, **DEFAULTS)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("KalmanNormalization", config, shape, state)
    mean, variance = (state[name] for name in MOMENTS)
    new = state
    if training:
        f = _fused(x, w, inputs[1:], weights, s)
        mean, variance, new = f.mean, f.variance, dict(state)
        for name, value in zip(MOMENTS, (mean, variance), strict=True):
            new[name] = moving_average(state[name], value, f.total, s.momentum)
    z = (x - mean) / np.sqrt(variance + s.epsilon)
    y = from_npc(affine(z, weights, s), s.axis, shape)
    return (y, mean, variance), new


def kalman_gradient(inputs, config, weights, state, upstream, mask=None):
    """([dx, dm, dv], {weight: gradient}); `upstream` of y alone or of all
    three outputs. Whether the prediction is used has no gradient."""
    s = settings(config, **DEFAULTS)
    x, w, shape = prepare(inputs, s.axis, mask)
    x = clean(x, w)
    f = _fused(x, w, inputs[1:], weights, s)
    dy, *others = upstream if isinstance(upstream, list) else [upstream]
    z = (x - f.mean) / np.sqrt(f.variance + s.epsilon)
    dz, gradients = through_affine(to_npc(dy, s.axis), z, weights, s)
    dx, dmean, dvariance = through_standardize(
        dz, x, f.mean, f.variance, s.epsilon
    )
    if others:
        dmean = dmean + np.reshape(others[0], dmean.shape)
        dvariance = dvariance + np.reshape(others[1], dmean.shape)
    p, distance = f.p, f.batch_mean - f.predicted_mean
    between = 2 * p * (1 - p) * distance * dvariance
    dx = dx + through_moments(
        x, w, f.batch_mean, (1 - p) * dmean + between, (1 - p) * dvariance
    )
    found = [from_npc(dx, s.axis, shape)]
    if len(inputs) > 1:
        found.append(np.reshape(p * dmean - between, np.shape(inputs[1])))
        found.append(np.reshape(p * dvariance, np.shape(inputs[2])))
    if s.learn_keep:
        by_variance = f.predicted_variance - f.batch_variance
        by_variance = by_variance + (1 - 2 * p) * distance**2
        dp = np.sum(by_variance * dvariance - distance * dmean)
        gradients["keep"] = np.reshape(dp, np.shape(weights["keep"]))
    return found, gradients
