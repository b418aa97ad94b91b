"""Range batch normalization: the deviation from largest minus smallest.

Banner, Hubara, Hoffer & Soudry, 2018, https://arxiv.org/abs/1805.11046
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.deviations import RangeDeviation
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class RangeBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / deviation + beta, the deviation from ranges.

    deviation = fix * (mean over chunks of max - min) + epsilon, the entries of
    a channel cut into consecutive chunks in the order (batch, positions).

    Area: batch. Operation: standardize by the range. Recovery: affine.
    Statistics: the batch in training, moving averages (of mean and deviation)
    in inference.

    Args:
        num_chunks: number of chunks; the last may be shorter.
        scale_fix: "code", 0.175 (1 + sqrt(pi ln 4)) / sqrt(2 ln n) for n
            entries in a chunk, as the authors' program, or "paper",
            1 / sqrt(2 ln n), which makes the output about half as large.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the deviation.
        synchronized: cut the chunks from the entries of all replicas, which
            every replica then gathers.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes; chunks are cut from the
            entries that count.

    Raises:
        ValueError: an unknown `scale_fix`; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.RangeBatchNormalization(num_chunks=4)
    >>> x = np.random.normal(size=(64, 8)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (64, 8)

    Reference:

    - Banner et al., Scalable Methods for 8-bit Training of Neural Networks,
      NeurIPS 2018, https://arxiv.org/abs/1805.11046

    Note: the authors' program keeps moving averages of the *inverse* deviation
    with 0.1 kept and needs chunks that come out even; see
    `LpBatchNormalization`.
    """

    def __init__(
        self,
        num_chunks=16,
        scale_fix="code",
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            operation=RangeDeviation(num_chunks, scale_fix),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_chunks, self.scale_fix = num_chunks, scale_fix
        self.momentum, self.synchronized = float(momentum), synchronized
