"""Layer-instance normalization (ILN, LIN) and its adaptive form (AdaLIN).

Kim, Kim, Kang & Lee, 2020, https://arxiv.org/abs/1907.10830
"""

from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import area_mixture
from keras_norm.core.areas import Area
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.recoveries import Affine
from keras_norm.core.recoveries import Generated
from keras_norm.layers.statistics.kalman_normalization import Share


@keras.saving.register_keras_serializable("keras_norm")
class LayerInstanceNormalization(ComposedNormalization):
    """y = gamma * (gate * x_I + (1 - gate) * x_L) + beta.

    x_I and x_L are x standardized by the statistics of the instance and of all
    channels of the sample; every channel has a gate of its own. A constraint
    holds gates in [0, 1] after each step of the optimizer.

    Area: layer, instance. Operation: standardize, gated mixture. Recovery:
    affine. Statistics: the input itself.

    Args:
        axis: channel axis.
        epsilon: added to the variances, inside the roots.
        gate_initializer: initializer of `gate` (C,), or the number that it
            starts at: 1 is instance, 0 layer normalization.
        unbiased: divide each variance by its own m - 1.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 3.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: inputs without positions; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LayerInstanceNormalization()
    >>> tuple(layer(np.random.rand(4, 8, 8, 3).astype("float32")).shape)
    (4, 8, 8, 3)

    Reference:

    - Kim et al., U-GAT-IT: Unsupervised Generative Attentional Networks with
      Adaptive Layer-Instance Normalization for Image-to-Image Translation,
      ICLR 2020, https://arxiv.org/abs/1907.10830

    Note: of the authors' programs the one in PyTorch has unbiased variances,
    the one in TensorFlow biased ones. Weights: gamma, beta, gate.
    """

    lifts = False
    recovers: Any = Affine

    def __init__(
        self,
        axis=-1,
        epsilon=1e-5,
        gate_initializer="zeros",
        unbiased=False,
        **kwargs,
    ):
        super().__init__(
            area=Area("each", "each"),
            recovery=self.recovers(),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        if isinstance(gate_initializer, (int, float)):
            initial = keras.initializers.Constant(gate_initializer)
        else:
            initial = keras.initializers.get(gate_initializer)
        self.gate_initializer, self.unbiased = initial, unbiased
        self.gate_constraint = Share()

    def build(self, inputs_shape, condition_shape=None):
        """Create the weights; instances have positions."""
        if len(inputs_shape) == 2:
            raise errors.received(
                "The input must have positions, (batch, ..., channels): an "
                "instance of one entry has no deviation.",
                "Use LayerNormalization.",
                input_shape=inputs_shape,
            )
        super().build(inputs_shape, condition_shape)

    def build_state(self, channels):
        """The gates; there is no state."""
        self.add_option("gate", (channels,))

    def factors(self, table, training, area=None):
        """Both outputs, mixed."""
        gate = ops.cast(self.gate, table.mean.dtype)
        parts = area_mixture.of_areas(
            self, ("instance", "layer"), table, training, self.unbiased
        )
        return area_mixture.of_outputs(parts, [gate, 1.0 - gate], self.epsilon)


@keras.saving.register_keras_serializable("keras_norm")
class AdaptiveLayerInstanceNormalization(LayerInstanceNormalization):
    """y = gamma(s) * (gate * x_I + (1 - gate) * x_L) + beta(s).

    x_I and x_L are x standardized by the statistics of the instance and of all
    channels of the sample; every channel has a gate of its own. gamma and beta
    come with the call, as from a network that sees the input.

    Area: layer, instance. Operation: standardize, gated mixture. Recovery:
    generated. Statistics: the input itself.

    Args:
        axis: channel axis.
        epsilon: added to the variances, inside the roots.
        gate_initializer: initializer of `gate` (C,), or the number that it
            starts at: 1 is instance, 0 layer normalization.
        unbiased: divide each variance by its own m - 1.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 3, or the list [inputs, gamma, beta].
        gamma: (N, C).
        beta: (N, C).
        mask: weights aligned to the leading axes of the inputs.

    Raises:
        ValueError: no gamma and beta, or of another number of channels; inputs
            without positions.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.AdaptiveLayerInstanceNormalization()
    >>> x = np.random.rand(4, 8, 8, 3).astype("float32")
    >>> gamma, beta = np.ones((4, 3)), np.zeros((4, 3))
    >>> tuple(layer(x, gamma, beta).shape)
    (4, 8, 8, 3)

    Reference:

    - Kim et al., U-GAT-IT: Unsupervised Generative Attentional Networks with
      Adaptive Layer-Instance Normalization for Image-to-Image Translation,
      ICLR 2020, https://arxiv.org/abs/1907.10830

    Note: see `LayerInstanceNormalization`. In PyTorch the authors' gates start
    at 0.9, as ours; in TensorFlow at 1, and the call lowers them by 0.1.
    """

    fixed = AFFINE
    recovers = Generated

    def __init__(
        self,
        axis=-1,
        epsilon=1e-5,
        gate_initializer=0.9,
        unbiased=False,
        **kwargs,
    ):
        super().__init__(
            axis=axis,
            epsilon=epsilon,
            gate_initializer=gate_initializer,
            unbiased=unbiased,
            **kwargs,
        )

    def build(self, inputs_shape, gamma_shape=None, beta_shape=None):
        """The gates are all there is to create."""
        given = [s for s in (gamma_shape, beta_shape) if s is not None]
        if several(inputs_shape):
            inputs_shape, *given = inputs_shape
        super().build(inputs_shape, given or None)
        self.recovery.check(self.channels, *given)

    def call(self, inputs, gamma=None, beta=None, training=None, mask=None):
        """Gamma and beta by position, keyword, or in a list."""
        both = gamma is not None and beta is not None
        condition = (gamma, beta) if both else gamma
        return self.normalize(inputs, training, mask, condition)
