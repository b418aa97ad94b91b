"""Online normalization, sample by sample (combinations.md 3.5)."""

import numpy as np

from .batch_gradient import through_affine
from .common import affine
from .common import from_npc
from .common import prepare
from .common import settings
from .common import to_npc
from .shapes import start

DEFAULTS = {
    "alpha_forward": 0.999,
    "alpha_backward": 0.99,
    "axis": -1,
    "epsilon": 1e-5,
    "error_compensation": "layer_scaling",
    "clamp_value": 5.0,
    "control": "state",
    "center": True,
    "scale": True,
}
LAYER_EPSILON = 1e-5
# u, by which the gradients of the inputs average to 0, and c, by which they
# are orthogonal to the outputs.
MEAN_CONTROL = "mean_control"
OUTPUT_CONTROL = "output_control"


def _normalized(x, state, s):
    """z, the variances that each sample met, and the new state.

    z_i = (x_i - m) / sqrt(v + eps), then v <- a v + (1 - a) var_i +
    a (1 - a) (mu_i - m)^2 and m <- m + (1 - a) (mu_i - m).
    """
    mean, variance = state["moving_mean"], state["moving_variance"]
    a = s.alpha_forward
    z, met = np.zeros(x.shape), []
    for i, sample in enumerate(x):
        z[i] = (sample - mean) / np.sqrt(variance + s.epsilon)
        met.append(variance)
        own = np.mean(sample, axis=0)
        square = np.mean((sample - own) ** 2, axis=0)
        distance = own - mean
        variance = a * variance + (1 - a) * square + a * (1 - a) * distance**2
        mean = mean + (1 - a) * distance
    return z, met, {"moving_mean": mean, "moving_variance": variance}


def _layer_root(y):
    """sqrt(mean(y^2) + 1e-5) of every sample."""
    return np.sqrt(np.mean(y**2, axis=(1, 2), keepdims=True) + LAYER_EPSILON)


def _compensated(y, s):
    if s.error_compensation == "layer_scaling":
        return y / _layer_root(y)
    if s.error_compensation == "clamp":
        return np.clip(y, -s.clamp_value, s.clamp_value)
    return y


def _through_compensation(dout, y, s):
    if s.error_compensation == "layer_scaling":
        root = _layer_root(y)
        inner = np.mean(dout * y, axis=(1, 2), keepdims=True)
        return dout / root - y * inner / root**3
    if s.error_compensation == "clamp":
        return np.where(np.abs(y) < s.clamp_value, dout, 0.0)
    return dout


def online_normalization(inputs, config, weights, state, training, mask=None):
    """gamma z + beta, and what keeps errors from growing: each sample divided
    by its root mean square ("layer_scaling") or a clamp."""
    s = settings(config, **DEFAULTS)
    x, _, shape = prepare(inputs, s.axis, mask)
    state = start("OnlineNormalization", config, shape, state)
    if training:
        z, _, new = _normalized(x, state, s)
    else:
        mean, variance = state["moving_mean"], state["moving_variance"]
        z, new = (x - mean) / np.sqrt(variance + s.epsilon), state
    y = _compensated(affine(z, weights, s), s)
    return from_npc(y, s.axis, shape), {**state, **new}


def online_gradient(inputs, config, weights, state, upstream, mask=None):
    """([dx], {weight: gradient, control: new value}).

    Statistics are constants. For each sample, with dz from the affine map:
    g = dz - (1 - b) c z; c <- c + mean(g z); g <- g / sqrt(v + eps);
    dx = g - (1 - b) u; u <- u + mean(dx), v the variance the sample met.
    """
    s = settings(config, **DEFAULTS)
    x, _, shape = prepare(inputs, s.axis, mask)
    state = start("OnlineNormalization", config, shape, state)
    z, met, _ = _normalized(x, state, s)
    dout = to_npc(upstream, s.axis)
    dy = _through_compensation(dout, affine(z, weights, s), s)
    dz, gradients = through_affine(dy, z, weights, s)
    u = c = np.zeros(x.shape[-1])
    if s.control == "state":
        u = np.asarray(weights.get(MEAN_CONTROL, u))
        c = np.asarray(weights.get(OUTPUT_CONTROL, c))
    b = s.alpha_backward
    dx = np.zeros(x.shape)
    for i in range(len(x)):
        g = dz[i] - (1 - b) * c * z[i]
        c = c + np.mean(g * z[i], axis=0)
        g = g / np.sqrt(met[i] + s.epsilon)
        dx[i] = g - (1 - b) * u
        u = u + np.mean(dx[i], axis=0)
    if s.control == "state":
        gradients |= {MEAN_CONTROL: u, OUTPUT_CONTROL: c}
    return [from_npc(dx, s.axis, shape)], gradients
