"""Chapter mixture: modes of the data (combinations.md 1.1 and 1.2)."""

from types import SimpleNamespace

import numpy as np

from .batch_gradient import clean
from .batch_gradient import through_affine
from .common import affine
from .common import from_npc
from .common import moments
from .common import moving_average
from .common import prepare
from .common import set_labels
from .common import settings
from .common import to_npc
from .entry_sets import MOMENTS
from .entry_sets import area_moments
from .entry_sets import standardize
from .entry_sets import through_area
from .entry_sets import through_standardize
from .mixtures import AFFINE
from .mixtures import float64
from .mixtures import softmax
from .shapes import start

# Mode normalization ----------------------------------------------------------


def mode_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma sum_k g_nk (x - mean_k) / sqrt(var_k + eps) + beta (1.2).

    g_n = softmax(mean of the sample @ gate_kernel + gate_bias); an entry
    counts with g_nk in the moments of the mode k. State: E[x] and the
    variance of each mode by averages of E[x] and E[x^2].
    """
    s = settings(
        config,
        num_modes=2,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        seed=None,
        **AFFINE,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("ModeNormalization", config, shape, state)
    new = {name: value.copy() for name, value in state.items()}
    pooled, _ = area_moments(x, w, "instance")
    channels, modes = x.shape[-1], s.num_modes
    kernel = float64(weights.get("gate_kernel", np.zeros((channels, modes))))
    gates = softmax(
        np.sum(pooled[:, 0, :, None] * kernel, axis=1)
        + float64(weights.get("gate_bias", np.zeros(modes)))
    )
    y = np.zeros(x.shape)
    for k in range(modes):
        gate = gates[:, k, None, None]
        mean, variance = (state[name][k] for name in MOMENTS)
        if training:
            old, spread = mean, variance
            mean, variance, total = moments(
                x, w * gate, *set_labels("batch", x.shape)
            )
            first = moving_average(old, mean, total, s.momentum)
            second = moving_average(
                spread + old**2, variance + mean**2, total, s.momentum
            )
            new["moving_mean"][k] = first
            # E[x^2] - E[x]^2 of a channel that was seen.
            new["moving_variance"][k] = np.where(
                total > 0, np.maximum(second - first**2, 0), spread
            )
        y = y + gate * standardize(x, mean, variance, s)
    return from_npc(affine(y, weights, s), s.axis, shape), new


# Mixture normalization -------------------------------------------------------

MIXTURE = {
    "num_components": 3,
    "em_steps": 2,
    "max_fit_samples": 4096,
    "axis": -1,
    "momentum": 0.99,
    "epsilon": 1e-3,
    "seed": None,
    # Of the reference alone: (K, C), where the first mixture starts.
    "centres": None,
    **AFFINE,
}
LEAST_SHARE, LEAST_TOTAL = 1e-3, 1e-6


def responsibilities(points, seen, shares, means, variances):
    """tau (M, K), proportional to share_k N(x; mean_k, diag(variance_k)).

    Points (M, C); of a point that is partly masked the density of the rest.
    """
    logits = np.zeros((len(points), len(shares)))
    for k in range(len(shares)):
        distance = (points - means[k]) ** 2 / variances[k]
        logs = -0.5 * (distance + np.log(2 * np.pi * variances[k]))
        logits[:, k] = np.log(shares[k]) + np.sum(logs * seen, axis=1)
    return softmax(logits)


def fitted_mixture(points, w, first, steps):
    """A few steps of expectation and maximization from the mixture `first`.

    Shares at least 1e-3, then divided by their sum; variances at least 1e-6 +
    1e-2 of the batch's; totals at least 1e-6.
    """
    shares, means, variances = first
    of_points = np.mean(w, axis=1)
    total = np.maximum(np.sum(w, axis=0), LEAST_TOTAL)
    centre = np.sum(w * points, axis=0) / total
    batch = np.sum(w * (points - centre) ** 2, axis=0) / total
    least = 1e-6 + 1e-2 * batch
    for _ in range(steps):
        tau = responsibilities(points, w > 0, shares, means, variances)
        shares = np.sum(of_points[:, None] * tau, axis=0)
        shares = shares / max(np.sum(of_points), LEAST_TOTAL)
        shares = np.maximum(shares, LEAST_SHARE)
        shares = shares / np.sum(shares)
        means, variances = np.zeros_like(means), np.zeros_like(variances)
        for k in range(len(shares)):
            count = w * tau[:, k : k + 1]
            total = np.maximum(np.sum(count, axis=0), LEAST_TOTAL)
            means[k] = np.sum(count * points, axis=0) / total
            apart = (points - means[k]) ** 2
            variances[k] = np.sum(count * apart, axis=0) / total
        variances = np.maximum(variances, least)
    return shares, means, variances


NAMES = ("mixture_weight", "mixture_mean", "mixture_variance")


def first_mixture(x, w, state, s):
    """The stored mixture, or where the first one starts."""
    if np.reshape(state["initialized"], ()) > 0:
        return [state[name] for name in NAMES]
    if s.centres is None:
        raise ValueError("The first mixture needs its centres.")
    _, variance, _ = moments(x, w, *set_labels("batch", x.shape))
    count = s.num_components
    variance = np.maximum(variance, 1e-6 + 1e-2 * variance)
    return [
        np.full(count, 1 / count),
        float64(s.centres),
        np.stack([variance] * count),
    ]


def _mixture_forward(inputs, config, state, training, mask):
    s = settings(config, **MIXTURE)
    x, w, shape = prepare(inputs, s.axis, mask)
    x = clean(x, w)
    state = start("MixtureNormalization", config, shape, state)
    new = dict(state)
    points, of_points = (a.reshape(-1, x.shape[-1]) for a in (x, w))
    fitted = [state[name] for name in NAMES]
    if training and np.sum(w) > 0:
        first = first_mixture(x, w, state, s)
        fitted = fitted_mixture(points, of_points, first, s.em_steps)
        keep = s.momentum if np.reshape(state["initialized"], ()) > 0 else 0.0
        for name, value in zip(NAMES, fitted, strict=True):
            new[name] = moving_average(state[name], value, 1.0, keep)
        new["initialized"] = np.ones_like(state["initialized"])
    shares, means, variances = fitted
    tau = responsibilities(points, of_points > 0, shares, means, variances)
    parts = []
    for k in range(s.num_components):
        of_part = tau[:, k].reshape(*x.shape[:2], 1)
        mean, variance = means[k], variances[k]
        if training:
            count = w * of_part
            total = np.maximum(np.sum(count, axis=(0, 1)), LEAST_TOTAL)
            mean = np.sum(count * x, axis=(0, 1)) / total
            variance = np.sum(count * (x - mean) ** 2, axis=(0, 1)) / total
        parts.append(
            SimpleNamespace(
                weight=w * of_part,
                share=of_part / np.sqrt(shares[k]),
                mean=mean,
                variance=variance,
                z=standardize(x, mean, variance, s),
            )
        )
    return s, x, w, shape, parts, new


def mixture_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma sum_k tau_k / sqrt(lambda_k) (x - mu_k) / sqrt(var_k + eps)
    + beta (1.1).

    Training: tau of the mixture fitted to this batch from the stored one,
    mu_k and var_k of the batch weighted by tau_k; the stored one follows.
    Inference: all of it from the stored one.
    """
    s, _, _, shape, parts, new = _mixture_forward(
        inputs, config, state, training, mask
    )
    y = sum(part.share * part.z for part in parts)
    return from_npc(affine(y, weights, s), s.axis, shape), new


def mixture_gradient(
    inputs, config, weights, state, upstream, mask=None, training=True
):
    """([dx], {weight: gradient}); tau and lambda are constants."""
    s, x, _, shape, parts, _ = _mixture_forward(
        inputs, config, state, training, mask
    )
    z = sum(part.share * part.z for part in parts)
    dz, gradients = through_affine(to_npc(upstream, s.axis), z, weights, s)
    dx = np.zeros(x.shape)
    for part in parts:
        of_part, *of_moments = through_standardize(
            dz * part.share, x, part.mean, part.variance, s
        )
        dx = dx + of_part
        if training:
            dx = dx + through_area(x, part.weight, "batch", *of_moments)
    return [from_npc(dx, s.axis, shape)], gradients
