"""RMS normalization, partial RMS: scaling without centering.

Zhang & Sennrich, 2019, https://arxiv.org/abs/1910.07467
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import GAMMA
from keras_norm.core.layer import axes_of
from keras_norm.core.layer import check_axes
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Scale
from keras_norm.core.positions import AxesAffine
from keras_norm.core.positions import Position


@keras.saving.register_keras_serializable("keras_norm")
class RMSNormalization(ComposedNormalization):
    """y = scale * x / sqrt(mean(x^2) + epsilon) over `axis`.

    Area: position. Operation: scale. Recovery: scale (and an offset on
    request). Statistics: the input itself.

    A drop-in for `keras.layers.RMSNormalization`.

    Args:
        axis: axis or axes of the statistics and of the weights.
        epsilon: added to the mean square, inside the root.
        partial: p in (0, 1]: the mean square of the first int(p * size)
            features only (pRMSNorm; the paper uses 0.0625). One axis only.
        epsilon_outside: y = scale * x / (rms + epsilon), as the authors'
            PyTorch program; their TensorFlow program, PyTorch and Keras have
            it inside.
        center: add `beta`.
        beta_initializer: initializer of `beta`.
        beta_regularizer: regularizer of `beta`.
        beta_constraint: constraint of `beta`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: tensor of rank at least 2. Masks are handed on.

    Raises:
        ValueError: axes outside the input; a `partial` that leaves nothing.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.RMSNormalization()
    >>> tuple(layer(np.random.rand(2, 5, 8).astype("float32")).shape)
    (2, 5, 8)

    Reference:

    - Zhang & Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019,
      https://arxiv.org/abs/1910.07467
    """

    beyond_keras = (
        "partial",
        "epsilon_outside",
        "center",
        "beta_initializer",
        "beta_regularizer",
        "beta_constraint",
    )
    fixed = GAMMA

    def __init__(
        self,
        axis=-1,
        epsilon=1e-6,
        partial=None,
        epsilon_outside=False,
        center=False,
        **kwargs,
    ):
        axes = check_axes("axis", axis)
        if partial is not None and (not 0 < partial <= 1 or len(axes) > 1):
            raise errors.received(
                "`partial` must lie in (0, 1] and needs a single axis.",
                partial=partial,
                axis=axis,
            )
        super().__init__(
            area=Position(axes),
            operation=Scale(epsilon_outside),
            recovery=AxesAffine(axes, "scale"),
            axis=axis,
            epsilon=epsilon,
            center=center,
            **kwargs,
        )
        self.partial, self.epsilon_outside = partial, epsilon_outside

    def check_axis(self, axis):
        """One axis or several."""
        check_axes("axis", axis)
        return axis

    def build(self, inputs_shape):
        """Create the weight `scale`, as Keras calls it, and beta."""
        axes = axes_of("axis", self.area.axes, inputs_shape)
        shape = tuple(inputs_shape[a] for a in axes)
        if self.partial and int(self.partial * shape[0]) < 1:
            raise errors.received(
                "`partial` must leave at least one feature.",
                partial=self.partial,
                features=shape[0],
            )
        del self.scale  # the flag of the base makes room for the weight
        self.scale = self.add_weight(
            shape=shape, name="scale", initializer="ones", autocast=False
        )
        if self.center:
            self.add_option("beta", shape)
        self.built = True

    def normalize(self, inputs, training=None, mask=None, condition=None):
        """Over all features, or over the first of them."""
        if not self.partial:
            return super().normalize(inputs, training)
        x = self.widened(inputs)
        axis = self.area.axes[0] % len(x.shape)
        first = [slice(None)] * len(x.shape)
        first[axis] = slice(int(self.partial * x.shape[axis]))
        square = ops.square(x[tuple(first)])
        square = ops.mean(square, axis=axis, keepdims=True)
        gamma, beta = self.recovery.factors(self, x)
        rate = self.operation.rate(square, self.epsilon)
        y = x * rate * gamma
        return self.narrowed(y if beta is None else y + beta)
