"""Chapter mixture: switchable normalization."""

import numpy as np

from .common import affine
from .common import bessel
from .common import from_npc
from .common import moving_average
from .common import over_sets
from .common import prepare
from .common import set_labels
from .common import settings
from .common import weighted_mean
from .common import weighted_variance
from .shapes import start


def softmax(logits):
    """exp(z) / sum exp(z)."""
    logits = np.asarray(logits, dtype="float64").ravel()
    e = np.exp(logits - np.max(logits))
    return e / np.sum(e)


def switchable_moments(x, w, positions_exist, unbiased):
    """Mean and variance (N, C) of every normalizer, batch weight (C,).

    (combinations.md 2.1) t = var_in + mean_in^2 of each sample and channel;
    mean_ln = E_c[mean_in], var_ln = E_c[t] - mean_ln^2, which is
    E_c[var_in + (mean_in - mean_ln)^2]; mean_bn, var_bn likewise over the
    samples; averages weighted by the number of unmasked entries. (N, C)
    inputs: plain moments over C and over N, each variance unbiased over
    its own axis.
    """
    samples, _, channels = x.shape
    labels, count = set_labels("instance", x.shape)
    mean_in = over_sets(weighted_mean, x, w, labels, count)
    mean_in = mean_in.reshape(samples, channels)
    variance_in = over_sets(weighted_variance, x, w, labels, count)
    variance_in = variance_in.reshape(samples, channels)
    total = np.sum(w, axis=1)
    if unbiased and positions_exist:
        variance_in = variance_in * bessel(total)

    mean_ln, variance_ln = np.zeros(samples), np.zeros(samples)
    for n in range(samples):
        mean_ln[n] = weighted_mean(mean_in[n], total[n])
        spread = variance_in[n] + (mean_in[n] - mean_ln[n]) ** 2
        variance_ln[n] = weighted_mean(spread, total[n])
    mean_bn, variance_bn = np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        mean_bn[c] = weighted_mean(mean_in[:, c], total[:, c])
        spread = variance_in[:, c] + (mean_in[:, c] - mean_bn[c]) ** 2
        variance_bn[c] = weighted_mean(spread, total[:, c])
    if unbiased and not positions_exist:
        variance_ln = variance_ln * bessel(np.sum(total, axis=1))
        variance_bn = variance_bn * bessel(np.sum(total, axis=0))

    shape = (samples, channels)
    each = {
        "instance": (mean_in, variance_in),
        "layer": (
            np.broadcast_to(mean_ln[:, None], shape),
            np.broadcast_to(variance_ln[:, None], shape),
        ),
        "batch": (
            np.broadcast_to(mean_bn, shape),
            np.broadcast_to(variance_bn, shape),
        ),
    }
    return each, (mean_bn, variance_bn, np.sum(total, axis=0))


def switchable_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (combinations.md 2.1).

    mean = sum_k softmax(mean_weight)_k mean_k, var likewise, k in
    `normalizers`; at inference the batch's from the state.
    """
    s = settings(
        config,
        normalizers=("instance", "layer", "batch"),
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased=True,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("SwitchableNormalization", config, shape, state)
    normalizers = list(s.normalizers)
    if len(shape) == 2 and "instance" in normalizers:
        normalizers.remove("instance")
    each, batch = switchable_moments(x, w, len(shape) > 2, s.unbiased)
    new = dict(state)
    if "batch" in normalizers:
        if training:
            mean, variance, total = batch
            new["moving_mean"] = moving_average(
                state["moving_mean"], mean, total, s.momentum
            )
            new["moving_variance"] = moving_average(
                state["moving_variance"], variance, total, s.momentum
            )
        else:
            each["batch"] = tuple(
                np.broadcast_to(state[name], (x.shape[0], x.shape[-1]))
                for name in ("moving_mean", "moving_variance")
            )
    k = len(normalizers)
    mean_share = softmax(weights.get("mean_weight", np.ones(k)))
    variance_share = softmax(weights.get("variance_weight", np.ones(k)))
    mean, variance = 0.0, 0.0
    for i, name in enumerate(normalizers):
        mean = mean + mean_share[i] * each[name][0]
        variance = variance + variance_share[i] * each[name][1]
    normalized = (x - mean[:, None, :]) / np.sqrt(
        variance[:, None, :] + s.epsilon
    )
    y = affine(normalized, weights, s)
    return from_npc(y, s.axis, shape), new
