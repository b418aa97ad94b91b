"""Power and moving average normalization: statistics of the gradient too.

The backward passes are the methods' own, not derivatives. What they carry
from step to step is a weight; its "gradient" is its next value.
"""

import numpy as np

from .batch_gradient import shares
from .batch_gradient import through_affine
from .common import affine
from .common import from_npc
from .common import moving_average
from .common import over_sets
from .common import prepare
from .common import set_labels
from .common import settings
from .common import to_npc
from .common import weighted_mean_square
from .shapes import start

GROUP_EPSILON = 1e-5
MEAN_PRODUCT = "mean_product"
PRODUCTS = "products"


def second_moment(x, w):
    """E[x^2] and the total weight of every channel."""
    labels, count = set_labels("batch", x.shape)
    square = over_sets(weighted_mean_square, x, w, labels, count)
    return square, np.sum(w, axis=(0, 1))


# PowerNorm (activations.md 16) ------------------------------------------------


def _power_settings(config):
    return settings(
        config,
        groups=1,
        group_scaling=True,
        alpha_forward=0.9,
        alpha_backward=0.9,
        warmup_steps=10000,
        axis=-1,
        epsilon=1e-5,
        backward="approximate",
        center=True,
        scale=True,
    )


def _by_group(x, s):
    return x.reshape(*x.shape[:-1], s.groups, -1)


def _group_shares(w, s):
    """Weights of the channels of a group, at a position, of sum 1.

    Where a position has none it counts as a whole, for what is sent back
    through masked positions.
    """
    grouped = _by_group(w, s)
    total = np.sum(grouped, axis=-1, keepdims=True)
    grouped = np.where(total > 0, grouped, 1.0)
    return grouped / np.sum(grouped, axis=-1, keepdims=True)


def _group_scaled(x, w, s):
    """h = x q, q = 1 / sqrt(mean of the group's x^2 + 1e-5), by position."""
    if not s.group_scaling:
        return x, None
    grouped, share = _by_group(x, s), _group_shares(w, s)
    seen = np.where(share > 0, grouped, 0.0)
    square = np.sum(share * seen**2, axis=-1, keepdims=True)
    q = 1 / np.sqrt(square + GROUP_EPSILON)
    return (grouped * q).reshape(x.shape), q


def _through_group_scale(dh, x, w, q, s):
    """dx = dh q - x q^3 mean of the group's (dh x)."""
    if q is None:
        return dh
    dh, x = _by_group(dh, s), _by_group(x, s)
    inner = np.sum(dh * x, axis=-1, keepdims=True)
    dx = dh * q - _group_shares(w, s) * x * q**3 * inner
    return dx.reshape(*dx.shape[:-2], -1)


def _power(x, w, state, s):
    """(h, q, psi, square that normalizes, new state) of a training step.

    psi = E[h^2] over what is seen; it normalizes while t <= warmup, later
    phi as it was. While t < warmup, phi <- phi (t - 1) / t + psi / t; then
    always phi <- a phi + (1 - a) psi.
    """
    h, q = _group_scaled(x, w, s)
    psi, total = second_moment(h, w)
    step = int(state["step"]) + 1
    phi = state["moving_second_moment"]
    square = psi if step <= s.warmup_steps else phi
    if step < s.warmup_steps:
        phi = moving_average(phi, psi, total, (step - 1) / step)
    phi = moving_average(phi, psi, total, s.alpha_forward)
    new = {"moving_second_moment": phi, "step": np.array(step)}
    return h, q, psi, square, (new if np.sum(total) else state)


