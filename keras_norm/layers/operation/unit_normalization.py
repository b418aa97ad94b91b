"""Unit normalization: vectors of length one."""

import keras
from keras import ops

from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import axes_of
from keras_norm.core.layer import check_axes


@keras.saving.register_keras_serializable("keras_norm")
class UnitNormalization(NormalizationLayer):
    """y = x / max(||x||_2, 1e-12) over `axis`.

    Area: position. Operation: scale by the length. No recovery, no state.

    A drop-in for `keras.layers.UnitNormalization`; unlike it, correct in half
    precision and with a finite gradient at zero: 0, as for all vectors shorter
    than 1e-12.

    Args:
        axis: axis or axes of the vectors.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2. Masks are handed on.

    Raises:
        ValueError: axes outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> y = kn.layers.UnitNormalization()(np.array([[3.0, 4.0]], "float32"))
    >>> print(keras.ops.convert_to_numpy(y)[0].round(3))
    [0.6 0.8]
    """

    fixed = ("epsilon", *AFFINE)

    def __init__(self, axis=-1, **kwargs):
        super().__init__(axis=axis, **kwargs)

    def check_axis(self, axis):
        """One axis or several."""
        check_axes("axis", axis)
        return axis

    def build(self, inputs_shape):
        """Check the axes."""
        axes_of(
            "axis", check_axes("axis", self.axis), inputs_shape, static=False
        )
        self.built = True

    def call(self, inputs):
        """Divide by the length."""
        x = self.widened(inputs)
        axes = check_axes("axis", self.axis)
        square = ops.sum(ops.square(x), axis=axes, keepdims=True)
        # Shorter vectors are a constant's multiple without gradient: that of
        # x / 1e-12 would overflow float16.
        long = square > 1e-24
        y = x * ops.rsqrt(ops.where(long, square, 1.0))
        return self.narrowed(ops.where(long, y, ops.stop_gradient(x * 1e12)))
