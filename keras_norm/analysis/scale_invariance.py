"""Which kernels a network's function depends on by their direction alone.

Arora, Li & Lyu, 2019, https://arxiv.org/abs/1812.03981
"""

import keras
import numpy as np

from keras_norm import errors
from keras_norm.analysis.model_losses import ModelLoss
from keras_norm.analysis.scaling import ScaleInvariance
from keras_norm.analysis.scaling import Scaling
from keras_norm.analysis.scaling import chosen
from keras_norm.analysis.scaling import learning_rate


def scale_invariance(
    model: keras.Model,
    x,
    y,
    loss=None,
    factors=(0.5, 2.0, 10.0),
    variables=None,
    tolerance: float = 1e-2,
    training: bool = True,
    verbose: int = 0,
) -> ScaleInvariance:
    """Does the function change when a kernel is scaled?

        f(a w) = f(w),  dL/dw(a w) = dL/dw(w) / a  for all a > 0
        <w, dL/dw> = 0

    hold of a kernel that normalization follows. Gradient descent then only
    lengthens w, and turns it by the effective learning rate, learning rate /
    ||w||^2: weight decay acts by keeping that up. The three statements are
    measured on one batch, for each kernel alone; penalties of regularizers are
    left out, which know nothing of the function.

    Normalizers add epsilon to a variance v: a kernel behind one changes its
    outputs by some epsilon / (2 a^2 v).

    Args:
        model: a built model.
        x: one batch of inputs.
        y: its targets.
        loss: a loss of Keras, its name, or a function of (targets, outputs);
            None: what the model is compiled with.
        factors: a, positive.
        variables: weights to look at, or their paths; None: all trained ones
            of at least two axes.
        tolerance: up to which the three count as kept.
        training: normalize by the statistics of the batch. At inference moving
            statistics are constants, and no kernel before them is invariant.
        verbose: 1 shows the progress.

    Returns:
        A tuple of `KernelInvariance`s, which holds NumPy arrays; `.plot()`
        draws it. Weights and statistics of the model are as they were.

    Raises:
        ValueError: a model that is not built, no loss, factors that are not
            positive, weights that the model does not train.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> import numpy as np
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.Dense(4, name="normalized"),
    ...     keras.layers.BatchNormalization(epsilon=1e-5),
    ...     keras.layers.Dense(1, name="last")], name="net")
    >>> x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    >>> found = kn.analysis.scale_invariance(model, x, x[:, :1], loss="mse")
    >>> for kernel in found:
    ...     print(kernel.name, kernel.invariant)
    net/normalized/kernel True
    net/last/kernel False

    Reference:

    - Arora, Li & Lyu, Theoretical Analysis of Auto Rate-Tuning by Batch
      Normalization, ICLR 2019, https://arxiv.org/abs/1812.03981
    - van Laarhoven, L2 Regularization versus Batch and Weight Normalization,
      2017, https://arxiv.org/abs/1706.05350
    """
    factors = np.asarray(factors, "float64")
    if factors.ndim != 1 or not len(factors) or not np.all(factors > 0):
        raise errors.received("`factors` must be positive.", factors=factors)
    function = ModelLoss(model, x, y, loss, training)
    kernels = chosen(model, function.variables, variables)
    run = Scaling(function, factors)
    rate = learning_rate(model)
    bar = keras.utils.Progbar(len(kernels), verbose=verbose)
    found = []
    for number, (variable, kernel) in enumerate(kernels):
        found.append(run.measure(variable, kernel, rate, tolerance))
        bar.update(number + 1)
    return ScaleInvariance(found)
