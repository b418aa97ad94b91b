"""Fine-grained batch normalization: partial sums, each normalized.

Luo et al., 2020, https://arxiv.org/abs/2005.06828
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.fine_grained import GroupSum
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class FineGrainedBatchNormalization(ComposedNormalization):
    """y = sum_g gamma_g (x_g - mean_g) / sqrt(variance_g + epsilon) + beta.

    x_g are consecutive groups of the channels: the partial sums of a layer
    whose inputs are cut into `groups` parts, normalized before they are added.
    C * groups channels become C.

    Area: batch. Operation: standardize. Recovery: affine for each group, and
    their sum. Statistics: the batch in training, moving averages in inference.

    Args:
        groups: number of partial sums; 1 is batch normalization.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: groups that do not divide the channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.FineGrainedBatchNormalization(groups=2)
    >>> tuple(layer(np.ones((4, 5, 6), "float32")).shape)
    (4, 5, 3)

    Reference:

    - Luo et al., Finet: Using Fine-grained Batch Normalization to Train
      Light-weight Neural Networks, 2020, https://arxiv.org/abs/2005.06828

    Note: weights are gamma (groups, C), beta (C,); moving_mean and
    moving_variance (groups * C,). y has about `groups` times the variance of a
    normalized channel; gamma starts at 1 as in the paper. `FineGrainedConv2D`
    has the convolution with it, and makes one of both for inference.
    """

    def __init__(
        self,
        groups=2,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MovingAverage(momentum),
            recovery=GroupSum(groups),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.groups, self.momentum = groups, float(momentum)
        self.synchronized = synchronized

    def compute_output_shape(self, inputs_shape):
        """The channels of one group."""
        shape = list(inputs_shape)
        shape[self.axis] = shape[self.axis] // self.groups
        return tuple(shape)
