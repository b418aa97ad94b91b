"""Recoveries and areas that differ from position to position."""

import numpy as np

from .common import from_npc
from .common import prepare
from .common import settings
from .common import to_npc
from .common import weighted_mean
from .common import weighted_variance
from .convolution import convolve
from .convolution import convolve_gradient
from .modulation import array
from .modulation import sigmoid
from .modulation import standardized
from .shapes import start

# Maps of another size --------------------------------------------------------


def nearest(values, places):
    """Index floor(i * in / out) along every axis of positions."""
    for axis, size in enumerate(places, start=1):
        index = np.arange(size) * values.shape[axis] // size
        values = np.take(values, index, axis=axis)
    return values


def linear(values, places):
    """Between the two neighbours of (i + 0.5) in / out - 0.5, by axis."""
    for axis, size in enumerate(places, start=1):
        last = values.shape[axis] - 1
        at = (np.arange(size) + 0.5) * (last + 1) / size - 0.5
        at = np.clip(at, 0, last)
        low = np.floor(at).astype(int)
        share = np.expand_dims(at - low, tuple(range(1, values.ndim - axis)))
        below = np.take(values, low, axis=axis)
        above = np.take(values, np.minimum(low + 1, last), axis=axis)
        values = (1 - share) * below + share * above
    return values


def places_of(shape, axis):
    """The shape (N, *places, C) of an input with its channels last."""
    return np.moveaxis(np.empty(shape), axis, -1).shape


# Spatially adaptive normalization (combinations.md 4.9) ----------------------


def spatially_adaptive_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (1 + gamma(m)) norm(x) + beta(m), a value for every position.

    m: the map of the size of x; gamma, beta: convolutions of
    relu(convolution of m), zeros outside.
    """
    s = settings(
        config,
        area="batch",
        groups=32,
        hidden_filters=128,
        kernel_size=3,
        interpolation="nearest",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased_moving_variance=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("SpatiallyAdaptiveNormalization", config, shape, state)
    y, new = standardized(x, w, state, training, s)
    m = np.moveaxis(np.asarray(inputs[1], dtype="float64"), s.axis, -1)
    resize = {"nearest": nearest, "bilinear": linear}[s.interpolation]
    m = resize(m, places_of(shape, s.axis)[1:-1])
    hidden = convolve(m, array(weights, "hidden_kernel"))
    hidden = hidden + array(weights, "hidden_bias", np.zeros(s.hidden_filters))
    hidden = np.maximum(hidden, 0)
    zero = np.zeros(x.shape[-1])
    if s.scale:
        gamma = convolve(hidden, array(weights, "gamma_kernel"))
        gamma = gamma + array(weights, "gamma_bias", zero)
        y = y * (1 + gamma.reshape(x.shape))
    if s.center:
        beta = convolve(hidden, array(weights, "beta_kernel"))
        beta = beta + array(weights, "beta_bias", zero)
        y = y + beta.reshape(x.shape)
    return from_npc(y, s.axis, shape), new


# Attentive normalization, semantic layout (combinations.md 4.17) -------------


def semantic_layout(x, weights, positions, temperature):
    """l = softmax((clip(alpha) q k[positions] + x E) / temperature).

    x (N, P, C), E the entity_kernel; positions: one of P for every entity, or
    None.
    """
    logits = x @ array(weights, "entity_kernel")
    if positions is not None:
        positions = np.asarray(positions).astype(int).ravel()
        query, key = (
            x @ array(weights, f"{name}_kernel")
            + array(weights, f"{name}_bias", 0.0)
            for name in ("query", "key")
        )
        alpha = array(weights, "alpha", np.full(len(positions), 0.1))
        sampled = np.einsum("npd,nkd->npk", query, key[:, positions])
        logits = logits + np.clip(alpha, 0, 1) * sampled
    logits = logits / temperature
    e = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def semantic_attentive_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = x + gain sum_k l_k (v - mean_k) / (std_k + eps).

    v: a map of the channels; cnt_k = sum l_k + eps, mean_k = sum(l_k v) /
    cnt_k (program: the mean of l_k v, by cnt_k), std_k^2 = sum(l_k v -
    mean_k)^2 / cnt_k. inputs: x, and the positions drawn for the entities,
    which count in training.
    """
    s = settings(
        config,
        num_entities=16,
        temperature=10.0,
        orthogonal_weight=1e-3,
        statistics="paper",
        axis=-1,
        epsilon=1e-7,
        seed=None,
    )
    x, _, shape = prepare(inputs, s.axis, None)
    positions = inputs[1] if len(inputs) > 1 and training else None
    layout = semantic_layout(x, weights, positions, s.temperature)
    v = x @ array(weights, "value_kernel")
    v = v + array(weights, "value_bias", np.zeros(x.shape[-1]))
    total = np.zeros(x.shape)
    for n, k in np.ndindex(len(x), layout.shape[-1]):
        part = layout[n, :, k, None] * v[n]
        count = np.sum(layout[n, :, k]) + s.epsilon
        mean = np.sum(part, axis=0) / count
        if s.statistics == "program":
            mean = mean / len(part)
        std = np.sqrt(np.sum((part - mean) ** 2, axis=0) / count)
        own = (v[n] - mean) / (std + s.epsilon)
        total[n] += layout[n, :, k, None] * own
    y = x + np.ravel(array(weights, "gain", 0.0))[0] * total
    return from_npc(y, s.axis, shape), {}


