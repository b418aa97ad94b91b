"""DeCov: a penalty on the covariances of activations.

Cogswell, Ahmed, Girshick, Zitnick and Batra, ICLR 2016.
"""

import keras
from keras import ops

from keras_norm.core import penalties
from keras_norm.core.layer import one_integer
from keras_norm.ops.covariance import covariance


@keras.saving.register_keras_serializable("keras_norm")
class Decorrelation(penalties.Penalty):
    """factor (|C|_F^2 - |diag C|^2) / 2, C the channels' batch covariance.

    To be given as `activity_regularizer`. C = E[(h - E h)(h - E h)^T] over the
    batch and all positions; it is 0 for uncorrelated channels, whatever their
    variances.

    Args:
        factor: number of at least 0, or a scalar variable, as in
            `keras_norm.regularizers.SoftOrthogonal`.
        axis: channel axis of the activations.
        times_batch_size: multiply by the size of the first axis. Keras
            divides whatever an activity regularizer returns by it, and what
            then enters the loss is the formula above for any size of batch.
            Use False where the penalty is called by hand.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> h = keras.ops.convert_to_tensor([[1.0, 1.0], [3.0, 5.0]])
    >>> by_hand = kn.regularizers.Decorrelation(1.0, times_batch_size=False)
    >>> print(keras.ops.convert_to_numpy(by_hand(h)))
    4.0
    >>> layer = keras.layers.Dense(
    ...     4, activity_regularizer=kn.regularizers.Decorrelation(0.1)
    ... )

    Reference:

    - Cogswell et al., Reducing Overfitting in Deep Networks by Decorrelating
      Representations, ICLR 2016, https://arxiv.org/abs/1511.06068

    Note:
        An activity regularizer never sees masks: padded steps take part. With
        data parallelism on TensorFlow and PyTorch each replica has its own
        covariance.
    """

    def __init__(self, factor=0.1, axis=-1, times_batch_size=True):
        super().__init__(factor)
        self.axis = one_integer("axis", axis)
        self.times_batch_size = times_batch_size

    def penalty(self, x):
        c = covariance(x, self.axis)[0]
        value = 0.5 * penalties.off_diagonal_square(c)
        if self.times_batch_size:
            value = value * ops.cast(ops.shape(x)[0], value.dtype)
        return value

    def get_config(self):
        return {
            **super().get_config(),
            "axis": self.axis,
            "times_batch_size": self.times_batch_size,
        }
