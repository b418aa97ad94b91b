"""Chapter recovery: gamma and beta from the input or from another one.

What is common to all positions of a sample; see `spatial` for the rest.
"""

import numpy as np

from .common import bessel
from .common import entry_weights
from .common import from_npc
from .common import moments
from .common import moving_average
from .common import prepare
from .common import set_labels
from .common import settings
from .common import to_npc
from .common import weighted_mean
from .common import weighted_variance
from .recovery import condition_features
from .shapes import start


def array(weights, name, default=None):
    """A weight in float64."""
    value = weights[name] if default is None else weights.get(name, default)
    return np.asarray(value, dtype="float64")


def sigmoid(t):
    """1 / (1 + exp(-t))."""
    # Without overflow.
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(t)))


def standardized(x, w, state, training, s, unbiased=False):
    """(x - mean) / sqrt(var + eps) over the sets of `s.area`, and new state.

    Area "batch": moving averages of what normalizes in training (the
    variance divided by m - 1 if the layer has it so), which normalize in
    inference. A set without weight gives 0.
    """
    if s.area == "batch" and not training:
        root = np.sqrt(state["moving_variance"] + s.epsilon)
        return (x - state["moving_mean"]) / root, state
    groups = getattr(s, "groups", None)
    labels, count = set_labels(s.area, x.shape, groups)
    mean, variance, total = moments(x, w, labels, count)
    if unbiased:
        variance = variance * bessel(total)
    new = dict(state)
    if s.area == "batch":
        stored = variance
        if getattr(s, "unbiased_moving_variance", False):
            stored = variance * bessel(total)
        for name, value in (("mean", mean), ("variance", stored)):
            key = f"moving_{name}"
            new[key] = moving_average(state[key], value, total, s.momentum)
    normalized = (x - mean[labels]) / np.sqrt(variance[labels] + s.epsilon)
    return np.where(total[labels] > 0, normalized, 0), new


def per_channel(values, weights, function):
    """function of the positions, for every sample and channel: (N, C)."""
    result = np.zeros((values.shape[0], values.shape[2]))
    for n, c in np.ndindex(*result.shape):
        result[n, c] = function(values[n, :, c], weights[n, :, c])
    return result


def conditional_instance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_n IN(x) + beta_n (combinations.md 4.2).

    gamma_n = c_n gamma, beta_n = c_n beta: rows of tables (classes, C), c_n
    the one-hot row of a class or the weights of the classes.
    """
    s = settings(
        config,
        num_classes=None,
        axis=-1,
        epsilon=1e-5,
        center=True,
        scale=True,
    )
    s.area = "instance"
    x, w, shape = prepare(inputs, s.axis, mask)
    y, _ = standardized(x, w, {}, training, s)
    c = condition_features(inputs[1], {}, s.num_classes)
    table = (s.num_classes, x.shape[-1])
    if s.scale:
        y = y * (c @ array(weights, "gamma", np.ones(table)))[:, None, :]
    if s.center:
        y = y + (c @ array(weights, "beta", np.zeros(table)))[:, None, :]
    return from_npc(y, s.axis, shape), {}


def summary_of(frames, presence, weights):
    """a = mean over the frames of tanh(h W + b): (N, units)."""
    kernel = array(weights, "summary_kernel")
    bias = array(weights, "summary_bias", np.zeros(kernel.shape[1]))
    result = np.zeros((len(frames), len(bias)))
    for n, (h, p) in enumerate(zip(frames, presence, strict=True)):
        a = np.tanh(h @ kernel + bias)
        for unit in range(len(bias)):
            result[n, unit] = weighted_mean(a[:, unit], p)
    return result


def diversity_loss(summary):
    """Minus the variance over the samples, averaged over the units."""
    ones = np.ones(len(summary))
    return -np.mean([weighted_variance(a, ones) for a in summary.T])


def dynamic_layer_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_n LN(x) + beta_n (combinations.md 4.3).

    LN over the channels of every frame. gamma_n = a_n Wg + bg, beta_n = a_n
    Wb + bb; a_n the summary of the frames of x, or of a second input, by the
    weights of the frames: the mean weight of their features, 0 for absent
    ones. `mask` may be a list: one for x, one for the second input.
    """
    s = settings(
        config,
        summary_units=64,
        diversity_weight=0.0,
        axis=-1,
        epsilon=1e-5,
        center=True,
        scale=True,
    )
    several = isinstance(mask, list | tuple)
    own, other = mask if several else (mask, None)
    x, w, shape = prepare(inputs, s.axis, own)
    samples, positions, channels = x.shape

    each = x.reshape(samples * positions, 1, channels)
    each_w = w.reshape(each.shape)
    labels, count = set_labels("layer", each.shape)
    mean, variance, total = moments(each, each_w, labels, count)
    rate = 1 / np.sqrt(variance + s.epsilon)
    normalized = (each - mean[labels]) * rate[labels]
    normalized = np.where(total[labels] > 0, normalized, 0).reshape(x.shape)

    frames, present = x, w
    if len(inputs) > 1 and inputs[1] is not None:
        frames = to_npc(inputs[1], s.axis if np.ndim(inputs[1]) > 2 else -1)
        present = np.ones(frames.shape)
        if several:
            present = entry_weights(np.shape(inputs[1]), other)
            present = to_npc(present, s.axis)
        elif frames.shape[:2] == x.shape[:2]:
            present = np.mean(w, axis=-1, keepdims=True) * present
    frames = np.where(present > 0, frames, 0)
    a = summary_of(frames, np.mean(present, axis=-1), weights)
    units = a.shape[1]
    y = normalized
    if s.scale:
        gamma = a @ array(weights, "gamma_kernel", np.zeros((units, channels)))
        gamma = gamma + array(weights, "gamma_bias", np.ones(channels))
        y = y * gamma[:, None, :]
    if s.center:
        beta = a @ array(weights, "beta_kernel", np.zeros((units, channels)))
        beta = beta + array(weights, "beta_bias", np.zeros(channels))
        y = y + beta[:, None, :]
    return from_npc(y, s.axis, shape), {}


