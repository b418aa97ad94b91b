"""Normalized gradients and trust ratios in NumPy float64, from the formulas.

`reduced` are the axes over which the weights of one output neuron run.
"""

import numpy as np


def norm(a, reduced=None):
    return np.sqrt(np.sum(a**2, axis=reduced, keepdims=reduced is not None))


def centralized(g, reduced):
    """Yong et al. 2020."""
    return g - np.mean(g, axis=reduced, keepdims=True)


def clipped(g, w, reduced, clipping, epsilon):
    """Brock et al. 2021, equation 3; a vector is one unit."""
    reduced = tuple(range(g.ndim)) if reduced is None else reduced
    limit = clipping * np.maximum(norm(w, reduced), epsilon)
    size = norm(g, reduced)
    return np.where(size > limit, g * limit / np.maximum(size, 1e-6), g)


def normalized(gradients, weights=None, ratio=None):
    """Yu et al. 2017, of one block: lists of arrays."""
    size = np.sqrt(sum(np.sum(g**2) for g in gradients))
    if size == 0:
        return [0.0 * g for g in gradients]
    length = 1.0
    if ratio is not None:
        w = np.sqrt(sum(np.sum(w**2) for w in weights))
        length = ratio * max(w, 1e-3)
    return [length * g / size for g in gradients]


class SGD:
    """v <- momentum v + g + l2 w, w <- w - rate v; the gradient by a rule."""

    def __init__(self, rate, momentum=0.0, l2=0.0, rule=lambda g, w: g):
        self.rate, self.momentum, self.l2 = rate, momentum, l2
        self.rule, self.v = rule, 0.0

    def step(self, w, g):
        g = self.rule(g + self.l2 * w, w)
        self.v = self.momentum * self.v + g
        return w - self.rate * self.v


class Direction:
    """Of Adam: m / (1 - b^t) / (sqrt(v / (1 - b^t)) + epsilon)."""

    def __init__(
        self, betas=(0.9, 0.999), epsilon=1e-6, corrected=True, averaging=True
    ):
        self.betas, self.epsilon = betas, epsilon
        self.corrected = corrected
        self.share = 1 - betas[0] if averaging else 1.0
        self.m = self.v = self.t = 0

    def __call__(self, g):
        first, second = self.betas
        self.t += 1
        self.m = first * self.m + self.share * g
        self.v = second * self.v + (1 - second) * g**2
        m, v = self.m, self.v
        if self.corrected:
            m, v = m / (1 - first**self.t), v / (1 - second**self.t)
        return m / (np.sqrt(v) + self.epsilon)


class Adam:
    """The direction of Adam by a rule: w <- w - rate rule(u)."""

    def __init__(self, rate, l2=0.0, rule=lambda u, w: u, **options):
        self.rate, self.l2, self.rule = rate, l2, rule
        self.direction = Direction(**options)

    def step(self, w, g):
        u = self.direction(g + self.l2 * w)
        return w - self.rate * self.rule(u, w)


class LARS:
    """You et al. 2017, algorithm 1, and what programs make of it.

    `rates` are those of the steps.
    """

    def __init__(
        self,
        rates,
        momentum=0.9,
        l2=0.0,
        trust=1e-3,
        epsilon=0.0,
        nesterov=False,
        clip=False,
        denominator="sum",
        position="before",
        adapt=True,
    ):
        self.rates, self.momentum, self.l2 = list(rates), momentum, l2
        self.trust, self.epsilon, self.nesterov = trust, epsilon, nesterov
        self.clip, self.denominator = clip, denominator
        self.position, self.adapt, self.v = position, adapt, 0.0

    def ratio(self, w, g, rate):
        below = norm(g) + self.l2 * norm(w)
        if self.denominator == "norm_of_sum":
            below = norm(g + self.l2 * w)
        if norm(w) == 0 or norm(g) == 0:
            found = 1.0
        else:
            found = self.trust * norm(w) / (below + self.epsilon)
        return min(found / rate, 1.0) if self.clip else found

    def step(self, w, g):
        rate = self.rates.pop(0)
        d = g + self.l2 * w
        if self.adapt:
            d = self.ratio(w, g, rate) * d
        before, after = (rate, 1.0) if self.position == "before" else (1, rate)
        self.v = self.momentum * self.v + before * d
        u = before * d + self.momentum * self.v if self.nesterov else self.v
        return w - after * u


class LAMB:
    """You et al. 2020, algorithm 2."""

    def __init__(self, rate, decay=0.0, bounds=None, adapt=True, **options):
        self.rate, self.decay, self.bounds = rate, decay, bounds
        self.adapt, self.direction = adapt, Direction(**options)

    def step(self, w, g):
        u = self.direction(g) + self.decay * w
        ratio = 1.0
        if self.adapt and norm(w) and norm(u):
            ratio = np.clip(norm(w), *(self.bounds or (0, np.inf))) / norm(u)
        return w - self.rate * ratio * u


class WNGrad:
    """Wu et al. 2018, of one block: lists of arrays."""

    def __init__(self, rate=1.0, initial=1.0):
        self.rate, self.b = rate, initial

    def step(self, weights, gradients):
        square = sum(np.sum((self.rate * g) ** 2) for g in gradients)
        self.b = self.b + square / self.b
        pairs = zip(weights, gradients, strict=True)
        return [w - self.rate * g / self.b for w, g in pairs]
