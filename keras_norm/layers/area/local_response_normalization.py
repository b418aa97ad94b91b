"""Local response normalization: a window over neighbouring channels.

Krizhevsky, Sutskever & Hinton, 2012,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import window_sums
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import one_integer


@keras.saving.register_keras_serializable("keras_norm")
class LocalResponseNormalization(NormalizationLayer):
    """y_i = x_i / (bias + alpha * sum_j x_j^2)^beta, j the channels near i.

    Area: position, window of channels: size//2 before, (size-1)//2 after.
    Operation: scale. No recovery, no state.

    Args:
        size: channels of the window.
        bias: k of the paper.
        alpha: factor of the sum of squares.
        beta: the power.
        alpha_per_element: divide alpha by `size`, as PyTorch and Caffe do.
        axis: channel axis.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: handed on. Masked entries that are not finite count as zeros.

    Raises:
        ValueError: a size below 1, a bias that is not positive, a negative
            alpha.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.ones((1, 2, 2, 8), "float32")
    >>> y = kn.layers.LocalResponseNormalization(alpha=1.0, beta=0.5)(x)
    >>> print(keras.ops.convert_to_numpy(y)[0, 0, 0, 3:5].round(4))
    [0.378 0.378]

    Reference:

    - Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural
      Networks, NeurIPS 2012

    Note: the paper and TensorFlow multiply the sum by alpha, PyTorch and Caffe
    by alpha / size: see `alpha_per_element`. TensorFlow's `depth_radius` r is
    size = 2 r + 1. The defaults are the paper's; PyTorch's bias is 1.
    """

    fixed = ("epsilon", *AFFINE)

    def __init__(
        self,
        size=5,
        bias=2.0,
        alpha=1e-4,
        beta=0.75,
        alpha_per_element=False,
        axis=-1,
        **kwargs,
    ):
        super().__init__(axis=axis, **kwargs)
        self.size = one_integer("size", size)
        if self.size < 1:
            raise errors.received("`size` must be positive.", size=size)
        if not bias > 0:
            raise errors.received(
                "`bias` must be positive: zeros would be divided by zero.",
                bias=bias,
            )
        if not alpha >= 0:
            raise errors.received("`alpha` must not be negative.", alpha=alpha)
        self.bias, self.alpha = float(bias), float(alpha)
        # The base's attribute of that name is the affine weight, which this
        # layer does not have.
        self.beta = float(beta)
        self.alpha_per_element = alpha_per_element

    def build(self, inputs_shape):
        """Check the axis."""
        channels_of(self.axis, inputs_shape)
        self.built = True

    def call(self, inputs, training=None, mask=None):
        """Divide by the power of the window's sum of squares."""
        x = self.widened(inputs)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        axis = self.axis % len(x.shape)
        window = window_sums.Span(
            axis, self.size // 2, (self.size - 1) // 2, None
        )
        alpha = self.alpha
        if self.alpha_per_element:
            alpha = alpha / self.size
        squares = window_sums.total(ops.square(x), window)
        y = x * ops.power(self.bias + alpha * squares, -self.beta)
        return self.narrowed(y)
