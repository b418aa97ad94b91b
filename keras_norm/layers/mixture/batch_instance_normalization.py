"""Batch-instance normalization: a gate between the two for every channel.

Nam & Kim, 2018, https://arxiv.org/abs/1805.07925
"""

import keras
from keras import ops

from keras_norm.core import area_mixture
from keras_norm.layers.statistics.kalman_normalization import Share


@keras.saving.register_keras_serializable("keras_norm")
class BatchInstanceNormalization(area_mixture.AreaMixture):
    """y = gamma * (gate * x_B + (1 - gate) * x_I) + beta.

    x_B and x_I are x standardized by the statistics of the batch and of the
    instance; every channel has a gate of its own. A constraint holds gates in
    [0, 1] after each step of the optimizer.

    Area: batch, instance. Operation: standardize, gated mixture. Recovery:
    affine. Statistics: of the batch part the batch in training and moving
    averages in inference, of the instance part the input itself.

    Args:
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variances, inside the roots.
        gate_initializer: initializer of `gate` (C,); 1 is batch, 0 instance
            normalization.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 3.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: inputs without positions; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchInstanceNormalization()
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 3)

    Reference:

    - Nam & Kim, Batch-Instance Normalization for Adaptively Style-Invariant
      Neural Networks, NeurIPS 2018, https://arxiv.org/abs/1805.07925

    Note: the authors train the gates at ten times the learning rate. Weights:
    gamma, beta, gate, moving_mean, moving_variance.
    """

    fixed = ("normalizers", "unbiased")
    drops_instances = False
    without_instances = "Use BatchNormalization."

    def __init__(
        self,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        gate_initializer="ones",
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            ("batch", "instance"),
            axis=axis,
            momentum=momentum,
            epsilon=epsilon,
            synchronized=synchronized,
            **kwargs,
        )
        self.gate_initializer = keras.initializers.get(gate_initializer)
        self.gate_constraint = Share()

    def build_state(self, channels):
        """The gates, then the moving averages."""
        self.add_option("gate", (channels,))
        super().build_state(channels)

    def factors(self, table, training, area=None):
        """Both outputs, mixed."""
        gate = ops.cast(self.gate, table.mean.dtype)
        parts = self.parts(table, training)
        return area_mixture.of_outputs(parts, [gate, 1.0 - gate], self.epsilon)
