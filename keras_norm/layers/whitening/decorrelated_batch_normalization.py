"""Decorrelated batch normalization: groups of channels whitened.

Huang, Yang, Lang & Deng, 2018, https://arxiv.org/abs/1804.08450
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.matrix_operations import WHITENINGS
from keras_norm.core.matrix_operations import named
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class DecorrelatedBatchNormalization(ComposedNormalization):
    """y = gamma * W (x - mean) + beta, W S W^T = I, S = covariance + epsilon I.

    For consecutive groups of channels, S = U L U^T = R R^T (R lower
    triangular) and `whitening`:

    - "zca": W = U L^(-1/2) U^T, the whitened data nearest to x;
    - "pca": W = L^(-1/2) U^T, principal axes, the largest first;
    - "cholesky": W = R^(-1), each channel less those before it;
    - "iterative": S^(-1/2) by Newton steps, as `IterativeNormalization`;
    - "decorrelate": W = U^T, rotated to the principal axes, not scaled.

    Area: batch. Operation: whiten (matrix). Recovery: affine. Statistics: the
    batch in training, moving averages in inference, which is one matrix
    product.

    Args:
        group_size: channels whitened together; where it does not divide the
            channels the last group is smaller. 1 is batch normalization.
        whitening: see above.
        iterations: Newton steps of "iterative".
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the diagonal of the covariance.
        running: what is averaged for inference: "covariance" (epsilon
            included; W is computed from it and kept in `whitening_matrix`) or
            "matrix" (W itself).
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes, the same for all channels.

    Raises:
        ValueError: an unknown `whitening` or `running`; a group size below 1;
            an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DecorrelatedBatchNormalization(
    ...     whitening="cholesky", epsilon=0.0
    ... )
    >>> x = np.array([[1, 2], [-1, -1], [1, 0], [-1, -1]], "float32")
    >>> y = keras.ops.convert_to_numpy(layer(x, training=True))
    >>> print((y.T @ y / 4).round(3) + 0.0)
    [[1. 0.]
     [0. 1.]]

    Reference:

    - Huang et al., Decorrelated Batch Normalization, CVPR 2018,
      https://arxiv.org/abs/1804.08450
    - Huang et al., An Investigation into the Stochasticity of Batch Whitening,
      CVPR 2020, https://arxiv.org/abs/2003.12327

    Note: "covariance" is the authors' later advice, their first programs
    average the matrix. Whitening needs many more entries than channels of a
    group; with fewer, only epsilon bounds W. The signs of the axes of "pca"
    and "decorrelate" are arbitrary: here the largest entry of each is
    positive. Their gradients grow without bound where two eigenvalues meet
    (the reason why "zca" is the default) and are kept finite.
    """

    def __init__(
        self,
        group_size=16,
        whitening="zca",
        iterations=5,
        axis=-1,
        momentum=0.9,
        epsilon=1e-3,
        running="covariance",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=named(
                whitening, WHITENINGS, group_size, iterations, running=running
            ),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.group_size, self.whitening = group_size, whitening
        self.iterations, self.running = iterations, running
        self.momentum, self.synchronized = float(momentum), synchronized
