"""Mean-normalized dense layer: centred input, function preserved.

Wiesler, Richard, Schlueter & Ney, 2014,
https://doi.org/10.1109/ICASSP.2014.6853582
"""

import keras
from keras import ops

from keras_norm.core import linear
from keras_norm.core import moments
from keras_norm.core.layer import AFFINE
from keras_norm.core.state import read
from keras_norm.core.statistics import check_momentum
from keras_norm.core.statistics import move


@keras.saving.register_keras_serializable("keras_norm")
class MeanNormalizedDense(linear.DenseLayer):
    """y = activation(kernel^T (x - moving_mean) + compensation + bias).

    When training has moved the mean, compensation <- compensation + kernel^T
    (new mean - old mean): the same input gives the same output before and
    after. What changes is the gradient of the kernel, which sees x - mean.

    Area: batch. Operation: center. Recovery: the layer's own kernel.
    Statistics: the moving average, in training as it was before the step.

    Args:
        units: number of outputs.
        activation: as in `keras.layers.Dense`.
        use_bias: add a learned `bias`.
        momentum: fraction kept of the moving mean.
        synchronized: add up the statistics of all replicas.
        **kwargs: `kernel_...`, `bias_...`, `activity_regularizer`, `name`,
            `dtype` as in `keras.layers.Dense`.

    Call arguments:
        inputs: tensor (batch, ..., features).
        training: True updates the moving mean and compensates for it.
        mask: weights aligned to the leading axes: what takes part in the mean.

    Raises:
        ValueError: units below 1; a momentum outside [0, 1].

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.MeanNormalizedDense(4)
    >>> x = np.random.normal(3.0, 1.0, (32, 6)).astype("float32")
    >>> before, after = layer(x, training=True), layer(x)
    >>> bool(keras.ops.max(keras.ops.abs(after - before)) < 1e-5)
    True

    Reference:

    - Wiesler et al., Mean-Normalized Stochastic Gradient for Large-Scale Deep
      Learning, ICASSP 2014, https://doi.org/10.1109/ICASSP.2014.6853582

    Note: the article adds the compensation to the bias; here it is a weight of
    its own, which the optimizer does not own and a compiled step can move.
    Computed in float32 also under mixed precision. Weights: kernel, bias as
    `keras.layers.Dense`, whose saved weights load; moving_mean (features,),
    compensation (units,).
    """

    fixed = ("axis", "epsilon", *AFFINE)

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        momentum=0.99,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            units, activation=activation, use_bias=use_bias, **kwargs
        )
        self.momentum = check_momentum("momentum", momentum)
        self.synchronized = synchronized

    def build_state(self, features):
        """The mean, and what its moves add to the bias."""
        self.add_state("moving_mean", (features,), "zeros")
        self.add_state("compensation", (self.units,), "zeros")

    def call(self, inputs, training=None, mask=None):
        """Center, apply the kernel, move the mean."""
        x = self.widened(inputs)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        kernel = ops.cast(self.kernel, x.dtype)
        mean = read(self.moving_mean, x.dtype)
        y = ops.matmul(x - mean, kernel)
        y = y + ops.cast(self.compensation, x.dtype)
        if training and self.trainable:
            table, averages = linear.as_one_part(x, mask, self.synchronized)
            new = averages.base + averages.mean(averages.relative_means)
            move(self.moving_mean, new, averages.seen, self.momentum)
            # Of the state as it is stored: rounded like what will be used.
            moved = ops.cast(self.moving_mean, x.dtype) - mean
            added = ops.stop_gradient(ops.matmul(moved[None], kernel)[0])
            dtype = self.compensation.dtype
            self.compensation.assign(self.compensation + ops.cast(added, dtype))
        return self.finish(y)
