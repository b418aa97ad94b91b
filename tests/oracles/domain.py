"""Chapter domain: statistics of the domains of a batch (combinations.md 5)."""

from types import SimpleNamespace

import numpy as np

from .batch_gradient import clean
from .common import bessel
from .common import from_npc
from .common import moments
from .common import moving_average
from .common import prepare
from .common import set_labels
from .common import settings
from .common import to_npc
from .entry_sets import MOMENTS
from .entry_sets import area_moments
from .entry_sets import through_area
from .entry_sets import through_standardize
from .mixtures import BATCH
from .mixtures import float64
from .mixtures import softmax
from .shapes import start
from .whitening_areas import domain_weights

SOURCE, TARGET = 0, 1


def halves(samples):
    """The first half is the source, the second the target."""
    return np.repeat([SOURCE, TARGET], samples // 2)


def domain_gates(inputs, samples, domains, absent):
    """Weights (N, D); of calls without a domain that of `absent`."""
    given = len(inputs) > 1 and inputs[1] is not None
    return domain_weights(inputs[1] if given else absent, samples, domains)


def last_or(inference_domain, domains):
    return domains - 1 if inference_domain is None else inference_domain


def domain_moments(x, w, gates):
    """Mean, variance and weight (D, C); a sample counts with its gate."""
    labels, count = set_labels("batch", x.shape)
    of_domains = [
        moments(x, w * gates[:, d, None, None], labels, count)
        for d in range(gates.shape[1])
    ]
    return (np.stack(parts) for parts in zip(*of_domains, strict=True))


def of_samples(gates, rows):
    """Rows (D, C) or (C,) of the domains of each sample: (N, 1, C)."""
    rows = float64(rows)
    if rows.ndim == 1:
        return rows
    return np.sum(gates[:, :, None] * rows, axis=1)[:, None, :]


def domain_affine(z, gates, weights, s):
    """gamma z + beta, with rows of the domains or shared."""
    if s.scale and "gamma" in weights:
        z = z * of_samples(gates, weights["gamma"])
    if s.center and "beta" in weights:
        z = z + of_samples(gates, weights["beta"])
    return z


def moved_state(state, means, variances, seen, momentum):
    """What saw nothing stays as it is."""
    new = dict(state)
    for name, value in zip(MOMENTS, (means, variances), strict=True):
        new[name] = moving_average(state[name], value, seen, momentum)
    return new


def domain_specific_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_d (x - mean_d) / sqrt(var_d + eps) + beta_d (5.3, 5.8).

    With weights of the domains: weighted sums of the means, variances,
    gammas and betas.
    """
    s = settings(
        config,
        num_domains=2,
        shared_affine=False,
        inference_domain=None,
        **BATCH,
    )
    x, w, shape = prepare(inputs[:1], s.axis, mask)
    state = start("DomainSpecificBatchNormalization", config, shape, state)
    absent = last_or(s.inference_domain, s.num_domains)
    gates = domain_gates(inputs, len(x), s.num_domains, absent)
    means, variances = (state[name] for name in MOMENTS)
    new = dict(state)
    if training:
        means, variances, seen = domain_moments(x, w, gates)
        stored = variances
        if s.unbiased_moving_variance:
            stored = variances * bessel(seen)
        new = moved_state(state, means, stored, seen, s.momentum)
    mean, variance = of_samples(gates, means), of_samples(gates, variances)
    z = (x - mean) / np.sqrt(variance + s.epsilon)
    y = domain_affine(z, gates, weights, s)
    return from_npc(y, s.axis, shape), new


def aligned(means, variances, seen, alpha):
    """Moments of source with target and of target with source (5.2).

    mean = alpha mean_own + (1 - alpha) mean_other, var = alpha E_own[(x -
    mean)^2] + (1 - alpha) E_other[(x - mean)^2]; a channel that is in one
    domain only has its own moments.
    """
    mixed = np.zeros((2, 2, means.shape[1]))
    for own, other in ((SOURCE, TARGET), (TARGET, SOURCE)):
        a = np.where(seen[other] > 0, alpha, 1.0)
        mean = a * means[own] + (1 - a) * means[other]
        near = variances[own] + (means[own] - mean) ** 2
        far = variances[other] + (means[other] - mean) ** 2
        mixed[:, own] = mean, a * near + (1 - a) * far
    return mixed


def domain_alignment_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (x - mean) / sqrt(var + eps) by `aligned` moments of two domains."""
    defaults = {**BATCH, "momentum": 0.999, "center": False, "scale": False}
    s = settings(config, inference_domain=TARGET, **defaults)
    x, w, shape = prepare(inputs[:1], s.axis, mask)
    state = start("DomainAlignmentNormalization", config, shape, state)
    absent = halves(len(x)) if training else s.inference_domain
    gates = domain_gates(inputs, len(x), 2, absent)
    means, variances = (state[name] for name in MOMENTS)
    new = dict(state)
    if training:
        *found, seen = domain_moments(x, w, gates)
        alpha = float64(weights.get("alpha", 1.0)).reshape(())
        means, variances = aligned(*found, seen, alpha)
        new = moved_state(state, means, variances, seen, s.momentum)
    mean, variance = of_samples(gates, means), of_samples(gates, variances)
    z = (x - mean) / np.sqrt(variance + s.epsilon)
    return from_npc(domain_affine(z, gates, weights, s), s.axis, shape), new


# Transferable normalization --------------------------------------------------

TRANSFERABLE = {"inference_domain": TARGET, **BATCH}


def transferability(means, variances, present, epsilon):
    """alpha (C,): C p_c / sum(p), p = 1 / (1 + d), d = |mean_s / sqrt(var_s +
    eps) - mean_t / sqrt(var_t + eps)|, 0 where a domain is not present."""
    ratio = means / np.sqrt(variances + epsilon)
    distance = np.where(present, np.abs(ratio[SOURCE] - ratio[TARGET]), 0)
    p = 1 / (1 + distance)
    return len(p) * p / np.sum(p)


def _transferable_forward(inputs, config, weights, state, training, mask):
    s = settings(config, **TRANSFERABLE)
    x, w, shape = prepare(inputs[:1], s.axis, mask)
    x = clean(x, w)
    state = start("TransferableNormalization", config, shape, state)
    absent = halves(len(x)) if training else s.inference_domain
    gates = domain_gates(inputs, len(x), 2, absent)
    means, variances = (state[name] for name in MOMENTS)
    new, present, of_alpha = dict(state), True, variances
    if training:
        means, variances, seen = domain_moments(x, w, gates)
        present = np.all(seen > 0, axis=0)
        of_alpha = variances * bessel(seen)
        stored = of_alpha if s.unbiased_moving_variance else variances
        new = moved_state(state, means, stored, seen, s.momentum)
    alpha = transferability(means, of_alpha, present, s.epsilon)
    mean, variance = of_samples(gates, means), of_samples(gates, variances)
    z = (x - mean) / np.sqrt(variance + s.epsilon)
    return SimpleNamespace(
        s=s,
        x=x,
        w=w,
        shape=shape,
        gates=gates,
        mean=mean,
        variance=variance,
        alpha=alpha,
        z=z,
        new=new,
    )


def transferable_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (gamma (x - mean_d) / sqrt(var_d + eps) + beta) (1 + alpha) (5.5).

    alpha: `transferability` of the channels, in training of the batch with
    variances times m / (m - 1), in inference of the state.
    """
    f = _transferable_forward(inputs, config, weights, state, training, mask)
    y = domain_affine(f.z, f.gates, weights, f.s) * (1 + f.alpha)
    return from_npc(y, f.s.axis, f.shape), f.new


def transferable_gradient(inputs, config, weights, state, upstream, mask=None):
    """([dx, d domain], {weight: gradient}); alpha is a constant.

    Of weights of the domains by central differences.
    """
    f = _transferable_forward(inputs, config, weights, state, True, mask)
    s, gradients = f.s, {}
    dy = to_npc(upstream, s.axis) * (1 + f.alpha)
    if "gamma" in weights:
        gradients["gamma"] = np.sum(dy * f.z, axis=(0, 1))
    if "beta" in weights:
        gradients["beta"] = np.sum(dy, axis=(0, 1))
    dz = dy * float64(weights.get("gamma", 1.0))
    dx, *of_moments = through_standardize(dz, f.x, f.mean, f.variance, s)
    for d in range(2):
        gate = f.gates[:, d, None, None]
        mine = [gradient * gate for gradient in of_moments]
        dx = dx + through_area(f.x, f.w * gate, "batch", *mine)
    found = [from_npc(dx, s.axis, f.shape)]
    if len(inputs) > 1:
        found.append(_of_domain(inputs, config, weights, state, dz, mask))
    return found, gradients


def _of_domain(inputs, config, weights, state, dz, mask, step=1e-6):
    """Gradient of weights of the domains; numbers of domains have none."""
    domain = np.asarray(inputs[1])
    if domain.dtype.kind != "f":
        return None
    found = np.zeros(domain.shape)
    for i in np.ndindex(domain.shape):
        ends = []
        for sign in (1, -1):
            moved = domain.astype("float64")
            moved[i] += sign * step
            f = _transferable_forward(
                [inputs[0], moved], config, weights, state, True, mask
            )
            ends.append(np.sum(dz * f.z))
        found[i] = (ends[0] - ends[1]) / (2 * step)
    return found


# Domain-specific optimized normalization -------------------------------------


def spread_share(share, shape):
    """(D,) or (D, C) as (D, C)."""
    return np.broadcast_to(share.reshape(len(share), -1), shape)


def domain_specific_optimized_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_d (x - mean) / sqrt(var + eps) + beta_d (5.6).

    mean = sum_k softmax(mean_weight_d)_k mean_k, var likewise, k the instance
    and the batch of the domain d; var_instance times m / (m - 1) if unbiased,
    var_batch = E_n[var_instance + (mean_instance - mean_batch)^2] of it.
    With weights of the domains: weighted sums of the shares (after softmax), of
    the batch's moments, of gammas and betas.
    Inputs (N, C): the batch alone, its variance times m / (m - 1).
    """
    s = settings(
        config,
        num_domains=2,
        channelwise=False,
        unbiased=True,
        inference_domain=None,
        **BATCH,
    )
    x, w, shape = prepare(inputs[:1], s.axis, mask)
    state = start("DomainSpecificOptimizedNormalization", config, shape, state)
    domains = s.num_domains
    absent = last_or(s.inference_domain, domains)
    gates = domain_gates(inputs, len(x), domains, absent)
    positions = len(shape) > 2
    own, spread = (a[:, 0] for a in area_moments(x, w, "instance", s.unbiased))
    means, variances = (state[name] for name in MOMENTS)
    new = dict(state)
    if training:
        totals = np.sum(w, axis=1)
        means, variances = np.zeros((2, *means.shape))
        seen = np.sum(gates[:, :, None] * totals[:, None, :], axis=0)
        for d, c in np.ndindex(means.shape):
            if not seen[d, c]:
                continue
            share = gates[:, d] * totals[:, c] / seen[d, c]
            means[d, c] = np.sum(share * own[:, c])
            apart = spread[:, c] + (own[:, c] - means[d, c]) ** 2
            variances[d, c] = np.sum(share * apart)
        if s.unbiased and not positions:
            variances = variances * bessel(seen)
        new = moved_state(state, means, variances, seen, s.momentum)
    mixed = []
    for name, of_instance, rows in (
        ("mean_weight", own, means),
        ("variance_weight", spread, variances),
    ):
        logits = float64(weights.get(name, np.ones((domains, 1 + positions))))
        # (D, K) or (D, K, C): the normalizers last for the softmax.
        shares = softmax(np.moveaxis(logits, 1, -1))
        of_batch = of_samples(gates, rows)
        share = of_samples(gates, spread_share(shares[..., -1], rows.shape))
        total = share * of_batch
        if positions:
            first = spread_share(shares[..., 0], rows.shape)
            total = total + of_samples(gates, first) * of_instance[:, None, :]
        mixed.append(total)
    z = (x - mixed[0]) / np.sqrt(mixed[1] + s.epsilon)
    return from_npc(domain_affine(z, gates, weights, s), s.axis, shape), new


# Covariance normalization ----------------------------------------------------


def leading_eigenvectors(points, explained):
    """Mean, eigenvectors (C, e) and eigenvalues (e,) of the covariance.

    The fewest of the largest that make up `explained` of the sum; at least
    1e-6 each.
    """
    mean = np.mean(points, axis=0)
    apart = points - mean
    values, vectors = np.linalg.eigh(apart.T @ apart / len(points))
    values, vectors = values[::-1], vectors[:, ::-1]
    sums = np.cumsum(values) / np.sum(values)
    count = 1 + np.sum(sums < explained * (1 - 1e-12))
    values = np.maximum(values, 1e-6)
    return mean, vectors[:, :count], values[:count]


def fitted_covariance_normalization(x, z, adapter, explained=0.99):
    """The weights of the layer that stands for z = x @ adapter (5.9)."""
    x, z = (float64(a).reshape(-1, np.shape(a)[-1]) for a in (x, z))
    input_mean, of_input, in_values = leading_eigenvectors(x, explained)
    output_mean, of_output, out_values = leading_eigenvectors(z, explained)
    whitening = of_input / np.sqrt(in_values)
    coloring = (of_output * np.sqrt(out_values)).T
    kernel = np.linalg.pinv(whitening) @ adapter @ np.linalg.pinv(coloring)
    return {
        "whitening": whitening,
        "kernel": kernel,
        "coloring": coloring,
        "input_mean": input_mean,
        "output_mean": output_mean,
    }


def covariance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (x - input_mean) whitening kernel coloring + output_mean (5.9)."""
    axis = config.get("axis", -1)
    x = np.moveaxis(float64(inputs[0]), axis, -1)
    of = {**(state or {}), **weights}
    y = (x - of["input_mean"]) @ of["whitening"] @ of["kernel"]
    y = y @ of["coloring"] + of["output_mean"]
    return np.moveaxis(y, -1, axis), dict(state or {})
