"""How fast gradient descent turns the kernels that normalization follows.

van Laarhoven, 2017, https://arxiv.org/abs/1706.05350
"""

import keras

from keras_norm.analysis import plots
from keras_norm.analysis.scaling import array
from keras_norm.analysis.scaling import chosen
from keras_norm.analysis.scaling import learning_rate
from keras_norm.core.model_kernels import trained


class EffectiveLearningRate(keras.callbacks.Callback):
    """Logs learning rate / ||w||^2 of each kernel w after each epoch.

    Where normalization follows, the function depends on the direction of w
    alone, which gradient descent turns by that rate. Steps lengthen w, so it
    falls, until weight decay keeps the length. (Of a kernel whose neurons are
    normalized one by one this is the rate of a neuron divided by their
    number, if they are alike.) Optimizers that scale gradients by themselves,
    as Adam does, turn w by learning rate / ||w||: see `norms`.

    The logs of `fit`, and with them its history, get an entry
    "effective_learning_rate/<path of the weight>".

    Args:
        variables: weights, or their paths; None: all trained ones of at least
            two axes. `analysis.scale_invariance` tells which are invariant.

    Attributes:
        rates: {path: [one number for each epoch]}.
        norms: {path: [||w|| after each epoch]}.

    Raises:
        ValueError: when training begins: weights that the model does not
            train.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> import numpy as np
    >>> layer = keras.layers.Dense(1, kernel_initializer="ones")
    >>> model = keras.Sequential([keras.Input((4,)), layer])
    >>> model.compile(keras.optimizers.SGD(0.1), loss="mse")
    >>> zeros = np.zeros((8, 4)), np.zeros((8, 1))
    >>> log = kn.callbacks.EffectiveLearningRate()
    >>> history = model.fit(*zeros, verbose=0, callbacks=[log])
    >>> print([round(rate, 4) for rate in log.rates[layer.kernel.path]])
    [0.025]

    Reference:

    - van Laarhoven, L2 Regularization versus Batch and Weight Normalization,
      2017, https://arxiv.org/abs/1706.05350
    """

    def __init__(self, variables=None):
        super().__init__()
        self.variables = variables
        self.rates: dict = {}
        self.norms: dict = {}

    def on_train_begin(self, logs=None) -> None:
        """Find the weights."""
        model = self.model
        found = chosen(model, trained(model), self.variables)
        self.kernels = [variable for variable, _ in found]
        self.rates = {variable.path: [] for variable in self.kernels}
        self.norms = {variable.path: [] for variable in self.kernels}

    def on_epoch_end(self, epoch, logs=None) -> None:
        """Measure and log them."""
        # Under JAX asking for the model brings its weights up to date.
        rate = learning_rate(self.model)
        for variable in self.kernels:
            square = float((array(variable) ** 2).sum())
            effective = rate / square if square else float("inf")
            self.norms[variable.path].append(square**0.5)
            self.rates[variable.path].append(effective)
            if logs is not None:
                logs[f"effective_learning_rate/{variable.path}"] = effective

    def plot(self, ax=None):
        """The rates over the epochs, one line for each kernel.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        ax = plots.axes(ax)
        for path, rates in self.rates.items():
            ax.semilogy(range(1, len(rates) + 1), rates, ".-", label=path)
        ax.set_xlabel("epoch")
        ax.set_ylabel("effective learning rate")
        if self.rates:
            ax.legend()
        return ax
