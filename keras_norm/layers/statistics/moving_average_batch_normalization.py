"""Moving average batch normalization: for batches of a few samples.

Yan et al., 2020, https://arxiv.org/abs/2001.06838
"""

import keras

from keras_norm import errors
from keras_norm.core import backward_state
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.recent_batches import PRODUCTS
from keras_norm.core.recent_batches import RecentBatches


@keras.saving.register_keras_serializable("keras_norm")
class MovingAverageBatchNormalization(ComposedNormalization):
    """y = gamma * r * x / sqrt(s + epsilon) + beta, s of the last batches.

    s: E[x^2] averaged over the last `buffer_size` batches, this one among
    them; of this batch alone up to step `buffer_size` and before step
    `warmup_steps`. r = sqrt(s + epsilon) / sqrt(moving + epsilon) within
    [1 / renorm_clip, renorm_clip], a constant to the gradient, and 1 up to
    step max(renorm_start, warmup_steps). moving <- momentum * moving + (1 -
    momentum) * s, which inference uses.

    The gradient, with z = x / sqrt(s + epsilon) and g = gamma * r * dy: dx =
    (g - z * E[g z]) / sqrt(s + epsilon), E[g z] averaged over the last batches
    as E[x^2] is.

    Area: batch. Operation: scale. Recovery: affine. Statistics: the simple
    moving average of batches. Nothing is centred: put it after a convolution
    with `keras_norm.layers.WeightCentralization` and without bias.

    Args:
        buffer_size: batches that are averaged. With 1 the layer is batch
            normalization without centring, with its true gradient.
        axis: channel axis.
        momentum: fraction kept of `moving`.
        warmup_steps: the first step that may use the buffer.
        renorm_start: the last step with r = 1.
        renorm_clip: bound of r, at least 1.
        epsilon: added to the second moments, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True normalizes with and updates the buffers.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: sizes, steps or bounds out of range; an optimizer that
            accumulates gradients or averages weights.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.MovingAverageBatchNormalization(buffer_size=4)
    >>> y = layer(np.array([[3.0], [4.0]], "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(layer.second_moments)[:, 0])
    [ 0.  12.5  0.   0. ]

    Reference:

    - Yan et al., Towards Stabilizing Batch Statistics in Backward Propagation
      of Batch Normalization, ICLR 2020, https://arxiv.org/abs/2001.06838

    Note: E[g z] of the last batches (`products`) is a weight that a Keras
    optimizer overwrites with its new value; it counts as trainable. With
    another optimizer, or where a step has gradients of zeros, this batch's
    E[g z] is used instead; gradient accumulation and `use_ema` of a Keras
    optimizer are refused. A loss scale multiplies it, without effect on the
    result but in the `buffer_size` steps after it has changed.

    The authors' program gives the buffer's size by two batch sizes, real_B / B.
    """

    def __init__(
        self,
        buffer_size=16,
        axis=-1,
        momentum=0.98,
        warmup_steps=100,
        renorm_start=1000,
        renorm_clip=5.0,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        positive("buffer_size", buffer_size)
        positive("warmup_steps", warmup_steps, 0)
        positive("renorm_start", renorm_start, 0)
        known = isinstance(renorm_clip, (int, float))
        if not known or not renorm_clip >= 1:
            raise errors.received(
                "`renorm_clip` must be a number of at least 1: r lies between "
                "its inverse and itself.",
                renorm_clip=renorm_clip,
            )
        super().__init__(
            area=Area(synchronized=synchronized),
            operation="scale",
            statistics=RecentBatches(
                buffer_size, momentum, warmup_steps, renorm_start, renorm_clip
            ),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.buffer_size, self.momentum = buffer_size, float(momentum)
        self.warmup_steps, self.renorm_start = warmup_steps, renorm_start
        self.renorm_clip, self.synchronized = float(renorm_clip), synchronized

    def build_state(self, channels):
        """The moving statistics and what the gradient keeps."""
        super().build_state(channels)
        backward_state.add(self, {PRODUCTS: (self.buffer_size, channels)})