def orthogonal_loss(entities):
    """||E^T E - I||^2, Frobenius."""
    size = entities.shape[1]
    return np.sum((entities.T @ entities - np.eye(size)) ** 2)


# Regions (combinations.md 4.16) ----------------------------------------------


def region_sets(x, area):
    """The samples and the channel of every set that regions divide."""
    for c in range(x.shape[-1]):
        if area == "batch":
            yield slice(None), c
        else:
            for n in range(len(x)):
                yield slice(n, n + 1), c


def region_moments(x, share, presence):
    """Mean, variance, rescaling of epsilon and size of one region of a set.

    share: 1 inside the region, presence: the weight of an entry. The size
    is S = sum share presence; eps is multiplied by the weight of the whole
    set over S.
    """
    inside = share * presence
    size = np.sum(inside)
    mean = weighted_mean(x, inside)
    variance = weighted_variance(x, inside)
    return mean, variance, np.sum(presence) / (size if size > 0 else 1), size


def regional(x, w, share, s):
    """m (x - mean) / sqrt(var + eps T / S) of one region, 0 elsewhere."""
    result = np.zeros(x.shape)
    for n, c in region_sets(x, s.area):
        m, here = share[n, :], w[n, :, c]
        mean, variance, factor, size = region_moments(x[n, :, c], m, here)
        if size == 0:
            continue
        root = np.sqrt(variance + s.epsilon * factor)
        result[n, :, c] = np.where(m > 0, m * (x[n, :, c] - mean) / root, 0)
    return result


def region_normalization(inputs, config, weights, state, training, mask=None):
    """y = sum over m = region, 1 - region of (1 + gamma_m) xhat_m + beta_m.

    masked_beta: m beta_m. Region (N, *places), or with one channel; of any
    size; what is above 0.5 belongs to it.
    """
    s = settings(config, area="batch", masked_beta=False, axis=-1, epsilon=1e-5)
    x, w, shape = prepare(inputs, s.axis, mask)
    region = np.asarray(inputs[1], dtype="float64")
    if region.ndim == len(shape):
        region = np.squeeze(region, s.axis)
    region = nearest(region[..., None], places_of(shape, s.axis)[1:-1])
    region = (region.reshape(x.shape[:2]) > 0.5).astype("float64")
    zero, y = np.zeros((2, x.shape[-1])), 0.0
    for row, share in enumerate((region, 1 - region)):
        gamma = array(weights, "gamma", zero)[row]
        beta = array(weights, "beta", zero)[row]
        y = y + (1 + gamma) * regional(x, w, share, s)
        y = y + (share[..., None] * beta if s.masked_beta else beta)
    return from_npc(y, s.axis, shape), {}


