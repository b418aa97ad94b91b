"""A dense layer, normalized by recent batches compensated for its kernel.

Yao et al., 2021, https://arxiv.org/abs/2002.05712
"""

import keras
from keras import ops

from keras_norm.core.cross_iteration_kernel import CrossIterationKernel
from keras_norm.core.linear import DenseLayer
from keras_norm.core.moments import aligned
from keras_norm.core.moments import without_padding
from keras_norm.core.patches import Patches


@keras.saving.register_keras_serializable("keras_norm")
class CrossIterationDense(CrossIterationKernel, DenseLayer):
    """y = activation(gamma (h - mean) / (sqrt(variance) + epsilon) + beta).

    h = x kernel + bias; mean and variance are those of the last `window_size`
    batches, compensated for the change of the kernel since: see
    `CrossIterationBatchNormalization`.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    window in training; in inference moving averages of each batch's mean and
    unbiased variance.

    Args:
        units: number of outputs.
        activation: applied last, as in `keras.layers.Dense`.
        use_bias: add a `bias` before normalization, which in training takes
            it out again: for the weights of other models.
        window_size: batches of the window; 1 is batch normalization.
        burn_in: so many steps are batch normalization with the unbiased
            variance, before the window begins to fill.
        momentum: fraction kept of the moving averages.
        epsilon: added to the deviation.
        epsilon_placement: "outside" the root, or "inside".
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, as in
            `ComposedNormalization`; `kernel_...`, `bias_...`,
            `activity_regularizer`, `name`, `dtype` as in `keras.layers.Dense`.

    Call arguments:
        inputs: tensor (batch, ..., features).
        training: True uses and moves the window.
        mask: weights aligned to the axes before the last.

    Raises:
        ValueError: units or a window below 1.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.CrossIterationDense(4, activation="relu")
    >>> x = np.random.normal(size=(8, 3)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (8, 4)

    Reference:

    - Yao et al., Cross-Iteration Batch Normalization, CVPR 2021,
      https://arxiv.org/abs/2002.05712

    Note: precision, state and weights are as in `CrossIterationConv2D`.
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=False,
        window_size=8,
        burn_in=0,
        momentum=0.9,
        epsilon=1e-5,
        epsilon_placement="outside",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            units=units,
            activation=activation,
            use_bias=use_bias,
            window_size=window_size,
            burn_in=burn_in,
            momentum=momentum,
            epsilon=epsilon,
            epsilon_placement=epsilon_placement,
            synchronized=synchronized,
            **kwargs,
        )

    def build_state(self, features):
        """Create gamma and beta, then the state."""
        self.build_window(features, 1, Patches(()))

    def call(self, inputs, training=None, mask=None):
        """Multiply and normalize; see the class."""
        x = self.widened(inputs)
        if mask is not None:
            # Of the shape of x, and the same for all channels.
            mask = aligned(mask, x)
            shape = (*ops.shape(x)[:-1], mask.shape[-1])
            mask = ops.broadcast_to(mask, shape)
            x = without_padding(x, mask)
        y = self.transform(x, bool(training) and self.trainable, mask)
        return self.narrowed(self.activation(y))

    def linear(self, x):
        """The product, as wide as x."""
        kernel = ops.cast(self.kernel, self.compute_dtype)
        return ops.cast(
            ops.matmul(ops.cast(x, self.compute_dtype), kernel), x.dtype
        )

    def relative(self, x, pivot):
        """(the product with x - pivot, x - pivot)."""
        data = x - pivot
        return self.linear(data), data
