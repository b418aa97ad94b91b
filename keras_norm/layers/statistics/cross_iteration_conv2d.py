"""A convolution, normalized by recent batches compensated for its kernel.

Yao et al., 2021, https://arxiv.org/abs/2002.05712
"""

import keras

from keras_norm.core.cross_iteration_kernel import CrossIterationKernel
from keras_norm.core.normalized_kernel import NormalizedConvolution


@keras.saving.register_keras_serializable("keras_norm")
class CrossIterationConv2D(CrossIterationKernel, NormalizedConvolution):
    """y = activation(gamma (h - mean) / (sqrt(variance) + epsilon) + beta).

    h = kernel * x + bias, a convolution; mean and variance are those of the
    last `window_size` batches, compensated for the change of the kernel since:
    see `CrossIterationBatchNormalization`.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    window in training; in inference moving averages of each batch's mean and
    unbiased variance.

    Args:
        filters: number of output channels.
        kernel_size: one integer, or height and width.
        strides: one integer, or height and width.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first", or None for the one
            of the Keras config. Channels-first data are transposed.
        dilation_rate: one integer, or height and width.
        groups: groups of channels, each with filters of its own.
        activation: applied last, as in `keras.layers.Conv2D`.
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
            `activity_regularizer`, `name`, `dtype` as in
            `keras.layers.Conv2D`.

    Call arguments:
        inputs: tensor (batch, height, width, channels), or channels first.
        training: True uses and moves the window.
        mask: refused.

    Raises:
        ValueError: sizes below 1, groups that do not divide the channels or
            the filters, strides together with dilation, an input smaller than
            the kernel, a mask.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.CrossIterationConv2D(4, 3, padding="same")
    >>> x = np.random.normal(size=(2, 6, 6, 3)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (2, 6, 6, 4)

    Reference:

    - Yao et al., Cross-Iteration Batch Normalization, CVPR 2021,
      https://arxiv.org/abs/2002.05712

    Note: the kernel of a step is the one its forward pass uses. The mean patch
    and the covariances of patch and result cost as much as the kernel's
    gradient. State: (window_size - 1) * 2 times the kernel, in at least
    float32. Under mixed precision the convolution is computed in half
    precision, relative to a value of each input channel, and the statistics
    in float32. Weights: kernel, bias as `keras.layers.Conv2D`, whose saved
    weights load; gamma, beta; moving_mean, moving_variance, step; the window.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        groups=1,
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
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
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

    def build(self, inputs_shape):
        """Create kernel and bias, gamma and beta, the state."""
        super().build(inputs_shape)
        channels = inputs_shape[1 if self.first else -1]
        self.build_window(channels, self.groups, self.patches)
