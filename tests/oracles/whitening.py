"""Chapter whitening: batch whitening, and coloring."""

import numpy as np

from .common import affine
from .common import bessel
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import settings
from .common import weighted_mean
from .recovery import condition_features
from .shapes import start


def newton_inverse_root(sigma, iterations):
    """The Newton iterate for sigma^(-1/2), started at trace scaling.

    P_0 = I, P_{k+1} = (3 P_k - P_k^3 sigma / tr) / 2, W = P_T / sqrt(tr).
    All iterates share the eigenvectors of sigma, so that the iteration is
    done on its eigenvalues.
    """
    trace = np.trace(sigma)
    eigenvalues, vectors = np.linalg.eigh(sigma)
    p = np.ones(len(eigenvalues))
    for _ in range(iterations):
        p = 1.5 * p - 0.5 * p**3 * eigenvalues / trace
    return (vectors * p) @ vectors.T / np.sqrt(trace)


def zca(sigma):
    """U L^(-1/2) U^T of sigma = U L U^T."""
    eigenvalues, vectors = np.linalg.eigh(sigma)
    return (vectors / np.sqrt(eigenvalues)) @ vectors.T


def principal_axes(sigma):
    """Eigenvectors as rows, largest eigenvalue first, and the eigenvalues.

    The sign is arbitrary; the largest entry of a row is made positive.
    """
    eigenvalues, vectors = np.linalg.eigh(sigma)
    rows = vectors.T[::-1].copy()
    for row in rows:
        row *= np.sign(row[np.argmax(np.abs(row))])
    return rows, eigenvalues[::-1]


def pca(sigma):
    """L^(-1/2) U^T."""
    rows, eigenvalues = principal_axes(sigma)
    return rows / np.sqrt(eigenvalues)[:, None]


def inverse_cholesky(sigma):
    """R^(-1) of sigma = R R^T, R lower triangular."""
    return np.linalg.inv(np.linalg.cholesky(sigma))


def matrix_rule(whitening, iterations):
    """The function sigma -> W of that name (activations.md 22)."""
    return {
        "zca": zca,
        "pca": pca,
        "cholesky": inverse_cholesky,
        "decorrelate": lambda sigma: principal_axes(sigma)[0],
        "iterative": lambda sigma: newton_inverse_root(sigma, iterations),
    }[whitening]


def whitening_moments(x, w):
    """Mean, covariance, total weight of (M, d) points."""
    mean = np.array([weighted_mean(x[:, i], w) for i in range(x.shape[1])])
    centered = x - mean
    covariance = np.array(
        [
            [
                weighted_mean(centered[:, i] * centered[:, j], w)
                for j in range(x.shape[1])
            ]
            for i in range(x.shape[1])
        ]
    )
    return mean, covariance, np.sum(w)


def batch_whitening(x, w, state, training, momentum, rule, regularized, **how):
    """W (x - mean) for consecutive groups of channels, and the new state.

    Args:
        x: (N, P, C).
        w: weights of the same shape, the same for all channels.
        state: moving_mean (C,), and moving_matrix, or moving_covariance and
            whitening_matrix, (groups, size, size). The last group uses the
            first rows and columns.
        training: use the batch and move the state.
        momentum: fraction kept.
        rule: sigma -> W.
        regularized: covariance -> sigma.
        **how: `unbiased`: divide the covariance by m - 1; `raw`: the state
            keeps the covariance, not sigma.
    """
    if w.size and np.any(w != w[..., :1]):
        raise ValueError("A mask must be the same for all channels.")
    channels = x.shape[-1]
    points = x.reshape(-1, channels)
    point_weights = w[..., 0].ravel()
    keeps_matrix = "moving_matrix" in state
    kept = "moving_matrix" if keeps_matrix else "moving_covariance"
    acting = "moving_matrix" if keeps_matrix else "whitening_matrix"
    size = state[kept].shape[-1]
    new = {name: np.array(value) for name, value in state.items()}
    whitened = np.zeros(points.shape)
    for group, first in enumerate(range(0, channels, size)):
        members = slice(first, min(first + size, channels))
        values = points[:, members]
        d = values.shape[1]
        block = (group, slice(d), slice(d))
        if training:
            mean, covariance, total = whitening_moments(values, point_weights)
            if total == 0:
                continue
            if how.get("unbiased"):
                covariance = covariance * bessel(total)
            sigma = regularized(covariance)
            matrix = rule(sigma)
            new["moving_mean"][members] = moving_average(
                state["moving_mean"][members], mean, total, momentum
            )
            what = covariance if how.get("raw") else sigma
            new[kept][block] = moving_average(
                state[kept][block],
                matrix if keeps_matrix else what,
                total,
                momentum,
            )
            if not keeps_matrix:
                moved = new[kept][block]
                moved = regularized(moved) if how.get("raw") else moved
                new["whitening_matrix"][block] = rule(moved)
        else:
            mean = state["moving_mean"][members]
            matrix = state[acting][block]
        whitened[:, members] = (values - mean) @ matrix.T
    return whitened.reshape(x.shape), new


