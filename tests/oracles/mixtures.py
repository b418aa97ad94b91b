"""Chapter mixture: several normalizers in one (combinations.md 2.2 to 2.10)."""

import numpy as np

from .common import affine
from .common import bessel
from .common import entry_weights
from .common import from_npc
from .common import moments
from .common import moving_average
from .common import prepare
from .common import set_labels
from .common import settings
from .common import to_npc
from .entry_sets import MOMENTS
from .entry_sets import area_moments
from .entry_sets import batch_or_state
from .entry_sets import standardize
from .mixture import switchable_moments
from .shapes import start

AFFINE = {"center": True, "scale": True}
BATCH = {
    "axis": -1,
    "momentum": 0.9,
    "epsilon": 1e-5,
    "unbiased_moving_variance": False,
    **AFFINE,
}
GAMMA_BETA = ("gamma", "beta")
THREE = ("instance", "layer", "batch")


def float64(values):
    return np.asarray(values, dtype="float64")


# Sparse switchable normalization ---------------------------------------------


def sparsemax(z):
    """max(z - tau, 0), tau such that it adds up to 1.

    tau = (sum of the k largest - 1) / k with the largest k for which
    1 + k z_(k) > sum of the k largest.
    """
    largest = np.sort(z)[::-1]
    sums = np.cumsum(largest)
    counts = np.arange(1, len(z) + 1)
    k = np.max(counts[1 + counts * largest > sums])
    return np.maximum(z - (sums[k - 1] - 1) / k, 0)


def sparsestmax(logits, radius=0.0):
    """Of one row: sparsemax, pushed away from uniform to at least `radius`.

    u: uniform on the support of p. Where |p - u| < radius, p goes to
    u + radius (p - u) / |p - u|; if that leaves the simplex, once more from
    there, with the radius in the smaller face. p = u stays.
    """
    z, radius = float64(logits), float(radius)
    before = None
    for _ in range(len(z)):
        p = sparsemax(z)
        support = p > 0
        u = support / np.sum(support)
        if before is not None:
            radius = np.sqrt(max(radius**2 - np.sum((u - before) ** 2), 0))
        distance = np.linalg.norm(p - u)
        if np.sum(support) == 1 or distance >= radius or distance < 1e-12:
            return p
        pushed = np.where(support, u + radius * (p - u) / distance, 0)
        if np.all(pushed >= 0):
            return pushed
        z, before = pushed, u
    return p


def _sparse_shares(logits, chosen, radius):
    """What mixes, and what is chosen for good if this is a training step.

    Once a single normalizer is left, it stays; before, `chosen` is 0.
    """
    if np.any(chosen > 0):
        return chosen, chosen
    share = sparsestmax(logits, radius)
    decided = np.sum(share > 0) == 1
    return share, (share > 0).astype("float64") if decided else chosen


