"""Switchable batch normalization: one for each width of a slimmable network.

Yu, Yang, Xu, Yang & Huang, 2019, https://arxiv.org/abs/1812.08928
"""

import keras

from keras_norm import errors
from keras_norm.core.areas import Area
from keras_norm.core.areas import is_count
from keras_norm.core.layer import channels_of
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.switches import SwitchedAffine
from keras_norm.core.switches import SwitchedAverage


@keras.saving.register_keras_serializable("keras_norm")
class SwitchableBatchNormalization(ComposedNormalization):
    """y = gamma_w * (x - mean_w) / sqrt(variance_w + epsilon) + beta_w.

    A slimmable network runs at several widths with the same kernels. The
    features of each width have statistics of their own: this layer is a batch
    normalization for each of them, and the number of channels of the input
    says which.

    Area: batch. Operation: standardize. Recovery: affine for each width.
    Statistics: the batch, moving averages for each width.

    Args:
        widths: the numbers of channels, distinct.
        shared_affine: one gamma and beta for all widths, of which each uses
            the first entries (universally slimmable networks).
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        unbiased_moving_variance: store the variances divided by m - 1, as the
            authors' program does.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, of one of the widths. A compiled
            step is compiled again for each.
        training: True uses and updates batch statistics of this width.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: widths that are no distinct positive integers; an input of
            another width; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SwitchableBatchNormalization(widths=(4, 8))
    >>> for width in (4, 8):
    ...     y = layer(np.random.rand(6, width).astype("float32"))
    >>> tuple(layer.moving_mean.shape)
    (2, 8)

    Reference:

    - Yu et al., Slimmable Neural Networks, ICLR 2019,
      https://arxiv.org/abs/1812.08928
    - Yu & Huang, Universally Slimmable Networks and Improved Training
      Techniques, ICCV 2019, https://arxiv.org/abs/1903.05134

    Note: weights and state are tables (widths, largest width); what lies
    beyond a width in its row is never used.
    """

    def __init__(
        self,
        widths,
        shared_affine=False,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        unbiased_moving_variance=False,
        **kwargs,
    ):
        several = isinstance(widths, (list, tuple)) and len(widths) > 0
        if (
            not several
            or not all(is_count(w) for w in widths)
            or len(set(widths)) < len(widths)
        ):
            raise errors.received(
                "`widths` must be distinct positive integers.",
                "They are the numbers of channels, for example widths=(8, 16).",
                widths=widths,
            )
        self.widths = tuple(widths)
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=SwitchedAverage(
                self.widths, momentum, unbiased_moving_variance
            ),
            recovery=SwitchedAffine(self.widths, shared_affine),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.shared_affine, self.momentum = shared_affine, float(momentum)
        self.synchronized = synchronized
        self.unbiased_moving_variance = unbiased_moving_variance

    def build(self, inputs_shape):
        """All widths at once, whichever comes first."""
        self.switch(inputs_shape)
        super().build(inputs_shape)
        # Any of the widths may come.
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def switch(self, shape):
        """Take the width of an input of that shape."""
        channels = channels_of(self.axis, shape)
        if channels not in self.widths:
            raise errors.received(
                "The number of channels must be one of `widths`.",
                widths=self.widths,
                channels=channels,
                input_shape=tuple(shape),
            )
        self.width = self.widths.index(channels), channels
        self.channels = channels

    def transform(self, x, training, mask, condition):
        """The path of this width."""
        self.switch(x.shape)
        return super().transform(x, training, mask, condition)