def decorrelated_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma W (x - mean) + beta (activations.md 22).

    Per contiguous group of group_size channels (the last may be smaller):
    Sigma = E[(x-mean)(x-mean)^T] + eps I and W by `whitening`. State: moving
    mean, and moving Sigma with the W that belongs to it, or moving W.
    """
    s = settings(
        config,
        group_size=16,
        whitening="zca",
        iterations=5,
        axis=-1,
        momentum=0.9,
        epsilon=1e-3,
        running="covariance",
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("DecorrelatedBatchNormalization", config, shape, state)
    y, new = batch_whitening(
        x,
        w,
        state,
        training,
        s.momentum,
        matrix_rule(s.whitening, s.iterations),
        lambda covariance: covariance + s.epsilon * np.eye(len(covariance)),
    )
    return from_npc(affine(y, weights, s), s.axis, shape), new


def iterative_normalization(
    inputs, config, weights, state, training, mask=None
):
    """The same by Newton steps, with other defaults (activations.md 24)."""
    defaults = {"group_size": 64, "epsilon": 1e-5, "running": "matrix"}
    config = {**defaults, **config, "whitening": "iterative"}
    return decorrelated_batch_normalization(
        inputs, config, weights, state, training, mask
    )


def whitening_coloring_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y_n = W (x_n - mean) @ color_n + bias_n (activations.md 23).

    cov = sum (x-mean)(x-mean)^T / (m-1), Sigma = (1-eps) cov + eps I,
    W = R^(-1) of Sigma = R R^T, or (Sigma + eps I)^(-1/2). With classes
    color_n = color + sum_k c_nk class_color[k] (made of sum_b code[k, b]
    basis[b] with bases), bias_n = bias + sum_k c_nk class_bias[k].
    """
    s = settings(
        config,
        num_classes=None,
        num_bases=None,
        whitening="cholesky",
        axis=-1,
        momentum=0.99,
        epsilon=1e-3,
        use_bias=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    channels = x.shape[-1]
    state = start("WhiteningColoringBatchNormalization", config, shape, state)
    eye = np.eye(channels)
    again = s.epsilon if s.whitening == "zca" else 0.0
    y, new = batch_whitening(
        x,
        w,
        state,
        training,
        s.momentum,
        lambda sigma: matrix_rule(s.whitening, 0)(sigma + again * eye),
        lambda covariance: (1 - s.epsilon) * covariance + s.epsilon * eye,
        unbiased=True,
        raw=True,
    )
    weights = {k: np.asarray(v, dtype="float64") for k, v in weights.items()}
    samples = len(x)
    color = np.broadcast_to(weights.get("color", eye), (samples, *eye.shape))
    bias = np.broadcast_to(weights.get("bias", 0.0), (samples, channels))
    if s.num_classes is not None:
        c = condition_features(inputs[1], {}, s.num_classes)
        if s.num_bases is not None and "class_code" in weights:
            code = c @ weights["class_code"]
            more = np.einsum("nb,bij->nij", code, weights["color_basis"])
            color = color + more
        elif "class_color" in weights:
            color = color + np.einsum("nk,kij->nij", c, weights["class_color"])
        if "class_bias" in weights:
            bias = bias + c @ weights["class_bias"]
    y = np.einsum("npi,nij->npj", y, color) + bias[:, None, :]
    return from_npc(y, s.axis, shape), new
