"""Local areas: windows over positions or channels (catalog rows 8 to 12).

A window of size k at place i covers i - (k-1)//2 ... i + k//2, cut at the
border. Local response normalization has its own rule for even sizes.
"""

import math

import numpy as np

from .common import affine
from .common import bessel
from .common import entry_weights
from .common import settings
from .shapes import PEDESTAL


def per_axis(size, count):
    """A size for every one of `count` axes."""
    if isinstance(size, int):
        return (size,) * count
    size = tuple(int(k) for k in size)
    if len(size) != count:
        raise ValueError(f"{len(size)} sizes for {count} axes.")
    return size


def window_sum(values, kernel):
    """sum over the window of kernel * value, zeros outside.

    values (N, *places, C); kernel has one axis for each axis of places.
    """
    places = values.shape[1:-1]
    result = np.zeros(values.shape)
    for place in np.ndindex(*places):
        inside, part = [], []
        for i, k, size in zip(place, kernel.shape, places, strict=True):
            first = i - (k - 1) // 2
            low, high = max(first, 0), min(first + k, size)
            inside.append(slice(low, high))
            part.append(slice(low - first, high - first))
        block = values[(slice(None), *inside)]
        weighted = block * kernel[tuple(part)][..., None]
        axes = tuple(range(1, 1 + len(places)))
        result[(slice(None), *place)] = np.sum(weighted, axis=axes)
    return result


def divide(numerator, denominator):
    """numerator / denominator, 0 where the denominator is 0."""
    safe = np.where(denominator == 0, 1, denominator)
    return np.where(denominator == 0, 0, numerator / safe)


def window_kernel(kernel, sizes, sigma):
    """The window w_pq, of sum 1: box or exp(-((i-c)/sigma)^2/2) per axis."""
    if not isinstance(kernel, str):
        kernel = np.asarray(kernel, dtype="float64")
        return kernel / np.sum(kernel)
    window = np.ones(sizes)
    if kernel == "gaussian":
        for axis, size in enumerate(sizes):
            scale = 0.25 * size if sigma is None else sigma
            offset = np.arange(size) - (size - 1) / 2
            profile = np.exp(-((offset / scale) ** 2) / 2)
            shape = [1] * len(sizes)
            shape[axis] = size
            window = window * profile.reshape(shape)
    return window / np.sum(window)


