"""Layer-wise conditioning: covariances of inputs and of output gradients.

Huang et al., 2020, https://arxiv.org/abs/2002.10801
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from keras_norm import errors
from keras_norm.analysis import spectra
from keras_norm.analysis.layer_inputs import input_rows
from keras_norm.analysis.layer_inputs import is_linear
from keras_norm.analysis.model_losses import ModelLoss
from keras_norm.analysis.output_gradients import output_gradients
from keras_norm.models.layer_choice import chosen_layers
from keras_norm.models.layer_records import recorded
from keras_norm.models.layer_records import rows_of


class LayerConditioning(NamedTuple):
    """Spectra at one call of a layer h = W^T x.

    Args:
        name: of the layer, after those of what it is in.
        rows: samples, times positions, that the means are over.
        inputs: (d,), eigenvalues of Sigma_x, in descending order.
        gradients: (outputs,), those of Sigma_g.
        input_condition: (percentiles,), condition numbers of Sigma_x.
        gradient_condition: (percentiles,), those of Sigma_g.
        condition: (percentiles,), those of the product F.
    """

    name: str
    rows: int
    inputs: np.ndarray
    gradients: np.ndarray
    input_condition: np.ndarray
    gradient_condition: np.ndarray
    condition: np.ndarray

    @property
    def largest(self) -> float:
        """The largest eigenvalue of F."""
        return float(self.inputs[0] * self.gradients[0])


class Conditioning(tuple):
    """`LayerConditioning`s in the order in which the layers are called.

    Args:
        entries: these.
        percentiles: of which the condition numbers are.
    """

    percentiles: tuple

    def __new__(cls, entries, percentiles):
        """A tuple that knows its percentiles."""
        made = super().__new__(cls, entries)
        made.percentiles = tuple(percentiles)
        return made

    def plot(self, ax=None):
        """Condition numbers over the layers; infinite ones are left out.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from keras_norm.analysis import plots

        ax = plots.axes(ax)
        for kind, style in (("input", "o-"), ("gradient", "x--")):
            values = [getattr(entry, f"{kind}_condition") for entry in self]
            for share, line in zip(
                self.percentiles, np.transpose(values), strict=True
            ):
                line = np.where(np.isfinite(line), line, np.nan)
                ax.plot(line, style, label=f"{kind}s, {share:.0%}")
        ax.set_yscale("log")
        plots.named(ax, [entry.name for entry in self])
        ax.set_ylabel("condition number")
        ax.legend()
        return ax


def conditioning(
    model: keras.Model,
    x,
    y,
    loss=None,
    layers=None,
    percentiles=(1.0, 0.8, 0.5),
    bias: bool = False,
    training: bool = True,
) -> Conditioning:
    """Condition numbers of the curvature, layer by layer.

        Sigma_x = E[x x^T],  Sigma_g = E[g g^T],  F = Sigma_x (x) Sigma_g
        condition at p = largest eigenvalue / eigenvalue at p of the spectrum

    x: inputs of a layer h = W^T x + b; g = dL/dh, before the activation; F:
    the layer's block of the Fisher matrix, taken for a Kronecker product, whose
    eigenvalues are all products of those of the two. Training is fast where
    both are close to multiples of the identity, the second criterion of the
    survey: whitened inputs have a condition of 1. The largest eigenvalue
    bounds the learning rate.

    Args:
        model: a built model.
        x: one batch of inputs; with fewer samples (times positions) than a
            layer has inputs, eigenvalues are 0, and conditions infinite.
        y: its targets. Labels make the empirical Fisher matrix; drawn from
            the model's own predictions, the Fisher matrix.
        loss: a Keras loss, its name, or a function of (targets, outputs);
            None: what the model is compiled with.
        layers: which ones: a name, a layer, a class, several of these, or a
            function of a layer. None: all dense layers and convolutions
            (without groups of channels), also those within other layers, but
            not within recurrent ones.
        percentiles: parts of the spectrum, in (0, 1]: at 0.8 the eigenvalue
            that 80 % are not below counts as the least, at 1.0 the least.
        bias: give x one more entry, 1, as for the bias of the layer.
        training: as in a training step, where batch normalization uses the
            batch, or as at inference.

    Returns:
        A tuple of `LayerConditioning`, one for each call of a layer, of
        float64 arrays; `.percentiles`, `.plot()`. The model is as it was.

    Raises:
        ValueError: a model that is not built, `layers` that are not there or
            are of another kind, no loss, percentiles outside of (0, 1].

    Example: inputs twice as large along the first axis as along the second.

    >>> import numpy as np
    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0]], "float32")
    >>> y = np.zeros((2, 1), "float32")
    >>> found = kn.analysis.conditioning(model, x, y, "mse")
    >>> print(found[0].inputs, found[0].input_condition)
    [2.  0.5] [4. 4. 1.]

    Reference:

    - Huang, Qin, Liu, Zhu & Shao, Layer-wise Conditioning Analysis in
      Exploring the Learning Dynamics of DNNs, ECCV 2020,
      https://arxiv.org/abs/2002.10801
    - Martens & Grosse, Optimizing Neural Networks with Kronecker-factored
      Approximate Curvature, ICML 2015, https://arxiv.org/abs/1503.05671

    Note: nothing is centered. Of a convolution x are patches, and both means
    run over positions as well. g is the number of samples times the gradient
    of the loss, taken to be a mean over them. Eigenvalues that the rounding
    of float32 may have made are 0.
    """
    shares = tuple(checked(percentiles))
    chosen = chosen_layers(model, layers, is_linear)
    loss = ModelLoss(model, x, y, loss, training)
    records = recorded(model, x, chosen, training, before_activation=True)
    gradients = output_gradients(loss, chosen, records, before_activation=True)
    number = len(tree.flatten(x)[0])
    found = []
    for record, gradient in zip(records, gradients, strict=True):
        rows = input_rows(record.layer, record.inputs)
        if bias:
            rows = np.pad(rows, [(0, 0), (0, 1)], constant_values=1)
        g = rows_of(record.layer, number * gradient)
        sigma_x, sigma_g = map(spectra.second_moments, (rows, g))
        products = np.sort(np.outer(sigma_x, sigma_g), axis=None)[::-1]
        conditions = [
            spectra.condition_numbers(values, shares)
            for values in (sigma_x, sigma_g, products)
        ]
        found.append(
            LayerConditioning(
                record.name, len(rows), sigma_x, sigma_g, *conditions
            )
        )
    return Conditioning(found, shares)


def checked(percentiles) -> list:
    """Shares in (0, 1]."""
    several = isinstance(percentiles, (list, tuple, np.ndarray))
    shares = [float(p) for p in (percentiles if several else [percentiles])]
    if not shares or not all(0 < p <= 1 for p in shares):
        raise errors.received(
            "`percentiles` must be shares of the spectrum in (0, 1].",
            "1.0 is the least eigenvalue, 0.5 the one in the middle.",
            percentiles=percentiles,
        )
    return shares
