"""Iterative normalization: whitening by a few Newton steps.

Huang, Zhou, Zhu, Liu & Shao, 2019, https://arxiv.org/abs/1904.03441
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.matrix_operations import Newton
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class IterativeNormalization(ComposedNormalization):
    """y = gamma * W (x - mean) + beta, W ~ (covariance + epsilon I)^(-1/2).

    W comes from `iterations` Newton steps on the covariance divided by its
    trace, for consecutive groups of channels.

    Area: batch. Operation: whiten (matrix, Newton). Recovery: affine.
    Statistics: the batch in training, moving averages of mean and W (or the
    covariance) in inference, which is one matrix product.

    Args:
        group_size: channels whitened together; where it does not divide the
            channels the last group is smaller.
        iterations: Newton steps. 0 divides by the root of the trace only, 5
            whitens in part (the authors' choice), about 20 completely.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the diagonal of the covariance.
        synchronized: add up the statistics of all replicas.
        running: what is averaged for inference: "matrix" (W) or "covariance"
            (epsilon included; W is computed from it and kept in
            `whitening_matrix`).
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes, the same for all channels.

    Raises:
        ValueError: a group size below 1; an unknown `running`; an axis outside
            the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.IterativeNormalization(group_size=8)
    >>> x = np.random.normal(size=(32, 4, 4, 16)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (32, 4, 4, 16)

    Reference:

    - Huang et al., Iterative Normalization: Beyond Standardization towards
      Efficient Whitening, CVPR 2019, https://arxiv.org/abs/1904.03441

    Note: the authors' iteration is unstable in float32 beyond about ten steps;
    ours is its coupled form, with the same iterates in exact arithmetic. A
    `group_size` that does not divide is halved by their program until it does;
    their later, flexible one makes the last group smaller, as we do.
    """

    def __init__(
        self,
        group_size=64,
        iterations=5,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        running="matrix",
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=Newton(group_size, iterations, running),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.group_size, self.iterations = group_size, iterations
        self.momentum, self.synchronized = float(momentum), synchronized
        self.running = running
