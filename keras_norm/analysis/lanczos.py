"""Eigenvalues of a symmetric matrix of which products alone are known."""

import numpy as np

# Of the largest product seen: below it a new direction is rounding.
NOISE = 1e-6


def unit(vector):
    """The vector, of length 1."""
    return vector / np.linalg.norm(vector)


def without(vector, basis):
    """What is left of a vector beside orthonormal rows; twice is enough."""
    for _ in range(2 if len(basis) else 0):
        vector = vector - (basis @ vector) @ basis
    return vector


class Tridiagonal:
    """Lanczos' tridiagonal matrix, step by step, fully reorthogonalized.

    Args:
        product: function of a vector, A v.
        start: the first vector.
        steps: at most so many.
        rng: draws another start where the space of the first is exhausted;
            None: it ends there.
    """

    def __init__(self, product, start, steps, rng=None):
        self.product, self.rng = product, rng
        steps = min(steps, len(start))
        self.basis = np.zeros((steps, len(start)))
        self.next = unit(start)
        self.diagonal: list = []
        self.beside: list = []
        self.scale = 0.0

    def steps(self):
        """Take them; yields after each."""
        for number in range(len(self.basis)):
            v = self.basis[number] = self.next
            known = self.basis[: number + 1]
            image = self.product(v)
            self.scale = max(self.scale, float(np.linalg.norm(image)))
            self.diagonal.append(float(v @ image))
            rest = without(image, known)
            length = float(np.linalg.norm(rest))
            done = length <= NOISE * self.scale
            self.beside.append(0.0 if done else length)
            if done and self.rng is not None and number + 1 < len(v):
                rest = without(self.rng.normal(size=len(v)), known)
                done = False
            yield
            if done:
                return
            self.next = unit(without(rest, known))

    def ritz(self):
        """(Ritz values, their vectors in the basis as columns)."""
        beside = self.beside[:-1]
        matrix = np.diag(self.diagonal) + np.diag(beside, 1)
        return np.linalg.eigh(matrix + np.diag(beside, -1))


def lanczos(product, size, count, steps, tolerance, rng):
    """The eigenvalues of largest magnitude.

    Args:
        product: function of a vector, A v.
        size: of the vectors.
        count: how many eigenvalues.
        steps: at most so many products.
        tolerance: residual at which an eigenvalue is found, as a fraction of
            the largest.
        rng: draws the start.

    Returns:
        (eigenvalues, residuals), of descending magnitude.
    """
    run = Tridiagonal(product, rng.normal(size=size), steps, rng)
    values, residuals = np.zeros(0), np.zeros(0)
    for number, _ in enumerate(run.steps(), 1):
        if number < count:
            continue
        values, vectors = run.ritz()
        order = np.argsort(-np.abs(values))[:count]
        residuals = run.beside[-1] * np.abs(vectors[-1, order])
        values = values[order]
        # A lucky start may miss all but a few: two more steps are a proof.
        if number >= min(size, count + 2) and np.all(
            residuals <= tolerance * np.abs(values[0])
        ):
            break
    return values, residuals


def power_iteration(product, size, count, steps, tolerance, rng):
    """The same by v <- A v / ||A v||, one after the other with deflation."""
    basis = np.zeros((0, size))
    values: list = []
    residuals: list = []
    for _ in range(count):
        v = unit(without(rng.normal(size=size), basis))
        for _ in range(steps):
            image = without(product(v), basis)
            value = float(v @ image)
            residual = float(np.linalg.norm(image - value * v))
            length = np.linalg.norm(image)
            largest = max(map(abs, (value, *values)))
            if residual <= tolerance * largest or not length:
                break
            v = unit(without(image, basis))
        basis = np.concatenate([basis, v[None]])
        values.append(value)
        residuals.append(residual)
    order = np.argsort(-np.abs(values))
    return np.asarray(values)[order], np.asarray(residuals)[order]


def quadrature(product, starts, steps, progress=None):
    """Nodes and weights of the spectral density as a start sees it.

    Args:
        product: function of a vector, A v.
        starts: vectors.
        steps: nodes of each.
        progress: called with the number of starts done.

    Returns:
        (nodes, weights), each (starts, steps); the weights of a start add up
        to 1. Where its space is exhausted before, nodes of weight 0 follow.
    """
    shape = len(starts), min(steps, len(starts[0]))
    nodes, weights = np.zeros(shape), np.zeros(shape)
    for number, start in enumerate(starts):
        run = Tridiagonal(product, start, steps)
        for _ in run.steps():
            pass
        values, vectors = run.ritz()
        nodes[number, : len(values)] = values
        weights[number, : len(values)] = vectors[0] ** 2
        if progress:
            progress(number + 1)
    return nodes, weights
