"""Positional normalization and the moment shortcut.

Li, Wu, Weinberger & Belongie, 2019, https://arxiv.org/abs/1907.04312
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import positions
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize


@keras.saving.register_keras_serializable("keras_norm")
class PositionalNormalization(ComposedNormalization):
    """y = (x - mean) / sqrt(variance + epsilon) over the channels.

    Area: position. Operation: standardize. Recovery: none (affine on request).
    Statistics: the input itself.

    Args:
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        center: add `beta` (C,).
        scale: multiply by `gamma` (C,).
        unbiased: divide the variance by C - 1.
        return_moments: return (y, mean, sqrt(variance + epsilon)); the moments
            have one channel and go to a `MomentShortcut`.
        **kwargs: `beta_...`, `gamma_...`, `name`, `dtype`: see
            `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2. Masks are handed on.

    Raises:
        ValueError: an axis outside the input; one channel with `unbiased`.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.random.rand(2, 4, 4, 8).astype("float32")
    >>> layer = kn.layers.PositionalNormalization(return_moments=True)
    >>> y, mean, deviation = layer(x)
    >>> back = kn.layers.MomentShortcut()(y, mean, deviation)
    >>> bool(abs(np.array(keras.ops.convert_to_numpy(back)) - x).max() < 1e-5)
    True

    Reference:

    - Li et al., Positional Normalization, NeurIPS 2019,
      https://arxiv.org/abs/1907.04312

    Note: the authors' PyTorch program divides by C - 1, their TensorFlow
    program by C. The default follows PyTorch, which the paper's experiments
    used. They have no gamma and beta, the survey has.
    """

    def __init__(
        self,
        axis=-1,
        epsilon=1e-5,
        center=False,
        scale=False,
        unbiased=True,
        return_moments=False,
        **kwargs,
    ):
        super().__init__(
            area=positions.Position(),
            operation=Standardize(unbiased),
            axis=axis,
            epsilon=epsilon,
            center=center,
            scale=scale,
            **kwargs,
        )
        self.unbiased, self.return_moments = unbiased, return_moments

    def build(self, inputs_shape):
        """Create gamma and beta, if wanted."""
        if self.unbiased and channels_of(self.axis, inputs_shape) == 1:
            raise errors.received(
                "`unbiased` needs at least two channels.",
                "Use unbiased=False.",
                input_shape=inputs_shape,
            )
        super().build(inputs_shape)

    def normalize(self, inputs, training=None, mask=None, condition=None):
        """The output, and the moments if wanted."""
        if not self.return_moments:
            return super().normalize(inputs, training)
        x = self.widened(inputs)
        axis = self.axis % len(x.shape)
        d, mean, variance, entries, pivot = positions.measure(x, (axis,))
        if self.unbiased:
            variance = moments.bessel(variance, entries)
        rate = self.operation.rate(variance, self.epsilon)
        gamma, beta = positions.factors_of(self, x, axis, None)
        y = (d - mean) * rate * gamma + beta
        deviation = ops.sqrt(variance + self.epsilon)
        return tuple(self.narrowed(t) for t in (y, pivot + mean, deviation))

    def compute_output_shape(self, inputs_shape):
        """The input's shape, and twice one channel for the moments."""
        shape = tuple(inputs_shape)
        if not self.return_moments:
            return shape
        one = list(shape)
        one[self.axis] = 1
        return shape, tuple(one), tuple(one)

    def compute_mask(self, inputs, previous_mask=None):
        """One mask per output."""
        if self.return_moments:
            return (previous_mask,) * 3
        return previous_mask


@keras.saving.register_keras_serializable("keras_norm")
class MomentShortcut(NormalizationLayer):
    """y = x * deviation + mean: moments of an early layer put back later.

    Area: position. Recovery: the moments that a `PositionalNormalization` with
    `return_moments=True` took out; gradients flow through them.

    Call arguments:
        inputs: tensor, or the list [x, mean, deviation].
        mean: tensor that broadcasts to x, one channel.
        deviation: the same.

    Raises:
        ValueError: a missing moment.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.ones((1, 2, 2, 3), "float32")
    >>> m = np.ones((1, 2, 2, 1), "float32")
    >>> y = kn.layers.MomentShortcut()([x, m, 2 * m])
    >>> print(keras.ops.convert_to_numpy(y)[0, 0, 0])
    [3. 3. 3.]

    Reference:

    - Li et al., Positional Normalization, NeurIPS 2019,
      https://arxiv.org/abs/1907.04312
    """

    fixed = ("axis", "epsilon", *AFFINE)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def build(self, inputs_shape, mean_shape=None, deviation_shape=None):
        """Nothing to create."""
        self.built = True

    def call(self, inputs, mean=None, deviation=None):
        """Scale and shift."""
        if isinstance(inputs, (list, tuple)) and len(inputs) == 3:
            inputs, mean, deviation = inputs
        if mean is None or deviation is None:
            raise ValueError(
                "`mean` and `deviation` are needed besides the input. Received:"
                f" mean={mean}, deviation={deviation}. Call it as "
                "layer([x, mean, deviation])."
            )
        x, mean, deviation = map(self.widened, (inputs, mean, deviation))
        return self.narrowed(x * deviation + mean)

    def compute_mask(self, inputs, previous_mask=None):
        """The mask of the first input."""
        if isinstance(previous_mask, (list, tuple)):
            return previous_mask[0]
        return previous_mask
