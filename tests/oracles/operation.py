"""Chapter operation: what is measured and divided by."""

import math

import numpy as np

from .common import affine
from .common import axis_list
from .common import bessel
from .common import from_npc
from .common import moving_average
from .common import over_sets
from .common import prepare
from .common import set_labels
from .common import set_weight
from .common import settings
from .common import spread_parameter
from .common import weighted_mean
from .common import weighted_mean_square
from .common import weighted_variance
from .shapes import start

# Scaling at each position: a mask plays no part ------------------------------


def rms_normalization(inputs, config, weights, state, training, mask=None):
    """y = scale x / sqrt(E[x^2] + eps) (activations.md 8).

    epsilon_outside: x / (sqrt(E[x^2]) + eps). partial=p: the mean over the
    first int(d p) of the d normalized entries; p outside [0, 1]: all.
    """
    s = settings(
        config,
        axis=-1,
        epsilon=1e-6,
        partial=None,
        epsilon_outside=False,
        center=False,
    )
    x = np.asarray(inputs[0], dtype="float64")
    axes = axis_list(s.axis, x.ndim)
    increasing = sorted(axes)
    rows = np.moveaxis(x, increasing, range(-len(axes), 0))
    rows = rows.reshape(rows.shape[: x.ndim - len(axes)] + (-1,))
    size = rows.shape[-1]
    used = size
    if s.partial is not None and 0 <= s.partial <= 1:
        used = int(size * s.partial)
        if used == 0:
            raise ValueError("`partial` leaves no feature.")
    mean_square = np.mean(rows[..., :used] ** 2, axis=-1)
    if s.epsilon_outside:
        divisor = np.sqrt(mean_square) + s.epsilon
    else:
        divisor = np.sqrt(mean_square + s.epsilon)
    y = x / np.expand_dims(divisor, increasing)
    if "scale" in weights:
        y = y * spread_parameter(weights["scale"], axes, x.shape)
    if s.center and "beta" in weights:
        y = y + spread_parameter(weights["beta"], axes, x.shape)
    return y, {}


def pixel_normalization(inputs, config, weights, state, training, mask=None):
    """y = x / sqrt(mean over channels of x^2 + eps) (activations.md 7)."""
    s = settings(config, axis=-1, epsilon=1e-8)
    x = np.asarray(inputs[0], dtype="float64")
    mean_square = np.mean(x**2, axis=s.axis, keepdims=True)
    return x / np.sqrt(mean_square + s.epsilon), {}


