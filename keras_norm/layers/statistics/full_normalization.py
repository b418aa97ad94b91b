"""Full normalization: batch normalization as composition optimization.

Lian & Liu, 2019, https://arxiv.org/abs/1810.06177
"""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.composition import Composition
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class FullNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta of all data.

    The estimates e = (E[x], E[x^2]) of the whole training set normalize, in
    training too: e <- (1 - a) e + a of the batch, mean = E[x], variance =
    E[x^2] - E[x]^2. The gradient goes through the batch's moments with weight
    1, not a, at the new e: compositional gradient descent.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: batch
    and population, averaged.

    Args:
        momentum: 1 - a; 0 is batch normalization. None: a = min(1, t^-power)
            with t = 1 at the first step.
        power: see above; 1 gives the arithmetic mean of all batches.
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True updates the estimates first.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: a momentum outside [0, 1], a negative power; an axis
            outside the input.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.FullNormalization(power=1.0)
    >>> for x in ([[1.0], [3.0]], [[5.0], [7.0]]):
    ...     y = layer(np.array(x, "float32"), training=True)
    >>> print(keras.ops.convert_to_numpy(layer.moving_mean))
    [4.]

    Reference:

    - Lian & Liu, Revisit Batch Normalization: New Understanding and Refinement
      via Composition Optimization, AISTATS 2019,
      https://arxiv.org/abs/1810.06177

    Note: the state is the mean and the variance; E[x^2] - E[x]^2 would cancel.
    """

    def __init__(
        self,
        momentum=None,
        power=0.75,
        axis=-1,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=Composition(momentum, power),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.momentum, self.power = momentum, float(power)
        self.synchronized = synchronized