def power_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma h / sqrt(square + eps) + beta; inference: square = phi."""
    s = _power_settings(config)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("PowerNormalization", config, shape, state)
    if training:
        h, _, _, square, new = _power(x, w, state, s)
    else:
        h, _ = _group_scaled(x, w, s)
        square, new = state["moving_second_moment"], state
    z = h / np.sqrt(square + s.epsilon)
    return from_npc(affine(z, weights, s), s.axis, shape), new


def power_gradient(inputs, config, weights, state, upstream, mask=None):
    """([dx], {weight: gradient, product: new value}).

    Approximate: g = dy gamma; g2 = g - (1 - b) nu z; dh = g2 / sqrt(psi +
    eps), psi the batch's always; nu <- nu + mean over all positions, masked
    ones too, of g2 z. Exact: the derivative.
    """
    s = _power_settings(config)
    x, w, shape = prepare(inputs, s.axis, mask)
    x = np.where(np.isfinite(x), x, 0.0)
    state = start("PowerNormalization", config, shape, state)
    h, q, psi, square, _ = _power(x, w, state, s)
    z = h / np.sqrt(square + s.epsilon)
    g, gradients = through_affine(to_npc(upstream, s.axis), z, weights, s)
    if s.backward == "approximate":
        nu = np.asarray(weights.get(MEAN_PRODUCT, np.zeros(x.shape[-1])))
        g = g - (1 - s.alpha_backward) * nu * z
        dh = g / np.sqrt(psi + s.epsilon)
        gradients[MEAN_PRODUCT] = nu + np.mean(g * z, axis=(0, 1))
    else:
        rate = 1 / np.sqrt(square + s.epsilon)
        dh = g * rate
        if int(state["step"]) + 1 <= s.warmup_steps:
            inner = np.sum(g * h, axis=(0, 1))
            dh = dh - shares(w) * h * rate**3 * inner
    dx = _through_group_scale(dh, x, w, q, s)
    return [from_npc(dx, s.axis, shape)], gradients


# Moving average batch normalization (combinations.md 3.6) ---------------------


def _mabn_settings(config):
    return settings(
        config,
        buffer_size=16,
        axis=-1,
        momentum=0.98,
        warmup_steps=100,
        renorm_start=1000,
        renorm_clip=5.0,
        epsilon=1e-5,
        center=True,
        scale=True,
    )


def _averaged(buffer, own, step, total, s):
    """The ring buffer with `own` at t mod m, and its mean once t > m and
    t >= warmup, else `own`."""
    new = np.array(buffer, dtype="float64")
    slot = step % s.buffer_size
    new[slot] = np.where(total > 0, own, new[slot])
    full = step > s.buffer_size and step >= s.warmup_steps
    return new, (np.mean(new, axis=0) if full else own)


def _mabn(x, w, state, s):
    """(variance that normalizes, r, total weight, new state).

    r = sqrt(var + eps) / sqrt(moving before + eps), 1 for t <=
    max(renorm_start, warmup), then between 1 / clip and clip.
    """
    own, total = second_moment(x, w)
    step = int(state["step"]) + 1
    buffer, variance = _averaged(state["second_moments"], own, step, total, s)
    moving = state["moving_second_moment"]
    clip = s.renorm_clip if step > max(s.renorm_start, s.warmup_steps) else 1
    r = np.sqrt(variance + s.epsilon) / np.sqrt(moving + s.epsilon)
    new = {
        "moving_second_moment": moving_average(
            moving, variance, total, s.momentum
        ),
        "second_moments": buffer,
        "step": np.array(step),
    }
    new = new if np.sum(total) else state
    return variance, np.clip(r, 1 / clip, clip), total, new


def moving_average_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma r x / sqrt(var + eps) + beta, nothing subtracted; inference:
    y = gamma x / sqrt(moving + eps) + beta."""
    s = _mabn_settings(config)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("MovingAverageBatchNormalization", config, shape, state)
    variance, r, new = state["moving_second_moment"], 1.0, state
    if training:
        variance, r, _, new = _mabn(x, w, state, s)
    z = x / np.sqrt(variance + s.epsilon)
    return from_npc(affine(r * z, weights, s), s.axis, shape), new


def moving_average_gradient(
    inputs, config, weights, state, upstream, mask=None
):
    """([dx], {weight: gradient, products: new buffer}).

    g = dy gamma r; E[g z] goes into its ring buffer, whose mean (by the rule
    of the variance) is p; dx = (g - z p) / sqrt(var + eps).
    """
    s = _mabn_settings(config)
    x, w, shape = prepare(inputs, s.axis, mask)
    x = np.where(w > 0, x, 0.0)
    state = start("MovingAverageBatchNormalization", config, shape, state)
    variance, r, total, _ = _mabn(x, w, state, s)
    root = np.sqrt(variance + s.epsilon)
    z = x / root
    g, gradients = through_affine(to_npc(upstream, s.axis), r * z, weights, s)
    g = g * r
    own = np.sum(g * z, axis=(0, 1)) / np.where(total > 0, total, 1)
    buffer = weights.get(PRODUCTS, np.zeros((s.buffer_size, x.shape[-1])))
    step = int(state["step"]) + 1
    new, product = _averaged(buffer, own, step, total, s)
    gradients[PRODUCTS] = new
    dx = (g - w * z * product) / root
    return [from_npc(dx, s.axis, shape)], gradients