def sparse_switchable_normalization(
    inputs, config, weights, state, training, mask=None
):
    """Switchable normalization with sparsestmax for softmax (2.2)."""
    s = settings(
        config,
        normalizers=THREE,
        axis=-1,
        momentum=0.997,
        epsilon=1e-5,
        unbiased=True,
        **AFFINE,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("SparseSwitchableNormalization", config, shape, state)
    normalizers = list(s.normalizers)
    if len(shape) == 2 and "instance" in normalizers:
        normalizers.remove("instance")
    each, batch = switchable_moments(x, w, len(shape) > 2, s.unbiased)
    new = dict(state)
    if "batch" in normalizers and training:
        *values, total = batch
        for name, value in zip(MOMENTS, values, strict=True):
            new[name] = moving_average(state[name], value, total, s.momentum)
    elif "batch" in normalizers:
        compact = (x.shape[0], x.shape[-1])
        each["batch"] = [np.broadcast_to(state[k], compact) for k in MOMENTS]
    ones = np.ones(len(normalizers))
    mixed = []
    for i, which in enumerate(("mean", "variance")):
        share, chosen = _sparse_shares(
            weights.get(f"{which}_weight", ones),
            state[f"{which}_chosen"],
            state["radius"],
        )
        if training and np.sum(w) > 0:
            new[f"{which}_chosen"] = chosen
        parts = [share[k] * each[name][i] for k, name in enumerate(normalizers)]
        mixed.append(sum(parts)[:, None, :])
    y = affine(standardize(x, *mixed, s), weights, s)
    return from_npc(y, s.axis, shape), new


# Exemplar normalization ------------------------------------------------------


def squeezed(values, kernel):
    """(N, C) -> (N, F): a kernel (C, F), or (C / F, F) with a group for each
    feature, which sees C / F consecutive channels."""
    width, features = kernel.shape
    if width == values.shape[1]:
        return values @ kernel
    columns = [
        values[:, f * width : (f + 1) * width] @ kernel[:, f]
        for f in range(features)
    ]
    return np.stack(columns, axis=1)


def cosine(a, b):
    """a.b / (|a| |b|), each length sqrt(sum of squares + 1e-8)."""
    lengths = np.sqrt(np.sum(a**2) + 1e-8) * np.sqrt(np.sum(b**2) + 1e-8)
    return np.sum(a * b) / lengths


def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return (1 + np.tanh(z / 2)) / 2


def softmax(logits):
    """exp(z) / sum exp(z) over the last axis."""
    e = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def exemplar_shares(means, variances, pooled, weights, s):
    """lambda (N, K) from the moments (K, N, C) and the pooled input (2.4).

    z_k = relu(squeeze((pooled - mean_k) / sqrt(var_k + eps))); the cosines of
    all pairs, a dense layer with tanh, a dense layer, softmax.
    """
    count, samples = means.shape[:2]
    kernel = float64(weights["squeeze_kernel"])
    z = [
        np.maximum(squeezed(standardize(pooled, m, v, s), kernel), 0)
        for m, v in zip(means, variances, strict=True)
    ]
    pairs = np.zeros((samples, count * count))
    for n in range(samples):
        for i in range(count):
            for j in range(count):
                pairs[n, i * count + j] = cosine(z[i][n], z[j][n])
    hidden = pairs @ float64(weights["hidden_kernel"])
    hidden = np.tanh(hidden + float64(weights["hidden_bias"]))
    logits = hidden @ float64(weights["gate_kernel"])
    return softmax(logits + float64(weights["gate_bias"]))


def exemplar_normalization(inputs, config, weights, state, training, mask=None):
    """y = sum_k lambda_nk (gamma_k (x - mean_k) / sqrt(var_k + eps) + beta_k).

    lambda of every sample: `exemplar_shares`; without weights uniform.
    """
    s = settings(
        config, normalizers=THREE, reduction=32, hidden_units=16, **BATCH
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("ExemplarNormalization", config, shape, state)
    new = dict(state)
    each = []
    for name in s.normalizers:
        if name == "batch":
            mean, variance, new = batch_or_state(x, w, state, training, s)
        else:
            mean, variance = area_moments(x, w, name)
        each.append([np.broadcast_to(a, x.shape) for a in (mean, variance)])
    count = len(each)
    shares = np.full((x.shape[0], count), 1 / count)
    if "squeeze_kernel" in weights:
        # The same at all positions.
        means, variances = (
            np.stack([part[i][:, 0] for part in each]) for i in (0, 1)
        )
        pooled, _ = area_moments(x, w, "instance")
        shares = exemplar_shares(means, variances, pooled[:, 0], weights, s)
    y = np.zeros(x.shape)
    for k, (mean, variance) in enumerate(each):
        own = {key: weights[key][k] for key in GAMMA_BETA if key in weights}
        part = affine(standardize(x, mean, variance, s), own, s)
        y = y + shares[:, k, None, None] * part
    return from_npc(y, s.axis, shape), new


# Gates -----------------------------------------------------------------------


def batch_instance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (rho BN(x) + (1 - rho) IN(x)) + beta, rho = gate (2.6)."""
    s = settings(config, **BATCH)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("BatchInstanceNormalization", config, shape, state)
    mean, variance, new = batch_or_state(x, w, state, training, s)
    rho = float64(weights.get("gate", np.ones(x.shape[-1])))
    of_batch = standardize(x, mean, variance, s)
    of_instance = standardize(x, *area_moments(x, w, "instance"), s)
    y = affine(rho * of_batch + (1 - rho) * of_instance, weights, s)
    return from_npc(y, s.axis, shape), new


def _layer_instance(x, w, rho, s):
    """rho IN(x) + (1 - rho) LN(x) (2.7)."""
    instance = area_moments(x, w, "instance", s.unbiased)
    layer = area_moments(x, w, "layer", s.unbiased)
    own = standardize(x, *instance, s)
    return rho * own + (1 - rho) * standardize(x, *layer, s)


def adaptive_layer_instance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_n (rho IN(x) + (1 - rho) LN(x)) + beta_n, both inputs."""
    s = settings(config, axis=-1, epsilon=1e-5, unbiased=False)
    x, w, shape = prepare(inputs, s.axis, mask)
    rho = float64(weights.get("gate", np.full(x.shape[-1], 0.9)))
    gamma, beta = (float64(a)[:, None, :] for a in inputs[1:])
    y = gamma * _layer_instance(x, w, rho, s) + beta
    return from_npc(y, s.axis, shape), {}


def layer_instance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (rho IN(x) + (1 - rho) LN(x)) + beta."""
    s = settings(config, axis=-1, epsilon=1e-5, unbiased=False, **AFFINE)
    x, w, shape = prepare(inputs, s.axis, mask)
    rho = float64(weights.get("gate", np.zeros(x.shape[-1])))
    y = affine(_layer_instance(x, w, rho, s), weights, s)
    return from_npc(y, s.axis, shape), {}


# Task normalization ----------------------------------------------------------


def _context(context, w, s):
    """Mean, variance and number of samples of a context set, and what of it
    is there, by channel."""
    mean, variance, total = moments(
        context, w, *set_labels("batch", context.shape)
    )
    if s.unbiased:
        variance = variance * bessel(total)
    size = np.sum(np.any(w > 0, axis=(1, 2)))
    return mean, variance, float(size), total


def task_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (2.8).

    alpha = sigmoid(slope m + offset) with m samples of context; mean = alpha
    mean_c + (1 - alpha) mean_+, var = alpha (var_c + (mean_c - mean)^2) +
    (1 - alpha) (var_+ + (mean_+ - mean)^2), + the instance or the layer.
    Context: the second input; else in training the batch, in inference the
    state. `mask` may be a list: of x and of the context.
    """
    s = settings(
        config,
        augment="instance",
        axis=-1,
        epsilon=1e-5,
        unbiased=True,
        **AFFINE,
    )
    context_mask = mask
    if isinstance(mask, list | tuple):
        mask, context_mask = mask
    elif len(inputs) > 1:
        context_mask = None
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("TaskNormalization", config, shape, state)
    new = dict(state)
    names = ("context_mean", "context_variance", "context_size")
    if training or len(inputs) > 1:
        context = inputs[-1]
        of_entries = entry_weights(np.shape(context), context_mask)
        *found, total = _context(
            to_npc(context, s.axis), to_npc(of_entries, s.axis), s
        )
        if training and np.sum(total) > 0:
            mean, variance, size = found
            new["context_mean"] = np.where(total > 0, mean, state[names[0]])
            new["context_variance"] = np.where(
                total > 0, variance, state[names[1]]
            )
            new["context_size"] = np.array(size)
    else:
        found = [state[name] for name in names]
    of_context, variance_of_context, size = found
    own, variance_of_own = area_moments(x, w, s.augment, s.unbiased)
    slope = float64(weights.get("slope", 0.0)).reshape(())
    offset = float64(weights.get("offset", 0.0)).reshape(())
    alpha = sigmoid(slope * size + offset)
    mean = alpha * of_context + (1 - alpha) * own
    variance = alpha * (variance_of_context + (of_context - mean) ** 2)
    variance = variance + (1 - alpha) * (variance_of_own + (own - mean) ** 2)
    y = affine(standardize(x, mean, variance, s), weights, s)
    return from_npc(y, s.axis, shape), new


# Some channels of each -------------------------------------------------------


def instance_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """a: IN of the first int(C ratio) channels, BN of the others; b: IN of
    the sum of the inputs (2.9)."""
    s = settings(config, ratio=0.5, variant="a", **BATCH)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("InstanceBatchNormalization", config, shape, state)
    new = dict(state)
    if s.variant == "b":
        if len(inputs) > 1:
            x = x + to_npc(inputs[1], s.axis)
        z = standardize(x, *area_moments(x, w, "instance"), s)
        return from_npc(affine(z, weights, s), s.axis, shape), new
    half = int(x.shape[-1] * s.ratio)
    first, of_first = x[..., :half], w[..., :half]
    rest, of_rest = x[..., half:], w[..., half:]
    parts = []
    if half:
        own = area_moments(first, of_first, "instance")
        parts.append(standardize(first, *own, s))
    if half < x.shape[-1]:
        mean, variance, new = batch_or_state(rest, of_rest, state, training, s)
        parts.append(standardize(rest, mean, variance, s))
    y = affine(np.concatenate(parts, axis=-1), weights, s)
    return from_npc(y, s.axis, shape), new
