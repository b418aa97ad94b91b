"""Rank collapse: in how many directions the results of layers extend.

Daneshmand et al., 2020, https://arxiv.org/abs/2003.01652; Roy & Vetterli, 2007
"""

from typing import NamedTuple

import keras
import numpy as np

from keras_norm.analysis import spectra
from keras_norm.models.layer_choice import channels_first
from keras_norm.models.layer_choice import chosen_layers
from keras_norm.models.layer_records import recorded
from keras_norm.models.layer_records import rows_of


class LayerRank(NamedTuple):
    """Ranks of the results of one call of a layer.

    Args:
        name: of the layer, after those of what it is in.
        singular_values: s, of the matrix of results, in descending order.
        rank: how many are not 0 but for rounding.
        stable_rank: sum(s^2) / max(s)^2.
        effective_rank: exp(-sum(p log p)), p = s / sum(s).
        participation_ratio: sum(s^2)^2 / sum(s^4).
    """

    name: str
    singular_values: np.ndarray
    rank: int
    stable_rank: float
    effective_rank: float
    participation_ratio: float


class LayerRanks(tuple):
    """`LayerRank`s in the order in which the layers are called."""

    __slots__ = ()

    def plot(self, ax=None):
        """The ranks over the layers.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from keras_norm.analysis import plots

        ax = plots.axes(ax)
        for kind in ("rank", "effective_rank", "stable_rank"):
            values = [getattr(entry, kind) for entry in self]
            ax.plot(values, "o-", label=kind.replace("_", " "))
        plots.named(ax, [entry.name for entry in self])
        ax.set_ylim(bottom=0)
        ax.legend()
        return ax


def effective_rank(
    model: keras.Model,
    x,
    layers=None,
    training: bool = True,
    center: bool = False,
    flatten: bool = False,
) -> LayerRanks:
    """Ranks of the matrix of a batch's results, layer by layer.

        stable rank = ||H||_F^2 / ||H||_2^2
        effective rank = exp(-sum_i p_i log p_i),  p_i = s_i / sum_j s_j

    H: a row for each sample, a column for each channel; s: its singular
    values. Both are 1 where all samples lie on one line through 0, as they do
    after many layers of random weights: rank collapse, through which gradients
    say nothing about differences between samples. Batch normalization keeps
    the rank of the order of the root of the width.

    Args:
        model: a built model.
        x: one batch of inputs.
        layers: which ones: a name, a layer, a class, several of these, or a
            function of a layer, also of layers within others. None: those of
            the model and of models within it.
        training: as in a training step, where batch normalization uses the
            batch, or as at inference.
        center: subtract the mean of each channel first.
        flatten: a row for each sample, with positions beside channels; False:
            a row for each position of each sample.

    Returns:
        A tuple of `LayerRank`, one for each call of a layer, of floats and
        float64 arrays; `.plot()`. The model is as it was.

    Raises:
        ValueError: a model that is not built, `layers` that are not there.

    Example: linear layers lose what one of them has lost.

    >>> import numpy as np
    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([keras.Input((4,))] + [
    ...     keras.layers.Dense(n, kernel_initializer="identity")
    ...     for n in (4, 2, 3)])
    >>> x = np.diag([3.0, 2.0, 1.0, 0.0]).astype("float32")
    >>> found = kn.analysis.effective_rank(model, x)
    >>> [entry.rank for entry in found]
    [3, 2, 2]
    >>> print(f"{found[0].stable_rank:.3f} {found[0].effective_rank:.3f}")
    1.556 2.749

    Reference:

    - Daneshmand, Kohler, Bach, Hofmann & Lucchi, Batch Normalization Provably
      Avoids Ranks Collapse for Randomly Initialised Deep Networks, NeurIPS
      2020, https://arxiv.org/abs/2003.01652
    - Roy & Vetterli, The effective rank: A measure of effective
      dimensionality, EUSIPCO 2007

    Note: the first paper bounds the rank from below by the participation
    ratio (its r(H), in linear networks) and does not center. Singular values
    below the rounding of float32 count as 0.
    """
    chosen = chosen_layers(model, layers)
    first = channels_first(model)
    found = []
    for record in recorded(model, x, chosen, training):
        rows = rows_of(record.layer, record.outputs, flatten, first)
        if center:
            rows = rows - rows.mean(axis=0)
        found.append(ranks(record.name, rows))
    return LayerRanks(found)


def ranks(name, rows) -> LayerRank:
    """Those of a matrix; all are 0 where it is."""
    squares = spectra.second_moments(rows)[: min(rows.shape)] * len(rows)
    values = np.sqrt(squares)
    tolerance = max(rows.shape) * np.finfo("float32").eps
    rank = int(np.sum(values > tolerance * values[:1]))
    if not rank:
        return LayerRank(name, values, 0, 0.0, 0.0, 0.0)
    shares = values[values > 0] / values.sum()
    return LayerRank(
        name,
        values,
        rank,
        float(squares.sum() / squares[0]),
        float(np.exp(-np.sum(shares * np.log(shares)))),
        float(squares.sum() ** 2 / np.sum(squares**2)),
    )
