"""Chapter recovery: a detached factor; filters that a style generates."""

import numpy as np

from .common import axis_list
from .common import bessel
from .common import entry_weights
from .common import from_npc
from .common import prepare
from .common import settings
from .common import to_npc
from .common import weighted_mean
from .convolution import filters_per_sample
from .convolution import own_convolve
from .convolution import window_offsets
from .modulation import array
from .modulation import per_channel
from .modulation import standardized
from .recovery_shapes import sizes_of
from .recovery_shapes import width_of

# AdaNorm (activations.md 27) -------------------------------------------------


def _ada_parts(inputs, config):
    """Arguments, x - mean, deviation, xhat, axes and their size."""
    s = settings(
        config, axis=-1, multiplier=1.0, k=0.1, epsilon=1e-5, unbiased=True
    )
    x = np.asarray(inputs[0], dtype="float64")
    axes = tuple(axis_list(s.axis, x.ndim))
    entries = np.prod([x.shape[a] for a in axes])
    centred = x - np.mean(x, axis=axes, keepdims=True)
    variance = np.mean(centred**2, axis=axes, keepdims=True)
    if s.unbiased:
        variance = variance * bessel(entries)
    deviation = np.sqrt(variance)
    return s, centred, deviation, centred / (deviation + s.epsilon), axes


def ada_normalization(inputs, config, weights, state, training, mask=None):
    """y = C (1 - k xhat) xhat, xhat = (x - mean) / (std + eps).

    Over the axes `axis`; the factor 1 - k xhat is held constant. A mask
    plays no part.
    """
    s, _, _, normalized, _ = _ada_parts(inputs, config)
    return s.multiplier * (1 - s.k * normalized) * normalized, {}


def ada_gradient(inputs, config, weights, state, upstream, mask=None):
    """C (1 - k xhat) dxhat, d std / d x_i = (x_i - mean) / (m std).

    m = n - 1 or n: var = sum (x - mean)^2 / m, and the mean's own derivative
    drops out. No gradient comes through a deviation of 0.
    """
    s, centred, deviation, normalized, axes = _ada_parts(inputs, config)
    dy = np.asarray(upstream, dtype="float64")
    d = s.multiplier * (1 - s.k * normalized) * dy
    entries = np.prod([centred.shape[a] for a in axes])
    m = max(entries - 1, 1) if s.unbiased else entries
    rate = 1 / (deviation + s.epsilon)
    ddeviation = -np.sum(d * centred, axis=axes, keepdims=True) * rate**2
    safe = np.where(deviation > 0, deviation, 1)
    slope = np.where(deviation > 0, centred / (m * safe), 0)
    dmean = np.mean(d, axis=axes, keepdims=True)
    return [(d - dmean) * rate + ddeviation * slope], {}


# Filters from a style (combinations.md 4.12, 4.15) ---------------------------


def style_vector(style, mask, weights, s):
    """Mean over the positions of relu(style hidden), or of the style.

    A vector (N, D) has one position. The weight of a position is the mean
    of those of its features.
    """
    axis = s.axis if np.ndim(style) > 2 else -1
    w = to_npc(entry_weights(np.shape(style), mask), axis)
    style = np.where(w > 0, to_npc(style, axis), 0)
    w = np.mean(w, axis=-1, keepdims=True)
    if s.hidden_units:
        bias = array(weights, "hidden_bias", np.zeros(s.hidden_units))
        style = np.maximum(style @ array(weights, "hidden_kernel") + bias, 0)
    return per_channel(style, np.broadcast_to(w, style.shape), weighted_mean)


