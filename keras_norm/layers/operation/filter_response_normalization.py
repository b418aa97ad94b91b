"""Filter response normalization and the thresholded linear unit.

Singh & Krishnan, 2020, https://arxiv.org/abs/1911.09737
"""

import keras
from keras import ops

from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.entries import absolute
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Scale


def threshold(y, tau, axis):
    """max(y, tau) with one tau per channel."""
    view = moments.viewer(len(y.shape), axis)
    return ops.maximum(y, view(ops.cast(tau, y.dtype)[None]))


@keras.saving.register_keras_serializable("keras_norm")
class FilterResponseNormalization(ComposedNormalization):
    """y = gamma * x / sqrt(mean(x^2) + epsilon) + beta per instance.

    Area: instance. Operation: scale (the second moment about zero). Recovery:
    affine, and max(y, tau) with `use_tlu`. Statistics: the input itself.

    Args:
        axis: channel axis.
        epsilon: added to the mean square, inside the root.
        learn_epsilon: add |e| with a learned e to epsilon; for inputs of one
            position per sample.
        epsilon_initializer: initial e, a number or an initializer.
        use_tlu: the thresholded linear unit max(y, tau).
        tau_initializer: initializer of `tau` (C,).
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.FilterResponseNormalization(use_tlu=True)
    >>> y = layer(np.random.normal(size=(2, 4, 4, 3)).astype("float32"))
    >>> bool(keras.ops.convert_to_numpy(y).min() >= 0)
    True

    Reference:

    - Singh & Krishnan, Filter Response Normalization Layer, CVPR 2020,
      https://arxiv.org/abs/1911.09737

    Note: the paper writes epsilon + |e|, the listing beside it |e| alone (give
    epsilon=0 for that).
    """

    def __init__(
        self,
        axis=-1,
        epsilon=1e-6,
        learn_epsilon=False,
        epsilon_initializer=1e-4,
        use_tlu=False,
        tau_initializer="zeros",
        **kwargs,
    ):
        super().__init__(
            area=Area("each", "each"),
            operation=Scale(),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.learn_epsilon, self.use_tlu = learn_epsilon, use_tlu
        self.epsilon_initializer = epsilon_initializer
        if not isinstance(epsilon_initializer, (int, float)):
            self.epsilon_initializer = keras.initializers.get(
                epsilon_initializer
            )
        self.tau_initializer = keras.initializers.get(tau_initializer)

    def build(self, inputs_shape):
        """gamma, beta, then the learned epsilon and tau."""
        super().build(inputs_shape)
        if self.learn_epsilon:
            initial = self.epsilon_initializer
            if isinstance(initial, (int, float)):
                initial = keras.initializers.Constant(initial)
            self.learned_epsilon = self.add_weight(
                shape=(1,),
                name="learned_epsilon",
                initializer=initial,
                autocast=False,
            )
        if self.use_tlu:
            self.add_option("tau", (self.channels,))

    def acting_epsilon(self, dtype):
        """epsilon, or epsilon + |e|."""
        if not self.learn_epsilon:
            return self.epsilon
        return self.epsilon + absolute(ops.cast(self.learned_epsilon, dtype))

    def finish(self, x, y, mask):
        """The threshold."""
        return threshold(y, self.tau, self.axis) if self.use_tlu else y


@keras.saving.register_keras_serializable("keras_norm")
class TLU(NormalizationLayer):
    """y = max(x, tau), the thresholded linear unit, tau learned per channel.

    The activation that goes with `FilterResponseNormalization`.

    Args:
        axis: channel axis.
        tau_initializer: initializer of `tau` (C,); zeros is a ReLU.
        tau_regularizer: regularizer of `tau`.
        tau_constraint: constraint of `tau`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2.

    Raises:
        ValueError: an axis outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> y = kn.layers.TLU()(np.array([[-1.0, 2.0]], "float32"))
    >>> print(keras.ops.convert_to_numpy(y)[0])
    [0. 2.]

    Reference:

    - Singh & Krishnan, Filter Response Normalization Layer, CVPR 2020,
      https://arxiv.org/abs/1911.09737
    """

    fixed = ("epsilon", *AFFINE)

    def __init__(
        self,
        axis=-1,
        tau_initializer="zeros",
        tau_regularizer=None,
        tau_constraint=None,
        **kwargs,
    ):
        super().__init__(axis=axis, **kwargs)
        self.tau_initializer = keras.initializers.get(tau_initializer)
        self.tau_regularizer = keras.regularizers.get(tau_regularizer)
        self.tau_constraint = keras.constraints.get(tau_constraint)

    def build(self, inputs_shape):
        """Create tau."""
        self.add_option("tau", (channels_of(self.axis, inputs_shape),))
        self.built = True

    def call(self, inputs):
        """The larger of input and threshold."""
        x = self.widened(inputs)
        return self.narrowed(threshold(x, self.tau, self.axis))