def variance_only_layer_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = x / sqrt(E[(x - mean)^2] + eps) (activations.md 9).

    Over the channels, biased; the mean is not subtracted from x.
    """
    s = settings(config, axis=-1, epsilon=1e-5, center=False, scale=False)
    x = np.asarray(inputs[0], dtype="float64")
    mean = np.mean(x, axis=s.axis, keepdims=True)
    variance = np.mean((x - mean) ** 2, axis=s.axis, keepdims=True)
    normalized = np.moveaxis(x / np.sqrt(variance + s.epsilon), s.axis, -1)
    y = affine(normalized, weights, s)
    return np.moveaxis(y, -1, s.axis), {}


def unit_normalization(inputs, config, weights, state, training, mask=None):
    """y = x / max(sqrt(sum x^2), 1e-12) over `axis` (as in Keras)."""
    s = settings(config, axis=-1)
    x = np.asarray(inputs[0], dtype="float64")
    axes = tuple(axis_list(s.axis, x.ndim))
    square_sum = np.sum(x**2, axis=axes, keepdims=True)
    return x / np.maximum(np.sqrt(square_sum), 1e-12), {}


def tlu(inputs, config, weights, state, training, mask=None):
    """y = max(x, tau), tau per channel (activations.md 10)."""
    s = settings(config, axis=-1)
    x = np.moveaxis(np.asarray(inputs[0], dtype="float64"), s.axis, -1)
    y = np.maximum(x, weights.get("tau", 0.0))
    return np.moveaxis(y, -1, s.axis), {}


# Per sample and channel ------------------------------------------------------


def filter_response_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = max(gamma x / sqrt(nu2 + eps) + beta, tau) (activations.md 10).

    nu2 = mean over the positions of x^2; eps = epsilon + |learned|;
    the maximum only with use_tlu.
    """
    s = settings(
        config,
        axis=-1,
        epsilon=1e-6,
        learn_epsilon=False,
        epsilon_initializer=1e-4,
        use_tlu=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    epsilon = s.epsilon
    if s.learn_epsilon:
        learned = weights.get("learned_epsilon", s.epsilon_initializer)
        epsilon = epsilon + np.abs(float(np.squeeze(learned)))
    labels, count = set_labels("instance", x.shape)
    nu2 = over_sets(weighted_mean_square, x, w, labels, count)
    rate = 1 / np.sqrt(nu2 + epsilon)
    y = affine(x * rate[labels], weights, s)
    if s.use_tlu:
        y = np.maximum(y, weights.get("tau", 0.0))
    return from_npc(y, s.axis, shape), {}


# Per channel over the batch --------------------------------------------------


def mean_only_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = x - mean + beta, mean per channel (activations.md 11)."""
    s = settings(config, axis=-1, momentum=0.9, center=True)
    s.scale = False
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("MeanOnlyBatchNormalization", config, shape, state)
    new = dict(state)
    if training:
        labels, count = set_labels("batch", x.shape)
        mean = over_sets(weighted_mean, x, w, labels, count)
        total = set_weight(w, labels, count)
        new["moving_mean"] = moving_average(
            state["moving_mean"], mean, total, s.momentum
        )
    else:
        mean = state["moving_mean"]
    y = affine(x - mean, weights, s)
    return from_npc(y, s.axis, shape), new


def scale_only_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma x / sqrt(E[x^2] + eps) + beta (activations.md 12).

    centered_variance: E[(x - mean)^2] in place of E[x^2].
    """
    s = settings(
        config,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        centered_variance=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("ScaleOnlyBatchNormalization", config, shape, state)
    new = dict(state)
    name, measure = "moving_second_moment", weighted_mean_square
    if s.centered_variance:
        name, measure = "moving_variance", weighted_variance
    if training:
        labels, count = set_labels("batch", x.shape)
        value = over_sets(measure, x, w, labels, count)
        total = set_weight(w, labels, count)
        new[name] = moving_average(state[name], value, total, s.momentum)
    else:
        value = state[name]
    y = affine(x / np.sqrt(value + s.epsilon), weights, s)
    return from_npc(y, s.axis, shape), new


def _center_and_deviation(
    name, names, measures, inputs, config, weights, state, training, mask, s
):
    """(x - center) / deviation per channel, moving averages of both.

    `measures`: functions of (values, weights) of one channel, in the order
    of `names`, the state's two names.
    """
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start(name, config, shape, state)
    new = dict(state)
    if training:
        labels, count = set_labels("batch", x.shape)
        total = set_weight(w, labels, count)
        used = []
        for key, measure in zip(names, measures, strict=True):
            value = over_sets(measure, x, w, labels, count)
            new[key] = moving_average(state[key], value, total, s.momentum)
            used.append(value)
    else:
        used = [state[key] for key in names]
    center, deviation = used
    y = affine((x - center) / deviation, weights, s)
    return from_npc(y, s.axis, shape), new


def gaussian_factor(p):
    """c_p = (sqrt(pi) / (2^(p/2) Gamma((p+1)/2)))^(1/p)."""
    p = float(p)
    gamma = math.gamma((p + 1) / 2)
    return (math.sqrt(math.pi) / (2 ** (p / 2) * gamma)) ** (1 / p)


def extreme_factor(n):
    """c(n) = (1 + sqrt(pi ln 4)) / (2 sqrt(2 ln n)), n at least 2."""
    numerator = 1 + math.sqrt(math.pi * math.log(4))
    return numerator / (2 * math.sqrt(2 * math.log(max(n, 2))))


def lp_deviation(values, weights, p, top_k, corrected, epsilon):
    """The deviation of one channel, epsilon included (activations.md 13).

    p=1: c E|x-mean| + eps; p: c (E|x-mean|^p + eps)^(1/p);
    inf: c(n) * mean of the top_k largest |x-mean| + eps.
    """
    distance = np.abs(values - weighted_mean(values, weights))
    if p in ("inf", math.inf):
        largest = np.sort(distance[weights > 0])[::-1]
        if len(largest) == 0:
            return epsilon
        factor = extreme_factor(len(largest)) if corrected else 1.0
        return factor * np.mean(largest[:top_k]) + epsilon
    factor = gaussian_factor(p) if corrected else 1.0
    if p == 1:
        return factor * weighted_mean(distance, weights) + epsilon
    power = weighted_mean(distance**p, weights)
    return factor * (power + epsilon) ** (1 / p)


def lp_batch_normalization(inputs, config, weights, state, training, mask=None):
    """y = gamma (x - mean) / deviation + beta (activations.md 13)."""
    s = settings(
        config,
        p=2,
        top_k=1,
        gaussian_correction=True,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        center=True,
        scale=True,
    )

    def deviation(values, value_weights):
        return lp_deviation(
            values,
            value_weights,
            s.p,
            s.top_k,
            s.gaussian_correction,
            s.epsilon,
        )

    return _center_and_deviation(
        "LpBatchNormalization",
        ("moving_mean", "moving_deviation"),
        (weighted_mean, deviation),
        inputs,
        config,
        weights,
        state,
        training,
        mask,
        s,
    )


def range_deviation(values, weights, num_chunks, scale_fix, epsilon):
    """fix * mean over chunks of (max - min) + eps (activations.md 14).

    The unmasked entries of the channel, in the order (N, positions), are
    cut in consecutive chunks of length = ceil(n / num_chunks). fix:
    code 0.5*0.35*(1+sqrt(pi ln 4))/sqrt(2 ln length);
    paper 1/sqrt(2 ln length); length at least 2 in the logarithm.
    """
    values = values[weights > 0]
    if len(values) == 0:
        return epsilon
    length = math.ceil(len(values) / num_chunks)
    ranges = []
    for first in range(0, len(values), length):
        chunk = values[first : first + length]
        ranges.append(np.max(chunk) - np.min(chunk))
    fix = 1 / math.sqrt(2 * math.log(max(length, 2)))
    if scale_fix == "code":
        fix *= 0.5 * 0.35 * (1 + math.sqrt(math.pi * math.log(4)))
    return fix * np.mean(ranges) + epsilon


def range_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (x - mean) / deviation + beta (activations.md 14)."""
    s = settings(
        config,
        num_chunks=16,
        scale_fix="code",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        center=True,
        scale=True,
    )

    def deviation(values, value_weights):
        return range_deviation(
            values, value_weights, s.num_chunks, s.scale_fix, s.epsilon
        )

    return _center_and_deviation(
        "RangeBatchNormalization",
        ("moving_mean", "moving_deviation"),
        (weighted_mean, deviation),
        inputs,
        config,
        weights,
        state,
        training,
        mask,
        s,
    )


def superquantile(values, alpha):
    """Mean of the largest fraction 1 - alpha of the entries.

    The entry at the border counts with the fraction that belongs to it.
    """
    largest = np.sort(values)[::-1]
    mass = (1 - alpha) * len(largest)
    part = np.clip(mass - np.arange(len(largest)), 0, 1)
    return np.sum(part * largest) / np.sum(part)


def deviation_and_center(name, values, weights, alpha, epsilon):
    """D and S of one channel (activations.md 15), epsilon included in D.

    Expectations use the weights, order statistics the entries of positive
    weight.
    """
    if np.sum(weights) == 0:
        return 1.0, 0.0
    present = values[weights > 0]
    mean = weighted_mean(values, weights)
    if name == "std":
        square = weighted_mean((values - mean) ** 2, weights)
        return np.sqrt(square + epsilon), mean
    if name == "rsd":
        above = np.maximum(values - mean, 0)
        return np.sqrt(weighted_mean(above**2, weights) + epsilon), mean
    if name == "lsd":
        below = np.maximum(mean - values, 0)
        return np.sqrt(weighted_mean(below**2, weights) + epsilon), mean
    if name == "mad":
        median = np.median(present)
        distance = np.abs(values - median)
        return weighted_mean(distance, weights) + epsilon, median
    if name == "range":
        high, low = np.max(present), np.min(present)
        return (high - low) / 2 + epsilon, (high + low) / 2
    if name == "sqd":
        quantile = np.quantile(present, alpha)
        return superquantile(present, alpha) - mean + epsilon, quantile
    if name == "wcd":
        high = np.max(present)
        return high - mean + epsilon, high
    raise ValueError(f"Unknown deviation {name!r}.")


def generalized_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (x - S) / D + beta (activations.md 15)."""
    s = settings(
        config,
        deviation="rsd",
        alpha=0.7,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        center=True,
        scale=True,
    )

    def center(v, w):
        return deviation_and_center(s.deviation, v, w, s.alpha, s.epsilon)[1]

    def deviation(v, w):
        return deviation_and_center(s.deviation, v, w, s.alpha, s.epsilon)[0]

    return _center_and_deviation(
        "GeneralizedBatchNormalization",
        ("moving_center", "moving_deviation"),
        (center, deviation),
        inputs,
        config,
        weights,
        state,
        training,
        mask,
        s,
    )


# Normalization and activation in one -----------------------------------------


def sigmoid(x):
    """1 / (1 + exp(-x)), in the form that cannot overflow."""
    return (1 + np.tanh(x / 2)) / 2


def evonorm(inputs, config, weights, state, training, mask=None):
    """Normalization-activation layers (activations.md 28), before affine:

    B0: x / max(batch std, v x + sqrt(instance var + eps))
    B1: x / max(batch std, (x + 1) sqrt(instance E[x^2] + eps))
    B2: x / max(batch std, sqrt(instance E[x^2] + eps) - x)
    S0: x sigmoid(v x) / sqrt(group var + eps)
    S1: x sigmoid(x) / sqrt(group var + eps)
    S2: x sigmoid(x) / sqrt(group E[x^2] + eps)
    batch std = sqrt(batch var + eps), at inference of the moving variance.
    nonlinearity=False: gamma x + beta, no statistics.
    """
    s = settings(
        config,
        variant="B0",
        groups=32,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        nonlinearity=True,
        unbiased_moving_variance=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("EvoNorm", config, shape, state)
    new = dict(state)
    if not s.nonlinearity:
        return from_npc(affine(x, weights, s), s.axis, shape), new
    v = weights.get("v", 1.0)

    if s.variant.startswith("B"):
        if training:
            labels, count = set_labels("batch", x.shape)
            variance = over_sets(weighted_variance, x, w, labels, count)
            total = set_weight(w, labels, count)
            stored = variance
            if s.unbiased_moving_variance:
                stored = variance * bessel(total)
            new["moving_variance"] = moving_average(
                state["moving_variance"], stored, total, s.momentum
            )
        else:
            variance = state["moving_variance"]
        batch_std = np.sqrt(variance + s.epsilon)
        labels, count = set_labels("instance", x.shape)
        measure = weighted_mean_square
        if s.variant == "B0":
            measure = weighted_variance
        second = over_sets(measure, x, w, labels, count)
        root = np.sqrt(second + s.epsilon)[labels]
        other = {
            "B0": v * x + root,
            "B1": (x + 1) * root,
            "B2": root - x,
        }[s.variant]
        y = x / np.maximum(batch_std, other)
    else:
        labels, count = set_labels("group", x.shape, s.groups)
        measure = weighted_variance
        if s.variant == "S2":
            measure = weighted_mean_square
        second = over_sets(measure, x, w, labels, count)
        root = np.sqrt(second + s.epsilon)[labels]
        gate = sigmoid(v * x) if s.variant == "S0" else sigmoid(x)
        y = x * gate / root
    return from_npc(affine(y, weights, s), s.axis, shape), new
