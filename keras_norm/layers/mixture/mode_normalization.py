"""Mode normalization: every sample standardized by the modes it belongs to.

Deecke, Murray & Bilen, 2019, https://arxiv.org/abs/1810.05466
"""

import keras
from keras import ops

from keras_norm.core import modes
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class ModeNormalization(ComposedNormalization):
    """y = gamma sum_k g_k (x - mean_k) / sqrt(variance_k + epsilon) + beta.

    g = softmax(W^T pooled + b) are the gates of a sample, pooled its mean over
    the positions. mean_k and variance_k are those of the batch, each sample
    weighted by its g_k; gradients flow through the gates there too.

    Area: modes of the batch. Operation: standardize, gated mixture. Recovery:
    affine, the same for all modes. Statistics: the batch in training, moving
    averages of each mode in inference.

    Args:
        num_modes: number of modes; 1 is batch normalization.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variances, inside the roots.
        gate_initializer: of W. None: 1 / num_modes plus noise of deviation
            0.01, so that all gates start nearly equal.
        seed: of that noise: an integer, or None for one at random.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes; also of the means that the
            gates look at.

    Raises:
        ValueError: `num_modes` is not positive; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.ModeNormalization(num_modes=2)
    >>> x = np.random.rand(16, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (16, 8, 8, 3)

    Reference:

    - Deecke, Murray & Bilen, Mode Normalization, ICLR 2019,
      https://arxiv.org/abs/1810.05466

    Note: the authors keep moving averages of E[x] and E[x^2], which start at
    0. Ours are the mean and the variance that belong to them, without
    cancellation, and start at 0 and 1. b starts at 0, theirs at random. A mode
    that no sample belongs to keeps its averages.
    """

    lifts = False

    def __init__(
        self,
        num_modes=2,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        gate_initializer=None,
        seed=None,
        synchronized=False,
        **kwargs,
    ):
        positive("num_modes", num_modes)
        super().__init__(
            area=Area("gates", size=num_modes, synchronized=synchronized),
            statistics=modes.ModeAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.num_modes, self.momentum = num_modes, float(momentum)
        self.gate_initializer = keras.initializers.get(gate_initializer)
        self.seed, self.synchronized = seed, synchronized

    def build_state(self, channels):
        """The map to the gates, then the moving averages."""
        initial = self.gate_initializer
        if initial is None:
            initial = keras.initializers.RandomNormal(
                1.0 / self.num_modes, 0.01, seed=self.seed
            )
        self.gate_kernel = self.add_weight(
            shape=(channels, self.num_modes),
            name="gate_kernel",
            initializer=initial,
            autocast=False,
        )
        self.gate_bias = self.add_weight(
            shape=(self.num_modes,),
            name="gate_bias",
            initializer="zeros",
            autocast=False,
        )
        super().build_state(channels)

    def measures(self, training):
        """The gates always need the input."""
        return True

    def gates(self, table):
        """What each sample belongs to, (N, modes)."""
        pooled = ops.expand_dims(table.pivot + table.mean, 1)
        kernel = ops.transpose(ops.cast(self.gate_kernel, pooled.dtype))
        logits = ops.sum(pooled * kernel, axis=-1)
        logits = logits + ops.cast(self.gate_bias, pooled.dtype)
        if self.num_modes == 1:
            return 1.0 + 0.0 * logits
        return ops.softmax(logits)

    def factors(self, table, training, area=None):
        """A mixture of the modes' factors."""
        gates = self.gates(table)
        if training:
            averages = self.area.over(table, gates)
            found = modes.measured(averages)
            shift = found.near - averages.base + found.rest
            self.statistics.follow(self, shift, found.variance, averages)
        else:
            mean, variance = self.statistics.state(self, gates.dtype)
            found = modes.Modes(mean, ops.zeros_like(mean), variance)
        return modes.factors(table, gates, found, self.epsilon)
