"""Chapter whitening: iterative normalization."""

import numpy as np

from .common import affine
from .common import from_npc
from .common import moving_average
from .common import prepare
from .common import settings
from .common import weighted_mean
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


def whitening_moments(x, w, epsilon):
    """Mean, covariance + eps I, total weight of (M, d) points."""
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
    return mean, covariance + epsilon * np.eye(x.shape[1]), np.sum(w)


def iterative_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma W (x - mean) + beta (activations.md 24).

    Per contiguous group of group_size channels (the last may be smaller):
    Sigma = E[(x-mean)(x-mean)^T] + eps I, W: `iterations` Newton steps.
    State: moving mean and moving W.
    """
    s = settings(
        config,
        group_size=64,
        iterations=5,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    if w.size and np.any(w != w[..., :1]):
        raise ValueError("A mask must be the same for all channels.")
    state = start("IterativeNormalization", config, shape, state)
    channels = x.shape[-1]
    points = x.reshape(-1, channels)
    point_weights = w[..., 0].ravel()
    size = state["moving_matrix"].shape[-1]

    new = {
        "moving_mean": state["moving_mean"].copy(),
        "moving_matrix": state["moving_matrix"].copy(),
    }
    whitened = np.zeros(points.shape)
    for group, first in enumerate(range(0, channels, size)):
        members = slice(first, min(first + size, channels))
        values = points[:, members]
        d = values.shape[1]
        if training:
            mean, sigma, total = whitening_moments(
                values, point_weights, s.epsilon
            )
            if total == 0:
                continue
            matrix = newton_inverse_root(sigma, s.iterations)
            new["moving_mean"][members] = moving_average(
                state["moving_mean"][members], mean, total, s.momentum
            )
            new["moving_matrix"][group, :d, :d] = moving_average(
                state["moving_matrix"][group, :d, :d],
                matrix,
                total,
                s.momentum,
            )
        else:
            mean = state["moving_mean"][members]
            matrix = state["moving_matrix"][group, :d, :d]
        whitened[:, members] = (values - mean) @ matrix.T
    y = affine(whitened.reshape(x.shape), weights, s)
    return from_npc(y, s.axis, shape), new
