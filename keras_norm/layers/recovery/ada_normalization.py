"""Ada normalization: layer normalization that lowers large entries.

Xu, Sun, Zhang, Zhao & Lin, 2019, https://arxiv.org/abs/1911.07013
"""

import keras
from keras import ops

from keras_norm.core import positions
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import axes_of
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import check_axes
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.self_scaled import SelfScaled
from keras_norm.core.self_scaled import StandardizeByDeviation


@keras.saving.register_keras_serializable("keras_norm")
class AdaNormalization(ComposedNormalization):
    """y = multiplier * (1 - k * h) * h, h = (x - mean) / (deviation + epsilon).

    The bracket (1 - k * h) is a constant to the gradient, which is that of
    layer normalization times bracket and multiplier. No gamma, no beta.

    Area: layer. Operation: standardize. Recovery: a detached function of the
    normalized input. Statistics: the input itself.

    Args:
        axis: axis or axes over which mean and deviation are taken, as of
            `LayerNormalization`.
        multiplier: a constant; the paper's C, 1 or 2.
        k: the slope; |k * h| should stay below 1.
        epsilon: added to the deviation, outside the root.
        unbiased: divide the variance by m - 1.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2. Masks are handed on.

    Raises:
        ValueError: axes outside the input; a multiplier or k that is no
            number.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.AdaNormalization(k=0.1)
    >>> tuple(layer(np.random.rand(2, 5, 8).astype("float32")).shape)
    (2, 5, 8)

    Reference:

    - Xu et al., Understanding and Improving Layer Normalization, NeurIPS 2019,
      https://arxiv.org/abs/1911.07013

    Note: the authors' program divides the variance by m - 1 and adds epsilon
    outside the root; so do we. Surveys that write the multiplier as the mean
    of h have it 0 for every input; it is a constant.
    """

    fixed = AFFINE

    def __init__(
        self,
        axis=-1,
        multiplier=1.0,
        k=0.1,
        epsilon=1e-5,
        unbiased=True,
        **kwargs,
    ):
        super().__init__(
            area=positions.Position(check_axes("axis", axis)),
            operation=StandardizeByDeviation(unbiased),
            recovery=SelfScaled(multiplier, k),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.multiplier, self.k = self.recovery.multiplier, self.recovery.k
        self.unbiased = unbiased

    def check_axis(self, axis):
        """One axis or several."""
        check_axes("axis", axis)
        return axis

    def build(self, inputs_shape):
        """No weights; the last of the axes must have a size."""
        axes = axes_of("axis", self.area.axes, inputs_shape, static=False)
        channels_of(axes[-1], inputs_shape)
        self.built = True

    def transform(self, x, training, mask, condition):
        """Standardize over the axes; the recovery follows on the data."""
        rank = len(x.shape)
        axes = tuple(sorted(a % rank for a in self.area.axes))
        one = ops.ones((1,) * rank, x.dtype)
        return positions.normalize(
            x, axes, self.operation, self.epsilon, mask, one, None
        )
