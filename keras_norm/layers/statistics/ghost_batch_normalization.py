"""Ghost batch normalization: statistics of small parts of the batch.

Hoffer, Hubara & Soudry, 2017, https://arxiv.org/abs/1705.08741
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.ghosts import GhostAverage
from keras_norm.core.layer import positive
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class GhostBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta per ghost.

    A ghost is `virtual_batch_size` consecutive samples; the last one takes
    what is left. Training is as noisy as with batches of that size.

    Area: ghost batch. Operation: standardize. Recovery: affine. Statistics:
    the ghost in training, moving averages in inference.

    Args:
        virtual_batch_size: samples of a ghost; 128 in the paper.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        update: "sequential": the ghosts move the state one after the other.
            "mean": they move it once, by the mean of their statistics weighted
            by their entries.
        synchronized: the ghosts of all replicas move the state, in the order
            of the replicas; each is still cut from what one replica holds.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates the statistics of the ghosts.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: a virtual batch size that is no positive integer; an axis
            outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.GhostBatchNormalization(virtual_batch_size=4)
    >>> x = np.random.rand(10, 8).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (10, 8)

    Reference:

    - Hoffer et al., Train longer, generalize better, NeurIPS 2017,
      https://arxiv.org/abs/1705.08741
    - Summers & Dinneen, Four Things Everyone Should Know to Improve Batch
      Normalization, ICLR 2020, https://arxiv.org/abs/1906.03548

    Note: the exponents that the paper prints for the sequential form are off
    by one; ours are those of as many moving averages in a row.
    """

    def __init__(
        self,
        virtual_batch_size=128,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        update="sequential",
        synchronized=False,
        **kwargs,
    ):
        positive("virtual_batch_size", virtual_batch_size)
        super().__init__(
            area=Area("chunks", "each", virtual_batch_size),
            statistics=GhostAverage(momentum, update, synchronized),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.virtual_batch_size = virtual_batch_size
        self.momentum, self.update = float(momentum), update
        self.synchronized = synchronized
