"""Mean and variance of a network's activations, by analysis.

Shekhovtsov & Flach, 2018, https://arxiv.org/abs/1803.10560
"""

from typing import NamedTuple

import keras
import numpy as np

from keras_norm import errors
from keras_norm.analysis import layer_signals
from keras_norm.analysis import plots
from keras_norm.analysis.signals import Signal
from keras_norm.analysis.signals import unknown


class LayerMoments(NamedTuple):
    """Mean and variance of what leaves a layer.

    Args:
        name: of the layer, after those of the models that it is in.
        mean: for each channel, or one for all.
        variance: as `mean`.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray


class PropagatedMoments(tuple):
    """`LayerMoments` in the order in which the layers are called."""

    __slots__ = ()

    def plot(self, ax=None):
        """Means and variances over the layers, one point for each channel.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        ax = plots.axes(ax)
        for label in ("mean", "variance"):
            values = [np.ravel(getattr(entry, label)) for entry in self]
            places = [np.full(len(v), i) for i, v in enumerate(values)]
            ax.plot(
                np.concatenate(places),
                np.concatenate(values),
                "." if label == "mean" else "x",
                label=label,
            )
        ax.set_xticks(
            range(len(self)), [entry.name for entry in self], rotation=90
        )
        ax.legend()
        return ax


def propagate_moments(model, mean=0.0, variance=1.0) -> PropagatedMoments:
    """Mean and variance of each layer's result, without any data.

    Through linear maps m' = W m + b, v' = W^2 v (squares of the entries);
    through an activation E f(u) and Var f(u), u ~ N(m, v), by quadrature.
    Taken for granted: all entries of the input of a layer are independent,
    sums are Gaussian, and positions are away from padded edges. Dropout is
    off, batch normalization uses its moving statistics.

    Args:
        model: a built Sequential or functional model of one input: Dense,
            convolutions, depthwise convolutions, these in parametrizations
            such as `WeightNormalization` and `NormalizationPropagation`,
            elementwise activations, batch normalization, average pooling,
            Flatten, Add, Concatenate, dropout; models within models.
        mean: of the input, one number or one for each channel.
        variance: as `mean`.

    Returns:
        A tuple of (name, mean, variance), one for each call of a layer, as
        float64 arrays, of shape (channels,) or (). `.plot()` draws them.

    Raises:
        ValueError: a layer whose moments are not known, by its name; a model
            that is not built, is subclassed or has several inputs; a negative
            variance.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([keras.Input((64,))] + [
    ...     keras.layers.Dense(64, "selu", kernel_initializer="orthogonal")
    ...     for _ in range(3)])
    >>> last = kn.analysis.propagate_moments(model)[-1]
    >>> print(last.variance.shape, round(float(last.variance.mean()), 1))
    (64,) 1.0

    Reference:

    - Shekhovtsov & Flach, Normalization of Neural Networks using Analytic
      Variance Propagation, CVWW 2018, https://arxiv.org/abs/1803.10560
    """
    check(model)
    shape = tuple(model.inputs[0].shape)
    mean, variance = (
        np.asarray(mean, "float64"),
        np.asarray(variance, "float64"),
    )
    if not np.all(variance >= 0):
        raise errors.received(
            "`variance` must not be negative.", variance=variance
        )
    if max(mean.ndim, variance.ndim) > 1:
        raise errors.received(
            "`mean` and `variance` must be one number or one for each channel.",
            mean_shape=mean.shape,
            variance_shape=variance.shape,
        )
    mean, variance = np.broadcast_arrays(mean, variance)
    found: list[LayerMoments] = []
    run(model, [Signal(mean, variance, shape, channel_axis(model))], "", found)
    return PropagatedMoments(found)


def check(model):
    """Refuse what has no graph of one input."""
    graph = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    if not (isinstance(model, keras.Model) and graph and model.built):
        raise errors.received(
            "`model` must be a built Sequential or functional model.",
            "Give it a `keras.Input`.",
            model=model,
        )
    if len(model.inputs) != 1:
        raise errors.received(
            "`model` must have one input.", inputs=len(model.inputs)
        )


def channel_axis(model):
    """Where the first layer that says so has the channels, from the last."""
    rank = len(model.inputs[0].shape)
    for layer in model._flatten_layers():
        if getattr(layer, "data_format", None) is not None and rank > 2:
            first = layer.data_format == "channels_first"
            return 1 - rank if first else -1
    return -1


def run(model, inputs, prefix, found):
    """Signals that leave a model; what leaves its layers goes to `found`."""
    if isinstance(model, keras.Sequential):
        model = model._functional

    def handler(layer):
        def call(*args, **kwargs):
            given = keras.tree.flatten([args, kwargs])
            given = [g for g in given if isinstance(g, Signal)]
            name = prefix + layer.name
            if isinstance(layer, keras.Model):
                return run(layer, given, f"{name}/", found)
            if not isinstance(layer, keras.layers.Layer):
                raise unknown(layer)
            result = layer_signals.through(layer, given)
            found.append(LayerMoments(name, result.mean, result.variance))
            return result

        return call

    return model._run_through_graph(inputs, operation_fn=handler)
