"""How signals and gradients change from layer to layer.

Criterion 1 of Huang et al., 2020, https://arxiv.org/abs/2009.12836; Yang et
al., 2019, https://arxiv.org/abs/1902.08129
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from keras_norm.analysis.model_losses import ModelLoss
from keras_norm.analysis.output_gradients import output_gradients
from keras_norm.models.layer_choice import channels_first
from keras_norm.models.layer_choice import chosen_layers
from keras_norm.models.layer_records import recorded
from keras_norm.models.layer_records import rows_of


class LayerPropagation(NamedTuple):
    """Signals at one call of a layer.

    Args:
        name: of the layer, after those of what it is in.
        mean: (channels,), of the results h over samples and positions.
        variance: (channels,), likewise.
        mean_square: of all entries of h.
        similarity: mean cosine of the angle between the results of two
            samples; NaN of one sample.
        gradient_mean_square: of all entries of g, the gradients of each
            sample's loss with respect to h; NaN without a loss.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray
    mean_square: float
    similarity: float
    gradient_mean_square: float


class SignalPropagation(tuple):
    """`LayerPropagation`s in the order in which the layers are called."""

    __slots__ = ()

    @property
    def forward_ratios(self) -> np.ndarray:
        """(layers - 1,), mean square of h after a layer over that before."""
        return ratios([entry.mean_square for entry in self])

    @property
    def backward_ratios(self) -> np.ndarray:
        """(layers - 1,), mean square of g before a layer over that after."""
        backward = [entry.gradient_mean_square for entry in reversed(self)]
        return ratios(backward)[::-1]

    def plot(self, ax=None):
        """Mean squares of signals and gradients over the layers.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from keras_norm.analysis import plots

        ax = plots.axes(ax)
        for kind, label in (
            ("mean_square", "signals"),
            ("gradient_mean_square", "gradients"),
        ):
            values = np.array([getattr(entry, kind) for entry in self])
            if np.any(values > 0):
                ax.plot(values, "o-", label=label)
        ax.set_yscale("log")
        plots.named(ax, [entry.name for entry in self])
        ax.set_ylabel("mean square")
        ax.legend()
        return ax


def ratios(values) -> np.ndarray:
    """Each value over the one before."""
    values = np.asarray(values, "float64")
    with np.errstate(divide="ignore", invalid="ignore"):
        return values[1:] / values[:-1]


def signal_propagation(
    model: keras.Model,
    x,
    y=None,
    loss=None,
    layers=None,
    training: bool = True,
) -> SignalPropagation:
    """Means and mean squares of results and gradients, layer by layer.

        E[h_l], Var[h_l], E[h_l^2] forward; E[(dL/dh_l)^2] backward

    In a network that can be trained they stay of one order of magnitude from
    layer to layer; normalization sees to that forward. Ratios of consecutive
    layers far from 1, to the power of the depth, are signals and gradients
    that vanish or explode: in a deep network of batch normalization the
    gradients, by about pi / (pi - 1) for each ReLU layer at initialization.

    Args:
        model: a built model.
        x: one batch of inputs.
        y: its targets; None: nothing of gradients.
        loss: a Keras loss, its name, or a function of (targets, outputs);
            None: what the model is compiled with.
        layers: which ones: a name, a layer, a class, several of these, or a
            function of a layer, also of layers within others. None: those of
            the model and of models within it.
        training: as in a training step, where batch normalization uses the
            batch, or as at inference.

    Returns:
        A tuple of `LayerPropagation`, one for each call of a layer, of floats
        and float64 arrays; `.forward_ratios`, `.backward_ratios`, `.plot()`.
        The model is as it was.

    Raises:
        ValueError: a model that is not built, `layers` that are not there, no
            loss for given `y`.

    Example: a layer that doubles everything, forward and backward.

    >>> import numpy as np
    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([keras.Input((4,))] + [
    ...     keras.layers.Dense(4, kernel_initializer=keras.initializers.
    ...     Identity(2.0)) for _ in range(3)])
    >>> x = np.ones((5, 4), "float32")
    >>> found = kn.analysis.signal_propagation(model, x, x, "mse")
    >>> [entry.mean_square for entry in found]
    [4.0, 16.0, 64.0]
    >>> print(found.forward_ratios, found.backward_ratios)
    [4. 4.] [4. 4.]

    Reference:

    - Huang et al., Normalization Techniques in Training DNNs: Methodology,
      Analysis and Application, 2020, https://arxiv.org/abs/2009.12836
    - Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz, A Mean Field Theory
      of Batch Normalization, ICLR 2019, https://arxiv.org/abs/1902.08129

    Note: a loss is taken to be a mean over the samples, and g to be the number
    of samples times its gradient: that of each sample's own loss, where
    samples do not meet in statistics.
    """
    chosen = chosen_layers(model, layers)
    first = channels_first(model)
    records = recorded(model, x, chosen, training)
    squares = [np.nan] * len(records)
    if y is not None:
        number = len(tree.flatten(x)[0])
        loss = ModelLoss(model, x, y, loss, training)
        gradients = output_gradients(loss, chosen, records)
        squares = [float(np.mean((number * g) ** 2)) for g in gradients]
    found = []
    for record, square in zip(records, squares, strict=True):
        rows = rows_of(record.layer, record.outputs, first=first)
        found.append(
            LayerPropagation(
                record.name,
                rows.mean(axis=0),
                rows.var(axis=0),
                float(np.mean(rows**2)),
                similarity(record.outputs),
                square,
            )
        )
    return SignalPropagation(found)


def similarity(values) -> float:
    """Mean cosine between two different samples, zeros left out."""
    rows = np.reshape(values, (len(values), -1))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = (rows / np.where(lengths > 0, lengths, 1.0))[lengths[:, 0] > 0]
    n = len(rows)
    if n < 2:
        return float("nan")
    return float((np.sum(rows.sum(axis=0) ** 2) - n) / (n * (n - 1)))
