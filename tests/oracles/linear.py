"""Layers with a kernel of their own: deconvolution, centering, whitening.

Nothing is folded here: the rows of features are centred and whitened, and then
multiplied by the kernel.
"""

import numpy as np

from .common import bessel
from .common import entry_weights
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import settings
from .common import weighted_mean
from .shapes import start
from .whitening import principal_axes

DENSE = {"units": None, "activation": None, "use_bias": True}
ACTIVATIONS = {
    None: lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "tanh": np.tanh,
}


def finished(y, weights, s):
    """Bias and activation."""
    if s.use_bias:
        y = y + np.asarray(weights["bias"], dtype="float64")
    return ACTIVATIONS[s.activation](y)


# Network deconvolution (activations.md 26) ------------------------------------


def frobenius_inverse_root(sigma, iterations):
    """Coupled Newton-Schulz steps on sigma / ||sigma||_F, on its eigenvalues.

    Y, Z and sigma share the eigenvectors; y = sigma / c, z = 1;
    t = (3 - z y) / 2, y <- y t, z <- t z; W = Z / sqrt(c).
    """
    c = np.sqrt(np.sum(sigma**2))
    eigenvalues, vectors = np.linalg.eigh(sigma)
    y, z = eigenvalues / c, np.ones(len(eigenvalues))
    for _ in range(iterations):
        t = (3 - z * y) / 2
        y, z = y * t, t * z
    return (vectors * z) @ vectors.T / np.sqrt(c)


def second_moment(rows):
    """E[x x^T] of (M, F)."""
    return sum(np.outer(row, row) for row in rows) / len(rows)


def deconvolve(rows, sample, state, training, s):
    """Whitened rows of groups (G, M, F), and the new state.

    Args:
        rows: what is multiplied by the kernel.
        sample: rows that are measured, (G, M', F).
    """
    new = {name: np.array(value) for name, value in state.items()}
    groups, _, features = rows.shape
    whitened = np.zeros(rows.shape)
    for g in range(groups):
        part = slice(g * features, (g + 1) * features)
        mean = state["moving_mean"][part]
        matrix = state["moving_matrix"][g]
        if training and len(sample[g]):
            mean = np.mean(sample[g], axis=0)
            sigma = second_moment(sample[g] - mean)
            sigma = sigma + s.epsilon * np.eye(features)
            matrix = frobenius_inverse_root(sigma, s.iterations)
            new["moving_mean"][part] = moving_average(
                state["moving_mean"][part], mean, 1, s.momentum
            )
            new["moving_matrix"][g] = moving_average(
                state["moving_matrix"][g], matrix, 1, s.momentum
            )
        whitened[g] = (rows[g] - mean) @ matrix.T
    return whitened, new


def deconvolution_dense(inputs, config, weights, state, training, mask=None):
    """Consecutive blocks of the input, all with one mean and one matrix."""
    s = settings(
        config,
        **DENSE,
        block=512,
        iterations=5,
        momentum=0.9,
        epsilon=1e-5,
    )
    x = np.asarray(inputs[0], dtype="float64")
    state = start("DeconvolutionDense", config, x.shape, state)
    rows = x.reshape(1, -1, len(state["moving_mean"]))
    whitened, new = deconvolve(rows, rows, state, training, s)
    kernel = np.asarray(weights["kernel"], dtype="float64")
    y = whitened.reshape(x.shape) @ kernel
    return finished(y, weights, s), new


def both(value):
    """One number for height and width, or two."""
    return (value, value) if isinstance(value, int) else tuple(value)