class _Learnable:
    """All that one step of learnable region normalization computes."""

    def __init__(self, inputs, config, weights, mask):
        s = settings(
            config,
            threshold=0.8,
            kernel_size=7,
            area="batch",
            axis=-1,
            epsilon=1e-5,
        )
        self.s, self.shape = s, np.shape(inputs[0])
        x, w, _ = prepare(inputs, s.axis, mask)
        self.w = w
        self.x = x = np.where(w > 0, x, 0)
        self.maps = (*places_of(self.shape, s.axis)[:-1], 1)
        self.visible = np.max(w, axis=-1) > 0  # (N, P)
        total = np.sum(w, axis=-1, keepdims=True)
        self.shares = w / np.where(total > 0, total, 1)
        largest = np.max(np.where(w > 0, x, -np.inf), axis=-1, keepdims=True)
        self.largest = (w > 0) & (x == largest)
        mean = np.sum(self.shares * x, axis=-1)
        largest = np.where(self.visible, largest[..., 0], 0)
        self.seen = np.stack([mean, largest], axis=-1)
        self.seen = self.seen.reshape(*self.maps[:-1], 2)
        self.kernels = {
            key: array(weights, f"{key}_kernel")
            for key in ("region", "gamma", "beta")
        }
        found = sigmoid(convolve(self.seen, self.kernels["region"]))
        self.visible = self.visible.reshape(self.maps)
        self.map = np.where(self.visible, found, 0)
        hard = (found >= s.threshold).reshape(x.shape[:2])
        self.regions = (hard.astype("float64"), 1.0 - hard)
        self.normalized = sum(regional(x, w, m, s) for m in self.regions)
        self.gamma, self.beta = (
            convolve(self.map, self.kernels[key])
            + np.ravel(array(weights, f"{key}_bias", 0.0))
            for key in ("gamma", "beta")
        )
        self.gamma = self.gamma.reshape(*x.shape[:2], 1)
        self.beta = self.beta.reshape(*x.shape[:2], 1)


def learnable_region_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (1 + gamma(s)) xhat + beta(s), a value for every position.

    s = sigmoid(convolution of [mean, max] over the channels); the regions are
    s >= threshold and the rest, held constant; gamma, beta: convolutions of
    s. Masked positions are 0 for all convolutions.
    """
    f = _Learnable(inputs, config, weights, mask)
    y = f.normalized * (1 + f.gamma) + f.beta
    return from_npc(y, f.s.axis, f.shape), {}


def learnable_region_gradient(
    inputs, config, weights, state, upstream, mask=None
):
    """Of sum(y upstream): ([dx], {weight: gradient}).

    The largest of several equal channels share their gradient.
    """
    f = _Learnable(inputs, config, weights, mask)
    dy = np.where(f.w > 0, to_npc(upstream, f.s.axis), 0)
    of_weights, dmap = {}, 0.0
    for key, d in (("gamma", dy * f.normalized), ("beta", dy)):
        d = np.sum(d, axis=-1).reshape(f.maps)
        back, kernel = convolve_gradient(f.map, f.kernels[key], d)
        of_weights[f"{key}_kernel"] = kernel
        of_weights[f"{key}_bias"] = np.array([np.sum(d)])
        dmap = dmap + back
    dlogits = np.where(f.visible, dmap * f.map * (1 - f.map), 0)
    dseen, kernel = convolve_gradient(f.seen, f.kernels["region"], dlogits)
    of_weights["region_kernel"] = kernel
    dmean, dmax = np.moveaxis(dseen.reshape(*f.x.shape[:2], 2), -1, 0)
    ties = np.maximum(np.sum(f.largest, axis=-1, keepdims=True), 1)
    dx = dmean[..., None] * f.shares + dmax[..., None] * f.largest / ties
    dz = dy * (1 + f.gamma)
    for n, c in region_sets(f.x, f.s.area):
        for m in f.regions:
            dx[n, :, c] += _through_region(
                f.x[n, :, c], m[n], f.w[n, :, c], dz[n, :, c], f.s
            )
    order = ("region_kernel", "gamma_kernel", "gamma_bias", "beta_kernel")
    of_weights = {k: of_weights[k] for k in (*order, "beta_bias")}
    return [from_npc(dx, f.s.axis, f.shape)], of_weights


def _through_region(x, m, w, dz, s):
    """z = m (x - mean) / sqrt(var + eps T / S), m of 0 and 1: dx.

    d mean / dx_i = u_i, d var / dx_i = 2 (x_i - mean) u_i, u = m w / S.
    """
    mean, variance, factor, size = region_moments(x, m, w)
    if size == 0:
        return np.zeros(x.shape)
    rate = 1 / np.sqrt(variance + s.epsilon * factor)
    own = m * w / size
    d = dz * m
    dmean = -np.sum(d) * rate
    dvariance = -0.5 * np.sum(d * (x - mean)) * rate**3
    return d * rate + own * (dmean + 2 * (x - mean) * dvariance)