def self_modulated_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma(z) BN(x) + beta(z) (combinations.md 4.7).

    h = relu(z hidden_kernel + hidden_bias), or z without a hidden layer;
    gamma = h gamma_kernel + gamma_bias, beta likewise.
    """
    s = settings(
        config,
        hidden_units=32,
        axis=-1,
        momentum=0.999,
        epsilon=1e-3,
        center=True,
        scale=True,
    )
    s.area = "batch"
    x, w, shape = prepare(inputs, s.axis, mask)
    name = "SelfModulatedBatchNormalization"
    state = start(name, config, shape, state)
    y, new = standardized(x, w, state, training, s)
    h, channels = np.asarray(inputs[1], dtype="float64"), x.shape[-1]
    if s.hidden_units:
        kernel = array(weights, "hidden_kernel")
        bias = array(weights, "hidden_bias", np.zeros(s.hidden_units))
        h = np.maximum(h @ kernel + bias, 0)
    if s.scale:
        gamma = h @ array(weights, "gamma_kernel")
        gamma = gamma + array(weights, "gamma_bias", np.ones(channels))
        y = y * gamma[:, None, :]
    if s.center:
        beta = h @ array(weights, "beta_kernel")
        beta = beta + array(weights, "beta_bias", np.zeros(channels))
        y = y + beta[:, None, :]
    return from_npc(y, s.axis, shape), new


def instance_level_meta_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_n xhat + beta_n (combinations.md 4.8).

    Key groups: `key_group_size` neighbouring channels of a sample, with
    their mean and variance over channels and positions.
    gamma_n = gamma + sigmoid(relu(variances We) Wg) of the channel's group,
    beta_n = beta + tanh(relu(means We) Wb).
    """
    s = settings(
        config,
        area="group",
        groups=32,
        key_group_size=16,
        reduction=16,
        unbiased=True,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    name = "InstanceLevelMetaNormalization"
    state = start(name, config, shape, state)
    y, new = standardized(x, w, state, training, s, s.unbiased)
    samples, _, channels = x.shape
    keys = channels // s.key_group_size
    labels, count = set_labels("group", x.shape, keys)
    mean, variance, total = moments(x, w, labels, count)
    if s.unbiased:
        variance = variance * bessel(total)
    mean, variance = mean.reshape(samples, keys), variance.reshape(-1, keys)

    embedding = array(weights, "embedding_kernel")
    of_variance = np.maximum(variance @ embedding, 0)
    of_mean = np.maximum(mean @ embedding, 0)
    group = np.arange(channels) // s.key_group_size
    if s.scale:
        change = sigmoid(of_variance @ array(weights, "gamma_kernel"))
        gamma = array(weights, "gamma", np.ones(channels)) + change[:, group]
        y = y * gamma[:, None, :]
    if s.center:
        change = np.tanh(of_mean @ array(weights, "beta_kernel"))
        beta = array(weights, "beta", np.zeros(channels)) + change[:, group]
        y = y + beta[:, None, :]
    return from_npc(y, s.axis, shape), new


def instance_enhancement_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma sigmoid(v m_n + b) BN(x) + beta (combinations.md 4.10).

    m_n: the mean over the positions of a sample and channel; v:
    enhancement_weight, b: enhancement_bias.
    """
    s = settings(
        config,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased_moving_variance=False,
        center=True,
        scale=True,
    )
    s.area = "batch"
    x, w, shape = prepare(inputs, s.axis, mask)
    name = "InstanceEnhancementBatchNormalization"
    state = start(name, config, shape, state)
    y, new = standardized(x, w, state, training, s)
    channels = x.shape[-1]
    mean = per_channel(x, w, weighted_mean)
    gate = mean * array(weights, "enhancement_weight", np.zeros(channels))
    gate = gate + array(weights, "enhancement_bias", -np.ones(channels))
    y = y * sigmoid(gate)[:, None, :]
    if s.scale:
        y = y * array(weights, "gamma", np.ones(channels))
    if s.center:
        y = y + array(weights, "beta", np.zeros(channels))
    return from_npc(y, s.axis, shape), new


ATTENTION_EPSILON = 1e-3


def activated(logits, activation):
    """(N, K) logits of the mixtures as their shares."""
    if activation == "hard_sigmoid":
        return np.clip((logits + 3) / 6, 0, 1)
    if activation == "sigmoid":
        return sigmoid(logits)
    e = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def attention(x, w, weights, state, training, s):
    """Shares (N, K) of the mixtures, and what is new in the state."""

    def relative_mean(values, presence):
        variance = weighted_variance(values, presence)
        variance = variance * bessel(np.sum(presence))
        mean = weighted_mean(values, presence)
        return mean / np.sqrt(variance + ATTENTION_EPSILON)

    logits = per_channel(x, w, relative_mean)
    logits = logits @ array(weights, "attention_kernel")
    count = logits.shape[1]
    if s.attention_normalization is None:
        logits = logits + array(weights, "attention_bias", np.zeros(count))
        return activated(logits, s.attention_activation), {}
    moved = {}
    if s.attention_normalization == "layer":
        ones = np.ones(count)
        mean = np.array([[weighted_mean(row, ones)] for row in logits])
        variance = np.array([[weighted_variance(row, ones)] for row in logits])
    elif training:
        # A sample counts once where it has any entry.
        presence = np.array([np.max(v, initial=0.0) for v in w])
        mean = np.array([weighted_mean(t, presence) for t in logits.T])
        variance = np.array([weighted_variance(t, presence) for t in logits.T])
        stored = variance
        if s.unbiased_moving_variance:
            stored = variance * bessel(np.sum(presence))
        for name, value in (("mean", mean), ("variance", stored)):
            key = f"attention_moving_{name}"
            moved[key] = moving_average(
                state[key], value, np.sum(presence), s.momentum
            )
    else:
        mean = state["attention_moving_mean"]
        variance = state["attention_moving_variance"]
    logits = (logits - mean) / np.sqrt(variance + s.epsilon)
    logits = logits * array(weights, "attention_gamma", np.ones(count))
    logits = logits + array(weights, "attention_beta", np.zeros(count))
    return activated(logits, s.attention_activation), moved


def attentive_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = (a_n gamma) xhat + a_n beta, gamma, beta (K, C) (4.11).

    a_n = activation(norm(r_n attention_kernel)), r = mean / sqrt(var + 1e-3)
    over the positions, var divided by m - 1.
    """
    s = settings(
        config,
        num_mixtures=5,
        area="batch",
        groups=32,
        attention_activation="hard_sigmoid",
        attention_normalization="batch",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased_moving_variance=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("AttentiveNormalization", config, shape, state)
    y, new = standardized(x, w, state, training, s)
    a, moved = attention(x, w, weights, state, training, s)
    if s.scale:
        y = y * (a @ array(weights, "gamma"))[:, None, :]
    if s.center:
        y = y + (a @ array(weights, "beta"))[:, None, :]
    return from_npc(y, s.axis, shape), {**new, **moved}
