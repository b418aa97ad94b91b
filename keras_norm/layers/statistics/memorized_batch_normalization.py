"""Memorized batch normalization: the statistics of several recent batches.

Guo, Wu, Deng, Chen & Tan, 2018, https://arxiv.org/abs/2010.04947
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.memory import Memory
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class MemorizedBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta of a memory.

    mean = sum_j w_j mean_j and variance = sum_j w_j (variance_j + (mean_j -
    mean)^2) over the current batch (j = 0) and those before it, w_j ~ decay^j.
    The gradient goes through the current batch. Inference uses the memory.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: recent
    batches.

    Earlier batches went through earlier weights. `callbacks.DoubleForward`
    sends each batch through the network again after the step of the optimizer
    and replaces its entry.

    Args:
        memory_size: batches, the current one included; 1 is batch
            normalization that infers by the last batch.
        decay: weight of a batch relative to the one after it, in (0, 1].
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True puts the batch in front of the memory.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: a memory of no batch, a decay outside (0, 1]; an axis
            outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.MemorizedBatchNormalization(memory_size=2)
    >>> for x in ([[1.0], [3.0]], [[5.0], [7.0]]):
    ...     y = layer(np.array(x, "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(layer.memory_mean))
    [[6.]
     [2.]]

    Reference:

    - Guo et al., Double Forward Propagation for Memorized Batch Normalization,
      AAAI 2018, https://arxiv.org/abs/2010.04947

    Note: the paper leaves the weights open; ours fall geometrically with age.
    """

    def __init__(
        self,
        memory_size=5,
        decay=0.9,
        axis=-1,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=Memory(memory_size, decay),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.memory_size, self.decay = memory_size, float(decay)
        self.synchronized = synchronized

    def inference_factors(self, x, view):
        """The newest mean is subtracted first, the rest is small."""
        base, mean, variance = self.statistics.relative_state(self, x.dtype)
        rate = self.operation.rate(variance, self.acting_epsilon(x.dtype))
        return x - view(base), rate, -mean * rate
