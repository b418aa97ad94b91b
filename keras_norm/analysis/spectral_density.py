"""The spectrum of a curvature matrix, as numbers and as a picture."""

import dataclasses

import numpy as np

from keras_norm import errors
from keras_norm.analysis import plots


@dataclasses.dataclass(frozen=True, eq=False)
class Curvature:
    """The spectrum of a matrix of the size of all weights.

    Args:
        matrix: which matrix.
        size: n, number of weights.
        eigenvalues: (k,), largest magnitude first.
        residuals: (k,), ||A v - lambda v||: some eigenvalue is as near as that.
        nodes: (probes, steps), of the density; None without.
        weights: (probes, steps), their shares; those of a probe add up to 1.
        trace: n times the mean of the density, Hutchinson's estimate.
        trace_error: standard error of it.
    """

    matrix: str
    size: int
    eigenvalues: np.ndarray
    residuals: np.ndarray
    nodes: np.ndarray | None = None
    weights: np.ndarray | None = None
    trace: float | None = None
    trace_error: float | None = None

    def smoothed(self, points=400, width=0.01):
        """The density as a sum of bells.

        Args:
            points: how many eigenvalues to give it at.
            width: standard deviation of a bell, as a fraction of the range.

        Returns:
            (eigenvalues, density), each (points,); its integral is 1.

        Raises:
            ValueError: the density has not been asked for.
        """
        if self.nodes is None or self.weights is None:
            raise errors.received(
                "`density` must be True in `curvature` for that.",
                density=False,
            )
        seen = self.nodes[self.weights > 0]
        low, high = float(np.min(seen)), float(np.max(seen))
        sigma = width * max(high - low, 1e-6 * max(abs(low), abs(high), 1e-6))
        grid = np.linspace(low - 5 * sigma, high + 5 * sigma, points)
        apart = (grid[:, None, None] - self.nodes) / sigma
        bells = np.exp(-0.5 * apart**2) / (sigma * np.sqrt(2 * np.pi))
        density = np.sum(self.weights * bells, axis=(1, 2)) / len(self.nodes)
        return grid, density

    def plot(self, ax=None):
        """The density where there is one, and the largest eigenvalues.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        ax = plots.axes(ax)
        if self.nodes is None:
            ax.plot(self.eigenvalues, "o")
            ax.set_ylabel("eigenvalue")
            return ax
        grid, density = self.smoothed()
        # The logarithmic axis has no 0.
        least = 1e-6 * np.max(density)
        ax.semilogy(grid, np.maximum(density, least), label="density")
        ax.plot(self.eigenvalues, np.full(len(self.eigenvalues), least), "^")
        ax.set_xlabel("eigenvalue")
        return ax
