"""Batch-channel normalization (combinations.md 2.10)."""

from types import SimpleNamespace

import numpy as np

from .batch_gradient import clean
from .common import affine
from .common import from_npc
from .common import prepare
from .common import settings
from .common import to_npc
from .entry_sets import area_moments
from .entry_sets import batch_or_state
from .entry_sets import standardize
from .entry_sets import through_area
from .entry_sets import through_standardize
from .mixtures import BATCH
from .mixtures import float64
from .shapes import start

DEFAULTS = {
    "groups": 32,
    "estimate": False,
    "channel_affine": "group",
    **BATCH,
}


def _of_channels(weights, name, channels, default):
    """A weight of the groups or of the channels, for every channel."""
    values = float64(weights.get(f"group_{name}", default)).reshape(-1)
    return np.repeat(values, channels // len(values))


def _forward(x, w, weights, state, training, s):
    """All steps: z of the batch part, its result b, z of the group part."""
    mean, variance, new = batch_or_state(x, w, state, training, s)
    if s.estimate:
        mean, variance = new["moving_mean"], new["moving_variance"]
    z = standardize(x, mean, variance, s)
    b = affine(z, weights, s)
    of_group = area_moments(b, w, "group", groups=s.groups)
    h = standardize(b, *of_group, s)
    channels = x.shape[-1]
    gamma = _of_channels(weights, "gamma", channels, 1.0)
    beta = _of_channels(weights, "beta", channels, 0.0)
    y = (gamma if s.scale else 1.0) * h + (beta if s.center else 0.0)
    return SimpleNamespace(
        mean=mean,
        variance=variance,
        z=z,
        b=b,
        of_group=of_group,
        h=h,
        gamma=gamma if s.scale else np.ones(channels),
        y=y,
        new=new,
    )


def batch_channel_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = group_gamma GN(gamma BN(x) + beta) + group_beta.

    estimate: BN by the moving statistics, in training as they are after this
    step.
    """
    s = settings(config, **DEFAULTS)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("BatchChannelNormalization", config, shape, state)
    # Masked entries may be anything; they must not meet the group's means.
    found = _forward(clean(x, w), w, weights, state, training, s)
    return from_npc(found.y, s.axis, shape), found.new


def batch_channel_gradient(inputs, config, weights, state, upstream, mask=None):
    """([dx], {weight: gradient}); the moving statistics are constants."""
    s = settings(config, **DEFAULTS)
    x, w, shape = prepare(inputs, s.axis, mask)
    x = clean(x, w)
    state = start("BatchChannelNormalization", config, shape, state)
    f = _forward(x, w, weights, state, True, s)
    dy, found = to_npc(upstream, s.axis), {}

    def kept(name, by_channel):
        """Summed over what shares one weight."""
        if name in weights:
            size = np.shape(weights[name])
            found[name] = by_channel.reshape(*size, -1).sum(axis=-1)

    kept("group_gamma", np.sum(dy * f.h, axis=(0, 1)))
    kept("group_beta", np.sum(dy, axis=(0, 1)))
    db, *of_moments = through_standardize(dy * f.gamma, f.b, *f.of_group, s)
    db = db + through_area(f.b, w, "group", *of_moments, groups=s.groups)
    kept("gamma", np.sum(db * f.z, axis=(0, 1)))
    kept("beta", np.sum(db, axis=(0, 1)))
    gamma = float64(weights["gamma"]) if "gamma" in weights else 1.0
    dx, *of_moments = through_standardize(db * gamma, x, f.mean, f.variance, s)
    if not s.estimate:
        dx = dx + through_area(x, w, "batch", *of_moments)
    return [from_npc(dx, s.axis, shape)], found
