"""Cross-iteration batch normalization (combinations.md 3.9).

h = A W, A the rows that the kernel multiplies: the inputs of a dense layer,
patches of a convolution; a bias is one more row of W, with A = 1. Entries of
the window are (mean, square, dmean, dsquare, W) of earlier batches, newest
first: mean = E[h], square = E[h^2], and their derivatives by an output's own
column of W, E[A] and 2 E[h A].
"""

from types import SimpleNamespace

import numpy as np

from .batch_gradient import shares
from .batch_gradient import through_affine
from .common import affine
from .common import bessel
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import to_npc

WINDOW = (
    "window_mean",
    "window_square",
    "window_mean_slope",
    "window_square_slope",
    "window_kernel",
)


def _measured(h, rows, kernel, w):
    """The entry of this batch."""
    share = shares(w)
    mean = np.sum(share * h, axis=(0, 1))
    square = np.sum(share * h**2, axis=(0, 1))
    if rows is None:
        return [mean, square]
    dmean = np.einsum("npo,npi->io", share, rows)
    dsquare = 2 * np.einsum("npo,npi->io", share * h, rows)
    return [mean, square, dmean, dsquare, kernel]


def _compensated(entry, kernel):
    """mean + sum dmean (W_now - W_then), by output; square likewise."""
    mean, square = entry[:2]
    if kernel is None:
        return mean, square
    moved = kernel - entry[4]
    return (
        mean + np.sum(entry[2] * moved, axis=0),
        square + np.sum(entry[3] * moved, axis=0),
    )


def used_moments(h, rows, kernel, w, state, s):
    """What normalizes a training step, as a namespace.

    Up to the step `burn_in` the batch's mean and unbiased variance. Later the
    means over the window, this batch in front, of mean and square, without
    the entries where square < mean^2; var = square - mean^2.

    Returns:
        `mean`, `variance`; `pull(dmean, dvar)` -> (gradient of E[h], of
        E[h^2]) of this batch; `new` state.
    """
    h = np.where(w > 0, h, 0.0)
    if rows is not None:
        rows = np.where(np.any(w > 0, axis=-1, keepdims=True), rows, 0.0)
    own = _measured(h, rows, kernel, w)
    total = np.sum(w, axis=(0, 1))
    batch_mean = own[0]
    centred = np.sum(shares(w) * (h - batch_mean) ** 2, axis=(0, 1))
    unbiased = centred * bessel(total)
    new = dict(state)
    new["moving_mean"] = moving_average(
        state["moving_mean"], batch_mean, total, s.momentum
    )
    new["moving_variance"] = moving_average(
        state["moving_variance"], unbiased, total, s.momentum
    )
    new["step"] = np.array(int(state["step"]) + 1)
    if int(new["step"]) <= s.burn_in:

        def through_batch(dmean, dvariance):
            factor = bessel(total) * dvariance
            return dmean - 2 * batch_mean * factor, factor

        return SimpleNamespace(
            mean=batch_mean,
            variance=unbiased,
            new=new,
            pull=through_batch,
        )
    length, filled = s.window_size - 1, int(state.get("count", 0))
    means, squares = [own[0]], [own[1]]
    for k in range(filled):
        entry = [state[name][k] for name in WINDOW[: len(own)]]
        mean, square = _compensated(entry, kernel)
        means.append(mean)
        squares.append(square)
    means, squares = np.array(means), np.array(squares)
    valid = squares >= means**2
    valid[0] = True
    count = np.sum(valid, axis=0)
    mean = np.sum(np.where(valid, means, 0), axis=0) / count
    square = np.sum(np.where(valid, squares, 0), axis=0) / count
    if length:
        for name, value in zip(WINDOW, own, strict=False):
            empty = np.zeros((length, *value.shape))
            old = np.asarray(state.get(name, empty))
            shifted = np.concatenate([value[None], old[:-1]])
            new[name] = np.where(total > 0, shifted, old)
        new["count"] = np.array(min(filled + 1, length))

    def through_window(dmean, dvariance):
        return (dmean - 2 * mean * dvariance) / count, dvariance / count

    return SimpleNamespace(
        mean=mean,
        variance=square - mean**2,
        new=new,
        pull=through_window,
    )


def root(variance, s):
    """sqrt(var) + eps, or sqrt(var + eps)."""
    if s.epsilon_placement == "outside":
        return np.sqrt(variance) + s.epsilon
    return np.sqrt(variance + s.epsilon)


def normalize(h, rows, kernel, weights, state, training, mask, s):
    """gamma (h - mean) / root + beta of (..., O), and the new state.

    Args:
        rows: (N, P, I) or `None`: no compensation. kernel: (I, O).
    """
    x, w, shape = prepare([h], -1, mask)
    if training:
        used = used_moments(x, rows, kernel, w, state, s)
        if not np.sum(w):
            used.new = state
        mean, variance, new = used.mean, used.variance, used.new
    else:
        mean, variance, new = (
            *map(state.get, ("moving_mean", "moving_variance")),
            state,
        )
    z = (x - mean) / root(variance, s)
    return from_npc(affine(z, weights, s), -1, shape), new


def normalize_gradient(h, rows, kernel, weights, state, upstream, mask, s):
    """(dh, {weight: gradient}); earlier batches and W in the compensation
    are constants."""
    x, w, shape = prepare([h], -1, mask)
    x = np.where(w > 0, x, 0.0)
    used = used_moments(x, rows, kernel, w, state, s)
    deviation = root(used.variance, s)
    z = (x - used.mean) / deviation
    dz, gradients = through_affine(to_npc(upstream, -1), z, weights, s)
    # d sqrt(var [+ eps]) / d var = 1 / (2 sqrt(.)).
    inner = used.variance + s.epsilon * (s.epsilon_placement == "inside")
    dmean = -np.sum(dz, axis=(0, 1)) / deviation
    ddeviation = -np.sum(dz * z, axis=(0, 1)) / deviation
    dmean, dsquare = used.pull(dmean, ddeviation / (2 * np.sqrt(inner)))
    dh = dz / deviation + shares(w) * (dmean + 2 * x * dsquare)
    return from_npc(dh, -1, shape), gradients
