"""Chapter whitening: a content whitened, colored by a style."""

import numpy as np

from .common import from_npc
from .common import prepare
from .common import settings
from .common import to_npc
from .common import weighted_mean

# What float32 cannot tell from 0, as a fraction of the trace.
NOISE = 4.8e-7


def unbiased_moments(points, weights):
    """Mean and covariance / (m - 1) of (P, C) points with weights (P,)."""
    channels = range(points.shape[1])
    mean = np.array([weighted_mean(points[:, i], weights) for i in channels])
    centred = np.where(weights[:, None] > 0, points - mean, 0.0)
    total = np.einsum("p,pi,pj->ij", weights, centred, centred)
    return mean, total / max(np.sum(weights) - 1, 1)


def roots(covariance, s):
    """(S^(1/2), S^(-1/2)) as the method `s.whitening` has them."""
    d = len(covariance)
    least = max(s.threshold, NOISE * np.trace(covariance))
    if s.whitening == "eigh":
        values, vectors = np.linalg.eigh(covariance)
        kept = values >= least
        values, vectors = values[kept], vectors[:, kept]
        root = (vectors * np.sqrt(values)) @ vectors.T
        return root, (vectors / np.sqrt(values)) @ vectors.T
    covariance = covariance + least * np.eye(d)
    if s.whitening == "cholesky":
        root = np.linalg.cholesky(covariance)
        return root, np.linalg.inv(root)
    trace = np.trace(covariance)
    values, vectors = np.linalg.eigh(covariance)
    p = np.ones(d)
    for _ in range(s.iterations):
        p = 1.5 * p - 0.5 * p**3 * values / trace
    root = (vectors * (p * values)) @ vectors.T / np.sqrt(trace)
    return root, (vectors * p) @ vectors.T / np.sqrt(trace)


def whitening_coloring_transform(
    inputs, config, weights, state, training, mask=None
):
    """y = S_s^(1/2) S_x^(-1/2) (x - mean) + mean_s (combinations.md 4.13).

    Per sample, covariances / (m - 1), S_x + content_shift I;
    alpha y + (1 - alpha) x. `mask` may be a list: one for x, one for the style.
    """
    s = settings(
        config,
        alpha=1.0,
        content_shift=0.0,
        threshold=1e-5,
        whitening="eigh",
        iterations=20,
        axis=-1,
    )
    style_mask = None
    if isinstance(mask, list | tuple):
        mask, style_mask = mask
    x, w, shape = prepare(inputs, s.axis, mask)
    style, v, _ = prepare(inputs[1:], s.axis, style_mask)
    channels = x.shape[-1]
    y = np.zeros(x.shape)
    for n in range(len(x)):
        mean, covariance = unbiased_moments(x[n], w[n, :, 0])
        covariance = covariance + s.content_shift * np.eye(channels)
        _, white = roots(covariance, s)
        style_mean, style_covariance = unbiased_moments(style[n], v[n, :, 0])
        color, _ = roots(style_covariance, s)
        y[n] = (x[n] - mean) @ white.T @ color.T + style_mean
    y = s.alpha * y + (1 - s.alpha) * x if s.alpha != 1 else y
    return from_npc(y, s.axis, shape), {}


def network(features, weights, name, layers, slope):
    """Dense layers with a leaky ReLU between each two."""
    h = features
    for i in range(layers):
        h = np.where(h > 0, h, slope * h) if i else h
        h = h @ weights[f"{name}_{i}_kernel"] + weights[f"{name}_{i}_bias"]
    return h


def groupwise_whitening_coloring(
    inputs, config, weights, state, training, mask=None
):
    """y = alpha (X (x - mean) + mu) + (1 - alpha) x (combinations.md 4.14).

    X = M D^(-1) M^T per group, D the column norms of M; M and mu from the
    style by networks, or given: inputs are x, M, mu then.
    """
    s = settings(
        config,
        groups=8,
        units=256,
        coloring_layers=5,
        mean_layers=3,
        negative_slope=0.01,
        alpha_initializer=0.6,
        area="instance",
        whitening_weight=1e-3,
        coloring_weight=10.0,
        axis=-1,
        epsilon=1e-5,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    samples, _, channels = x.shape
    groups = channels if s.groups == -1 else s.groups
    d = channels // groups
    style = np.asarray(inputs[1], dtype="float64")
    if len(inputs) == 3:
        matrices, mu = style, np.asarray(inputs[2], dtype="float64")
    else:
        parts = style.reshape(samples * groups, -1)
        slope = s.negative_slope
        matrices = network(
            parts, weights, "coloring", s.coloring_layers, slope
        ).reshape(samples, groups, d, d)
        mu = network(style, weights, "mean", s.mean_layers, slope)
    alpha = np.ravel(weights.get("alpha", 0.6))[0]
    y = np.zeros(x.shape)
    for n in range(samples):
        own = slice(n, n + 1) if s.area == "instance" else slice(None)
        for g in range(groups):
            members = slice(g * d, (g + 1) * d)
            mean = [
                weighted_mean(x[own, :, c], w[own, :, c])
                for c in range(members.start, members.stop)
            ]
            m = matrices[n, g]
            norms = np.sqrt(np.sum(m**2, axis=0))
            color = (m / norms) @ m.T
            y[n, :, members] = (x[n, :, members] - mean) @ color.T
        y[n] += mu[n]
    y = alpha * y + (1 - alpha) * x
    return from_npc(y, s.axis, shape), {}


def groupwise_losses(x, matrices, config):
    """(whitening, coloring) losses without their weights, channels last."""
    groups, d = matrices.shape[1:3]
    points = to_npc(x, -1)
    if config.get("area", "instance") == "batch":
        points = points.reshape(1, -1, points.shape[-1])
    white = []
    for sample in points:
        for g in range(groups):
            members = sample[:, g * d : (g + 1) * d]
            _, covariance = unbiased_moments(members, np.ones(len(members)))
            covariance += config.get("epsilon", 1e-5) * np.eye(d)
            white.append(np.mean(np.abs(covariance - np.eye(d))))
    directions = matrices / np.sqrt(np.sum(matrices**2, axis=-2, keepdims=True))
    off = np.swapaxes(directions, -1, -2) @ directions - np.eye(d)
    return np.mean(white), np.mean(np.abs(off))
