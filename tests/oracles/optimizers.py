"""Steps on manifolds in NumPy float64, from the formulas.

X (n, p) as in the literature: its columns are the output neurons.
"""

import numpy as np


def symmetric(a):
    return (a + a.T) / 2


def tangent(manifold, x, g):
    """The part of g that is tangent at x."""
    if manifold == "stiefel":
        return g - x @ symmetric(x.T @ g)
    if manifold == "oblique":
        return g - x * np.sum(x * g, axis=0)
    return g - x @ (x.T @ g)


def by_qr(y):
    q, r = np.linalg.qr(y)
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)


def by_polar(y):
    u, _, v = np.linalg.svd(y, full_matrices=False)
    return u @ v


def unit(y):
    return y / np.linalg.norm(y, axis=0)


def retract(retraction, x, d):
    """The point that direction d leads to."""
    if retraction == "geodesic":
        angle = np.linalg.norm(d, axis=0)
        # sin(t) / t, also at 0.
        return x * np.cos(angle) + d * np.sinc(angle / np.pi)
    function = {"qr": by_qr, "polar": by_polar, "normalize": unit}[retraction]
    return function(x + d)


class SGD:
    """w <- w + m, m <- momentum m - rate g."""

    def __init__(self, momentum=0.0):
        self.momentum, self.m = momentum, 0.0

    def step(self, g, rate):
        self.m = self.momentum * self.m - rate * g
        return self.m


class Adam:
    """As Keras': epsilon outside the root, beside the uncorrected one."""

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.m = self.v = 0.0
        self.t = 0

    def step(self, g, rate):
        self.t += 1
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        first, second = 1 - self.beta_1**self.t, 1 - self.beta_2**self.t
        rate = rate * np.sqrt(second) / first
        return -rate * self.m / (np.sqrt(self.v) + self.epsilon)


def riemannian(manifold, retraction, x, g, inner, rate):
    """One step: X after it."""
    d = inner.step(tangent(manifold, x, g), rate)
    return retract(retraction, x, tangent(manifold, x, d))


def cayley(x, w, rate):
    """(I - rate W / 2)^(-1) (I + rate W / 2) X, what the iteration tends to."""
    eye = np.eye(len(x))
    return np.linalg.solve(eye - rate / 2 * w, (eye + rate / 2 * w) @ x)


def iterated(x, w, start, rate, steps):
    y = x + rate * start
    for _ in range(steps):
        y = x + rate / 2 * w @ (x + y)
    return y


def skew(x, m):
    a = m @ x.T - x @ (x.T @ m @ x.T) / 2
    return a - a.T


def step_size(w, rate, q):
    largest = np.max(np.sum(np.abs(w), axis=0))
    return min(2 * q / (largest + 1e-8), rate)


class CayleySGD:
    """Li et al. 2020, algorithm 1."""

    def __init__(self, rate, momentum=0.0, q=0.5, steps=5):
        self.rate, self.momentum, self.q, self.steps = rate, momentum, q, steps
        self.m = 0.0

    def step(self, x, g):
        x = x / (np.linalg.norm(x, axis=0) + 1e-8)
        m = self.momentum * self.m - g
        w = skew(x, m)
        rate = step_size(w, self.rate, self.q)
        self.m = w @ x
        return iterated(x, w, m, rate, self.steps)


class CayleyAdam:
    """Li et al. 2020, algorithm 2."""

    def __init__(
        self, rate, beta_1=0.9, beta_2=0.99, epsilon=1e-8, q=0.5, steps=5
    ):
        self.rate, self.q, self.steps = rate, q, steps
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.m = self.v = 0.0
        self.t = 0

    def step(self, x, g):
        x = x / (np.linalg.norm(x, axis=0) + 1e-8)
        self.t += 1
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * np.sum(g**2)
        first, second = 1 - self.beta_1**self.t, 1 - self.beta_2**self.t
        root = np.sqrt(self.v / second + self.epsilon)
        w = skew(x, self.m / first) / root
        rate = step_size(w, self.rate, self.q)
        y = iterated(x, w, self.m, -rate, self.steps)
        self.m = w @ x * root * first
        return y