def padded(x, s):
    """The zeros of "same": what is missing, half of it (or less) before."""
    if s.padding == "valid":
        return x
    widths = [(0, 0)]
    for size, kernel, stride, dilation in zip(
        x.shape[1:3],
        both(s.kernel_size),
        both(s.strides),
        both(s.dilation_rate),
        strict=True,
    ):
        outputs = -(-size // stride)
        needed = (outputs - 1) * stride + (kernel - 1) * dilation + 1
        total = max(needed - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, [*widths, (0, 0)])


def patches(x, s, sampling):
    """(N, height, width, C * kh * kw), entries numbered channel first."""
    kernel, dilation = both(s.kernel_size), both(s.dilation_rate)
    steps = [stride * sampling for stride in both(s.strides)]
    sizes = [
        (x.shape[i + 1] - (kernel[i] - 1) * dilation[i] - 1) // steps[i] + 1
        for i in range(2)
    ]
    found = np.zeros((x.shape[0], *sizes, x.shape[-1], *kernel))
    for i, j in np.ndindex(*sizes):
        for a, b in np.ndindex(*kernel):
            row = i * steps[0] + a * dilation[0]
            column = j * steps[1] + b * dilation[1]
            found[:, i, j, :, a, b] = x[:, row, column]
    return found.reshape(*found.shape[:3], -1)


def as_rows(entries, groups, features):
    """Patches -> (groups, rows, features).

    Entry i of a group is feature i // B of block i % B, B = entries / features.
    """
    entries = entries.reshape(-1, groups, entries.shape[-1] // groups)
    blocks = entries.shape[-1] // features
    found = [entries[:, :, b::blocks] for b in range(blocks)]
    rows = np.stack(found, axis=1)
    return np.moveaxis(rows, 2, 0).reshape(groups, -1, features), blocks


def deconvolution_conv2d(inputs, config, weights, state, training, mask=None):
    """Patches are rows, zero padding included."""
    s = settings(
        config,
        filters=None,
        kernel_size=None,
        strides=1,
        padding="valid",
        data_format="channels_last",
        dilation_rate=1,
        groups=1,
        activation=None,
        use_bias=True,
        block=64,
        iterations=5,
        sampling_stride=3,
        momentum=0.9,
        epsilon=1e-5,
    )
    x = np.asarray(inputs[0], dtype="float64")
    first = s.data_format == "channels_first"
    if first:
        x = np.moveaxis(x, 1, -1)
    state = start("DeconvolutionConv2D", config, np.shape(inputs[0]), state)
    groups, features, _ = state["moving_matrix"].shape
    x = padded(x, s)
    seen = patches(x, s, 1)
    rows, blocks = as_rows(seen, groups, features)
    sample, _ = as_rows(patches(x, s, s.sampling_stride), groups, features)
    whitened, new = deconvolve(rows, sample, state, training, s)
    # The kernel in the numbering of the entries.
    kernel = np.asarray(weights["kernel"], dtype="float64")
    kernel = np.moveaxis(kernel, 2, 0).reshape(-1, s.filters)
    positions = int(np.prod(seen.shape[:3]))
    outputs = s.filters // groups
    y = np.zeros((positions, s.filters))
    for g in range(groups):
        part = whitened[g].reshape(positions, blocks, features)
        filters = slice(g * outputs, (g + 1) * outputs)
        for b in range(blocks):
            y[:, filters] += part[:, b] @ kernel[b::blocks, filters]
    y = finished(y.reshape(*seen.shape[:3], s.filters), weights, s)
    return (np.moveaxis(y, -1, 1) if first else y), new


def channel_deconvolution(inputs, config, weights, state, training, mask=None):
    """Pooled blocks by one matrix, what is left by one mean and variance."""
    s = settings(
        config,
        block=64,
        iterations=5,
        sampling_stride=3,
        axis=-1,
        momentum=0.9,
        epsilon=1e-2,
    )
    x, _, shape = prepare(inputs, s.axis, None)
    sizes = list(np.moveaxis(np.empty(shape), s.axis, -1).shape[1:-1])
    state = start("ChannelDeconvolution", config, shape, state)
    new = {name: np.array(value) for name, value in state.items()}
    training = training and x.size > 0
    stride = s.sampling_stride ** len(sizes)
    if min(sizes, default=0) < s.sampling_stride:
        stride = 1
    width = len(state["moving_mean"])
    whole = x.shape[-1] - x.shape[-1] % width
    # The first batch is copied to the state.
    keep = s.momentum if state.get("step", 0) > 0 else 0.0

    def follow(name, value):
        new[name] = moving_average(
            np.asarray(state[name], "float64"), value, 1, keep
        )

    # (C, N, P) -> (width, blocks * N * P)
    entries = np.moveaxis(x[..., :whole], -1, 0).reshape(width, -1)
    mean = state["moving_mean"][:, None]
    matrix = state["moving_matrix"][0]
    if training:
        sample = entries[:, ::stride]
        mean = np.mean(sample, axis=1, keepdims=True)
        sigma = second_moment(sample.T) + s.epsilon * np.eye(width)
        matrix = frobenius_inverse_root(sigma, s.iterations)
        follow("moving_mean", mean[:, 0])
        follow("moving_matrix", matrix[None])
        new["step"] = np.asarray(state["step"]) + 1
    y = np.array(x)
    whitened = (matrix @ (entries - mean)).reshape(whole, *x.shape[:2])
    y[..., :whole] = np.moveaxis(whitened, 0, -1)
    if whole < x.shape[-1]:
        rest = x[..., whole:]
        mean = state["moving_rest_mean"]
        variance = state["moving_rest_variance"]
        if training:
            flat = np.moveaxis(rest, -1, 1).reshape(len(x), -1)[:, ::stride]
            mean = np.reshape(np.mean(flat), (1,))
            variance = np.mean((flat - mean) ** 2) * bessel(flat.size)
            variance = np.reshape(variance, (1,))
            follow("moving_rest_mean", mean)
            follow("moving_rest_variance", variance)
        y[..., whole:] = (rest - mean) / np.sqrt(variance + s.epsilon)
    return from_npc(y, s.axis, shape), new


# Population statistics (activations.md 29) ------------------------------------


def running_mean_centering(inputs, config, weights, state, training, mask=None):
    """y = x - moving_mean; then the mean of the batch enters it."""
    s = settings(config, axis=-1, momentum=0.99)
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("RunningMeanCentering", config, shape, state)
    mean = np.asarray(state["moving_mean"], dtype="float64")
    new = {"moving_mean": mean.copy()}
    if training:
        for c in range(x.shape[-1]):
            new["moving_mean"][c] = moving_average(
                mean[c],
                weighted_mean(x[..., c], w[..., c]),
                np.sum(w[..., c]),
                s.momentum,
            )
    return from_npc(x - mean, s.axis, shape), new


def rows_and_weights(x, mask):
    """(M, C) and weights of the same shape; what is masked is 0."""
    x = np.asarray(x, dtype="float64")
    w = entry_weights(x.shape, mask)
    x = np.where((w > 0) | np.isfinite(x), x, 0.0)
    return x.reshape(-1, x.shape[-1]), w.reshape(-1, x.shape[-1])


def mean_normalized_dense(inputs, config, weights, state, training, mask=None):
    """y = (x - mean) V + compensation + bias; a moved mean changes nothing."""
    s = settings(config, **DENSE, momentum=0.99)
    shape = np.shape(inputs[0])
    state = start("MeanNormalizedDense", config, shape, state)
    x, w = rows_and_weights(inputs[0], mask)
    kernel = np.asarray(weights["kernel"], dtype="float64")
    mean = np.asarray(state["moving_mean"], dtype="float64")
    compensation = np.asarray(state["compensation"], dtype="float64")
    y = finished((x - mean) @ kernel + compensation, weights, s)
    moved = mean.copy()
    if training:
        for c in range(len(mean)):
            batch = weighted_mean(x[:, c], w[:, c])
            moved[c] = moving_average(
                mean[c], batch, np.sum(w[:, c]), s.momentum
            )
    new = {
        "moving_mean": moved,
        "compensation": compensation + (moved - mean) @ kernel,
    }
    return y.reshape(*shape[:-1], -1), new


def whitening_of(covariance, s):
    """U: (L + eps)^(-1/2) Q^T, or turned back."""
    axes, eigenvalues = principal_axes(covariance)
    scaled = axes / np.sqrt(eigenvalues + s.epsilon)[:, None]
    return scaled if s.whitening == "pca" else axes.T @ scaled


def whitened_dense(inputs, config, weights, state, training, mask=None):
    """y = (x - c) U^T V + d, or ((x V) - c) U^T + d; d = compensation + bias.

    An update replaces c and U and then V and d by what leaves y as it is.
    """
    s = settings(
        config,
        **DENSE,
        position="pre",
        whitening="pca",
        batch_normalization=False,
        epsilon=1e-3,
        update_every=None,
        num_samples=1000,
    )
    shape = np.shape(inputs[0])
    given = {k: np.asarray(v, dtype="float64") for k, v in state.items()}
    state = start("WhitenedDense", config, shape, given)
    x, w = rows_and_weights(inputs[0], mask)
    new = {name: np.array(value) for name, value in state.items()}
    if training and s.update_every is not None and np.any(w > 0):
        collect(new, np.where(w > 0, x, 0.0), w[:, 0], s)
        if new["step"] % s.update_every == 0:
            renew(new, weights, s)
    y = preactivation(x, new, weights, s)
    if s.batch_normalization:
        y = inner_normalization(y, w[:, 0], state, new, weights, training)
    y = finished(y, weights, s)
    return y.reshape(*shape[:-1], -1), new


def preactivation(x, state, weights, s):
    """Before bias and activation."""
    kernel = np.asarray(weights["kernel"], dtype="float64")
    kernel = kernel + state.get("kernel_shift", 0.0)
    mean, matrix = state["mean"], state["whitening_matrix"]
    if s.position == "pre":
        y = ((x - mean) @ matrix.T) @ kernel
    else:
        y = (x @ kernel - mean) @ matrix.T
    return y + state["compensation"]


def collect(state, x, w, s):
    """The latest rows come first."""
    for name, rows in (("samples", x), ("sample_weights", w)):
        kept = np.concatenate([rows[: s.num_samples], state[name]])
        state[name] = kept[: s.num_samples]
    state["step"] = state["step"] + 1


def renew(state, weights, s):
    """Whiten the sample; keep what the layer computes, found by solving."""
    x, w = state["samples"], state["sample_weights"]
    kernel = np.asarray(weights["kernel"], dtype="float64")
    acting = kernel + state["kernel_shift"]
    old = state["whitening_matrix"]
    if s.position == "pre":
        whole = old.T @ acting
        rows = x
    else:
        whole = acting @ old.T
        rows = preactivation(x, state, weights, s)
    constant = preactivation(np.zeros((1, x.shape[1])), state, weights, s)[0]
    mean = np.sum(w[:, None] * rows, axis=0) / np.sum(w)
    covariance = (w[:, None] * (rows - mean)).T @ (rows - mean) / np.sum(w)
    matrix = whitening_of(covariance, s)
    if s.position == "pre":
        acting = np.linalg.solve(matrix.T, whole)
        state["mean"] = mean
        state["compensation"] = constant + mean @ whole
    else:
        acting = np.linalg.solve(matrix, whole.T).T
        # mean = constant + x_0 whole for what the kernel sees as the mean.
        state["mean"] = np.linalg.solve(matrix, mean - constant)
        state["compensation"] = mean
    state["whitening_matrix"] = matrix
    state["kernel_shift"] = acting - kernel


def inner_normalization(y, w, state, new, weights, training):
    """Batch normalization with a gain, momentum 0.99, epsilon 1e-3."""
    names = [f"normalization_moving_{n}" for n in ("mean", "variance")]
    mean, variance = (state[n] for n in names)
    if training:
        total = np.sum(w)
        batch = np.zeros((2, y.shape[1]))
        for c in range(y.shape[1]):
            batch[0, c] = weighted_mean(y[:, c], w)
            batch[1, c] = weighted_mean((y[:, c] - batch[0, c]) ** 2, w)
        for name, value in zip(names, batch, strict=True):
            new[name] = moving_average(state[name], value, total, 0.99)
        mean, variance = batch
    gain = np.asarray(weights["normalization_gamma"], dtype="float64")
    return gain * (y - mean) / np.sqrt(variance + 1e-3)