def identity_filter(sizes, width, channels):
    """The filters (*sizes, width, channels) that change nothing."""
    result = np.zeros((*sizes, width, channels))
    for o in range(channels):
        centre = tuple((k - 1) // 2 for k in sizes)
        result[(*centre, o % width, o)] = 1
    return result


def generated_filters(style, weights, sizes, width, channels):
    """Filters (N, *sizes, width, C) and offsets (N, C): affine in style."""
    start = identity_filter(sizes, width, channels).ravel()
    features = style.shape[1]
    found = []
    for key, bias in (("filter", start), ("offset", np.zeros(channels))):
        kernel = array(
            weights, f"{key}_kernel", np.zeros((features, len(bias)))
        )
        found.append(style @ kernel + array(weights, f"{key}_bias", bias))
    flat, offset = found
    return filters_per_sample(flat, sizes, width, channels), offset


def _with_places(values, shape, axis):
    """(N, P, C) as (N, *places, C)."""
    return values.reshape(np.moveaxis(np.empty(shape), axis, -1).shape)


def dynamic_instance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = W_n * IN(x) + b_n, * a convolution (combinations.md 4.12).

    W_n, b_n affine in a vector of the style. Zeros outside, and where x is
    masked. `mask` may be a list: one for x, one for a style map.
    """
    s = settings(
        config,
        kernel_size=1,
        groups=None,
        hidden_units=None,
        axis=-1,
        epsilon=1e-5,
    )
    s.area = "instance"
    own, other = mask if isinstance(mask, list | tuple) else (mask, None)
    x, w, shape = prepare(inputs, s.axis, own)
    normalized, _ = standardized(x, w, {}, training, s)
    normalized = np.where(w > 0, normalized, 0)
    name, channels = "DynamicInstanceNormalization", x.shape[-1]
    sizes = sizes_of(config, name, len(shape))
    width = width_of(name, {"groups": s.groups}, channels)
    style = style_vector(inputs[1], other, weights, s)
    filters, offset = generated_filters(style, weights, sizes, width, channels)
    y = own_convolve(_with_places(normalized, shape, s.axis), filters)
    y = y.reshape(x.shape) + offset[:, None, :]
    return from_npc(y, s.axis, shape), {}


def adaptive_convolution_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y_o(p) = b_o + sum_c sum_q w_oc(q) (x_c(p+q) - m_c(p)) / d_c(p).

    combinations.md 4.15: q over the window around p, cut at the border, whose
    mean and variance are m and d^2 - eps; w and b of the sample, affine in
    its style.
    """
    s = settings(
        config,
        kernel_size=3,
        depthwise=True,
        axis=-1,
        epsilon=1e-5,
    )
    s.hidden_units = None
    x, _, shape = prepare(inputs, s.axis, None)
    x = _with_places(x, shape, s.axis)
    places, channels = x.shape[1:-1], x.shape[-1]
    name = "AdaptiveConvolutionNormalization"
    sizes = sizes_of(config, name, len(shape))
    width = width_of(name, {"depthwise": s.depthwise}, channels)
    style = style_vector(inputs[1], None, weights, s)
    filters, offset = generated_filters(style, weights, sizes, width, channels)
    y = np.zeros(x.shape)
    for place in np.ndindex(*places):
        taps = []
        for index, move in window_offsets(sizes):
            there = tuple(np.add(place, move).astype(int))
            if all(0 <= i < n for i, n in zip(there, places, strict=True)):
                taps.append((index, x[(slice(None), *there)]))
        window = np.stack([values for _, values in taps])  # (taps, N, C)
        mean = np.mean(window, axis=0)
        variance = np.mean((window - mean) ** 2, axis=0)
        window = (window - mean) / np.sqrt(variance + s.epsilon)
        for (index, _), values in zip(taps, window, strict=True):
            for n in range(len(x)):
                tap = filters[(n, *index)]  # (width, C)
                if s.depthwise:
                    y[(n, *place)] += values[n] * tap[0]
                else:
                    y[(n, *place)] += values[n] @ tap
    y = y + offset.reshape(len(x), *[1] * len(places), channels)
    return from_npc(y.reshape(len(x), -1, channels), s.axis, shape), {}