def local_contrast_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = v / max(c, sigma), v = x - sum w x (activations.md 17).

    sigma = sqrt(sum w v^2); w: window, of sum 1 over positions and, if
    across_channels, channels. border "renormalize": both sums are divided
    by the window's mass inside the image (unmasked); "zero": not;
    "torch7": v as renormalize, sigma = sqrt(sum w v^2) / mass.
    floor "mean": c = mean of sigma over the (unmasked) positions of the
    sample. sigma <= floor is replaced by floor_value (None: by the floor).
    `kernel` may here also be the array of the window itself.
    """
    s = settings(
        config,
        kernel_size=9,
        kernel="gaussian",
        sigma=None,
        across_channels=True,
        floor="mean",
        floor_value=None,
        border="renormalize",
        axis=-1,
    )
    x = np.asarray(inputs[0], dtype="float64")
    w = np.moveaxis(entry_weights(x.shape, mask), s.axis, -1)
    x = np.moveaxis(x, s.axis, -1)
    sizes = per_axis(s.kernel_size, x.ndim - 2)
    kernel = window_kernel(s.kernel, sizes, s.sigma)

    def total(values):
        values = np.where(w > 0, values, 0) * w
        result = window_sum(values, kernel)
        if s.across_channels:
            result = np.mean(result, axis=-1, keepdims=True)
        return np.broadcast_to(result, x.shape)

    mass = total(np.ones(x.shape))
    if s.border == "zero":
        v = x - total(x)
        deviation = np.sqrt(total(v**2))
    else:
        v = x - divide(total(x), mass)
        if s.border == "torch7":
            deviation = divide(np.sqrt(total(v**2)), mass)
        else:
            deviation = np.sqrt(divide(total(v**2), mass))

    floor = s.floor
    if floor == "mean":
        axes = tuple(range(1, x.ndim - 1))
        if s.across_channels:
            axes = axes + (x.ndim - 1,)
        floor = divide(
            np.sum(w * deviation, axis=axes, keepdims=True),
            np.sum(w, axis=axes, keepdims=True),
        )
    replacement = floor if s.floor_value is None else s.floor_value
    divisor = np.where(deviation <= floor, replacement, deviation)
    return np.moveaxis(divide(v, divisor), -1, s.axis), {}


def local_response_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y_i = x_i / (bias + alpha sum_j x_j^2)^beta (activations.md 18).

    j: from size//2 channels before i to (size-1)//2 after.
    """
    s = settings(
        config,
        size=5,
        bias=2.0,
        alpha=1e-4,
        beta=0.75,
        alpha_per_element=False,
        axis=-1,
    )
    x = np.moveaxis(np.asarray(inputs[0], dtype="float64"), s.axis, -1)
    channels = x.shape[-1]
    alpha = s.alpha / s.size if s.alpha_per_element else s.alpha
    y = np.zeros(x.shape)
    for i in range(channels):
        first = max(i - s.size // 2, 0)
        last = min(i + (s.size - 1) // 2, channels - 1)
        square_sum = np.sum(x[..., first : last + 1] ** 2, axis=-1)
        y[..., i] = x[..., i] / (s.bias + alpha * square_sum) ** s.beta
    return np.moveaxis(y, -1, s.axis), {}


def divisive_normalization(inputs, config, weights, state, training, mask=None):
    """v = x - E_A[x], y = gamma v / sqrt(sigma^2 + E_B[v^2]) + beta.

    activations.md 19. A, B: windows over the positions, and all channels
    or `channel_window` neighbouring ones; on (N, C) inputs windows over
    the features. border "zero": zeros outside the image, constant divisor;
    "renormalize": the mean over the entries inside. Masked entries count
    as outside.
    """
    s = settings(
        config,
        sum_window=5,
        sup_window=5,
        sigma_initializer=1.0,
        learn_sigma=True,
        l1=0.0,
        border="zero",
        channel_window=None,
        axis=-1,
        center=True,
        scale=True,
    )
    x = np.asarray(inputs[0], dtype="float64")
    w = np.moveaxis(entry_weights(x.shape, mask), s.axis, -1)
    x = np.moveaxis(x, s.axis, -1)
    sigma = float(np.squeeze(weights.get("sigma", s.sigma_initializer)))

    def field_mean(values, window):
        values = np.where(w > 0, values, 0) * w
        if x.ndim == 2 or s.channel_window is not None:
            # The channels are one more axis that the window moves along.
            if x.ndim == 2:
                sizes = per_axis(window, 1)
            else:
                sizes = per_axis(window, x.ndim - 2) + (s.channel_window,)
            kernel = np.ones(sizes)
            total = window_sum(values[..., None], kernel)[..., 0]
            count = window_sum(w[..., None], kernel)[..., 0]
            constant = math.prod(sizes)
        else:
            sizes = per_axis(window, x.ndim - 2)
            kernel = np.ones(sizes)
            total = np.sum(window_sum(values, kernel), -1, keepdims=True)
            count = np.sum(window_sum(w, kernel), -1, keepdims=True)
            constant = math.prod(sizes) * x.shape[-1]
        if s.border == "zero":
            return total / constant
        return divide(total, count)

    v = x - field_mean(x, s.sum_window)
    normalized = v / np.sqrt(sigma**2 + field_mean(v**2, s.sup_window))
    return np.moveaxis(affine(normalized, weights, s), -1, s.axis), {}


def generalized_divisive_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y_i = x_i / norm_i, inverse: x_i * norm_i (activations.md 19, 20).

    gdn: norm_i = sqrt(beta_i + sum_j gamma_ij x_j^2)
    gdn1: norm_i = beta_i + sum_j gamma_ij |x_j|
    neuroscience: |x_i|^n over beta_i + sum_j gamma_ij |x_j|^n.
    Stored b, g: beta = max(b, sqrt(beta_min + ped))^2 - ped,
    gamma = max(g, sqrt(ped))^2 - ped, ped = 2^-36.
    """
    s = settings(
        config,
        variant="gdn",
        inverse=False,
        beta_min=1e-6,
        gamma_init=0.1,
        exponent=2.0,
        axis=-1,
    )
    x = np.moveaxis(np.asarray(inputs[0], dtype="float64"), s.axis, -1)
    channels = x.shape[-1]
    stored_beta = weights.get("beta", np.sqrt(np.ones(channels) + PEDESTAL))
    stored_gamma = weights.get(
        "gamma", np.sqrt(s.gamma_init * np.eye(channels) + PEDESTAL)
    )
    bound = np.sqrt(s.beta_min + PEDESTAL)
    beta = np.maximum(stored_beta, bound) ** 2 - PEDESTAL
    gamma = np.maximum(stored_gamma, np.sqrt(PEDESTAL)) ** 2 - PEDESTAL

    power = {"gdn": 2, "gdn1": 1, "neuroscience": s.exponent}[s.variant]
    norm = np.zeros(x.shape)
    for i in range(channels):
        pool = sum(
            gamma[i, j] * np.abs(x[..., j]) ** power for j in range(channels)
        )
        norm[..., i] = beta[i] + pool
    if s.variant == "gdn":
        norm = np.sqrt(norm)
    numerator = x
    if s.variant == "neuroscience":
        numerator = np.abs(x) ** s.exponent
    y = numerator * norm if s.inverse else numerator / norm
    return np.moveaxis(y, -1, s.axis), {}


def local_context_moments(x, w, sizes, channels_per_group, compat):
    """Mean and variance of every entry's window and channel group.

    x, w: (N, *places, C). The set: the window, cut at the border, times
    the channels of the group. compat: rows i+1..i+p with
    i = clip(r - p//2, 0, H-p-1) where the window is smaller than the image
    in every axis; otherwise the whole image and the unbiased variance.
    """
    places = x.shape[1:-1]
    groups = x.shape[-1] // channels_per_group
    local = len(places) > 0 and all(
        p < size for p, size in zip(sizes, places, strict=True)
    )
    split = x.shape[:-1] + (groups, channels_per_group)
    x, w = x.reshape(split), w.reshape(split)
    mean, variance = np.zeros(split), np.zeros(split)
    for place in np.ndindex(*places):
        window = []
        for r, p, size in zip(place, sizes, places, strict=True):
            if not compat:
                first = r - (p - 1) // 2
                window.append(slice(max(first, 0), min(first + p, size)))
            elif local:
                i = int(np.clip(r - p // 2, 0, size - p - 1))
                window.append(slice(i + 1, i + p + 1))
            else:
                window.append(slice(None))
        block = x[(slice(None), *window)]
        block_w = w[(slice(None), *window)]
        axes = (*range(1, 1 + len(places)), -1)
        total = np.sum(block_w, axis=axes, keepdims=True)
        block = np.where(block_w > 0, block, 0)
        m = divide(np.sum(block_w * block, axes, keepdims=True), total)
        square_sum = np.sum(block_w * (block - m) ** 2, axes, keepdims=True)
        v = divide(square_sum, total)
        if compat and not local:
            v = v * bessel(total)
        here = (slice(None), *place)
        kept = (x.shape[0], groups, 1)
        mean[here] = m.reshape(kept)
        variance[here] = v.reshape(kept)
    flat = split[:-2] + (groups * channels_per_group,)
    return mean.reshape(flat), variance.reshape(flat)


def local_context_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma (x - mean) / sqrt(var + eps) + beta (activations.md 21).

    Statistics of the window around the position, over contiguous channel
    groups.
    """
    s = settings(
        config,
        channels_per_group=2,
        window_size=227,
        axis=-1,
        epsilon=1e-5,
        compat=False,
        center=True,
        scale=True,
    )
    x = np.asarray(inputs[0], dtype="float64")
    w = np.moveaxis(entry_weights(x.shape, mask), s.axis, -1)
    x = np.moveaxis(x, s.axis, -1)
    if x.shape[-1] % s.channels_per_group:
        raise ValueError("`channels_per_group` must divide the channels.")
    sizes = per_axis(s.window_size, x.ndim - 2)
    mean, variance = local_context_moments(
        x, w, sizes, s.channels_per_group, s.compat
    )
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    return np.moveaxis(affine(normalized, weights, s), -1, s.axis), {}
