"""Chapter whitening: over groups, over mixtures of areas, over domains."""

import numpy as np

from .common import affine
from .common import bessel
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import settings
from .common import weighted_mean
from .common import weighted_variance
from .mixture import softmax
from .shapes import start
from .whitening import matrix_rule


def mean_and_covariance(points, weights):
    """Of points (M, d) with weights (M,), biased."""
    d = points.shape[1]
    mean = np.array([weighted_mean(points[:, i], weights) for i in range(d)])
    z = points - mean
    covariance = [
        [weighted_mean(z[:, i] * z[:, j], weights) for j in range(d)]
        for i in range(d)
    ]
    return mean, np.array(covariance)


def of_places(w):
    """Weights (N, P) of the places, which all channels share."""
    if w.size and np.any(w != w[..., :1]):
        raise ValueError("A mask must be the same for all channels.")
    return w[..., 0]


def members(channels, size):
    """Consecutive groups of channels; the last may be smaller."""
    return [
        slice(first, min(first + size, channels))
        for first in range(0, channels, size)
    ]


def group_whitening(inputs, config, weights, state, training, mask=None):
    """y = gamma W (x - mean) + beta for each sample (activations.md 25).

    x of a sample is (groups, C / groups * positions); Sigma (groups, groups)
    is over its columns, biased, plus eps I.
    """
    s = settings(
        config,
        groups=32,
        whitening="iterative",
        iterations=5,
        axis=-1,
        epsilon=1e-5,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    w = of_places(w)
    samples, positions, channels = x.shape
    groups = channels if s.groups == -1 else min(s.groups, channels)
    width = channels // groups
    rule = matrix_rule(s.whitening, s.iterations)
    whitened = np.zeros(x.shape)
    for n in range(samples):
        columns = np.zeros((positions * width, groups))
        for a in range(groups):
            columns[:, a] = x[n, :, a * width : (a + 1) * width].ravel()
        mean, sigma = mean_and_covariance(columns, np.repeat(w[n], width))
        sigma = sigma + s.epsilon * np.eye(groups)
        matrix = rule(sigma)
        y = (columns - mean) @ matrix.T
        for a in range(groups):
            whitened[n, :, a * width : (a + 1) * width] = y[:, a].reshape(
                positions, width
            )
    y = affine(whitened, weights, s)
    return from_npc(y, s.axis, shape), {}


def _layer_moments(x, w):
    """Mean and unbiased variance of a whole sample (P, C), weights (P,)."""
    each = np.broadcast_to(w[:, None], x.shape)
    variance = weighted_variance(x, each)
    return weighted_mean(x, each), variance * bessel(np.sum(each))


def switchable_whitening(inputs, config, weights, state, training, mask=None):
    """y = gamma W (x - mean) + beta, W of a mixed Sigma (combinations.md 2.3).

    mean = sum_k softmax(mean_weight)_k mean_k and Sigma = sum_k
    softmax(covariance_weight)_k Sigma_k + eps I, k in `normalizers`; at
    inference the batch's from the state.
    """
    s = settings(
        config,
        normalizers=("batch_whitening", "instance_whitening"),
        group_size=16,
        whitening="iterative",
        iterations=5,
        tie_weights=False,
        axis=-1,
        momentum=0.99,
        epsilon=1e-5,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    w = of_places(w)
    channels = x.shape[-1]
    size = min(s.group_size, channels)
    state = start("SwitchableWhitening", config, shape, state)
    new = {name: value.copy() for name, value in state.items()}
    ones = np.ones(len(s.normalizers))
    of_means = softmax(weights.get("mean_weight", ones))
    of_covariances = of_means
    if not s.tie_weights:
        of_covariances = softmax(weights.get("covariance_weight", ones))
    rule = matrix_rule(s.whitening, s.iterations)

    whitened = np.zeros(x.shape)
    for g, group in enumerate(members(channels, size)):
        d = group.stop - group.start
        batch = None
        if state and training:
            batch = mean_and_covariance(x[..., group].reshape(-1, d), w.ravel())
            for name, index, value in (
                ("moving_mean", group, batch[0]),
                ("moving_covariance", np.s_[g, :d, :d], batch[1]),
            ):
                new[name][index] = moving_average(
                    state[name][index], value, np.sum(w), s.momentum
                )
        elif state:
            batch = (
                state["moving_mean"][group],
                state["moving_covariance"][g, :d, :d],
            )
        for n in range(x.shape[0]):
            own = mean_and_covariance(x[n][:, group], w[n])
            layer_mean, layer_variance = _layer_moments(x[n], w[n])
            mean, sigma = 0.0, s.epsilon * np.eye(d)
            for k, name in enumerate(s.normalizers):
                if name == "layer":
                    part = layer_mean, layer_variance * np.eye(d)
                else:
                    part = batch if name.startswith("batch") else own
                    if not name.endswith("whitening"):
                        part = part[0], part[1] * np.eye(d)
                mean = mean + of_means[k] * part[0]
                sigma = sigma + of_covariances[k] * part[1]
            matrix = rule(sigma)
            whitened[n][:, group] = (x[n][:, group] - mean) @ matrix.T
    y = affine(whitened, weights, s)
    return from_npc(y, s.axis, shape), new


def domain_weights(domain, samples, count):
    """Weights (N, D) of the domains of every sample, adding up to 1."""
    domain = np.asarray(domain)
    if domain.dtype.kind == "f":
        domain = domain.astype("float64").reshape(-1, count)
        domain = domain / np.sum(domain, axis=1, keepdims=True)
        return np.broadcast_to(domain, (samples, count))
    labels = np.broadcast_to(domain.ravel(), (samples,))
    return (labels[:, None] == np.arange(count)).astype("float64")


def domain_whitening(inputs, config, weights, state, training, mask=None):
    """y = L_d^(-1) (x - mean_d) of the domain d (combinations.md 5.4).

    L_d L_d^T = (1 - eps) Sigma_d + eps I, Sigma_d over the samples of d,
    biased. With weights of the domains: the weighted sums of means and of
    matrices; a sample counts in a domain with its weight. State: mean,
    Sigma_d without the shrinkage, and the matrix that belongs to it.
    """
    s = settings(
        config,
        num_domains=2,
        group_size=4,
        whitening="cholesky",
        iterations=5,
        axis=-1,
        momentum=0.9,
        epsilon=1e-3,
        inference_domain=None,
        center=False,
        scale=False,
    )
    x, w, shape = prepare(inputs[:1], s.axis, mask)
    w = of_places(w)
    channels, domains = x.shape[-1], s.num_domains
    last = domains - 1 if s.inference_domain is None else s.inference_domain
    domain = inputs[1] if len(inputs) > 1 else np.array(last)
    gates = domain_weights(domain, x.shape[0], domains)
    size = min(s.group_size, channels)
    state = start("DomainWhitening", config, shape, state)
    new = {name: value.copy() for name, value in state.items()}
    rule = matrix_rule(s.whitening, s.iterations)

    def matrix_of(sigma):
        eye = np.eye(len(sigma))
        return rule((1 - s.epsilon) * sigma + s.epsilon * eye)

    whitened = np.zeros(x.shape)
    for g, group in enumerate(members(channels, size)):
        d = group.stop - group.start
        means, matrices = np.zeros((domains, d)), np.zeros((domains, d, d))
        for k in range(domains):
            block = np.s_[k, g, :d, :d]
            if training:
                share = w * gates[:, k : k + 1]
                means[k], sigma = mean_and_covariance(
                    x[..., group].reshape(-1, d), share.ravel()
                )
                matrices[k] = matrix_of(sigma)
                seen = np.sum(share)
                for name, index, value in (
                    ("moving_mean", np.s_[k, group], means[k]),
                    ("moving_covariance", block, sigma),
                ):
                    new[name][index] = moving_average(
                        state[name][index], value, seen, s.momentum
                    )
                if seen > 0:
                    moved = new["moving_covariance"][block]
                    new["whitening_matrix"][block] = matrix_of(moved)
            else:
                means[k] = state["moving_mean"][k, group]
                matrices[k] = state["whitening_matrix"][block]
        for n in range(x.shape[0]):
            mean = gates[n] @ means
            matrix = np.einsum("k,kij->ij", gates[n], matrices)
            whitened[n][:, group] = (x[n][:, group] - mean) @ matrix.T
    y = affine(whitened, weights, s)
    return from_npc(y, s.axis, shape), new
