"""Group whitening: groups of channels of each sample whitened to each other.

Huang, Zhou, Liu & Shao, 2021, https://arxiv.org/abs/2009.13333
"""

import keras
from keras import ops

from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.layer import channels_of
from keras_norm.core.matrix_operations import named
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class GroupWhitening(ComposedNormalization):
    """y = gamma * W (x - mean) + beta, W ~ (covariance + epsilon I)^(-1/2).

    Each sample is the matrix x (groups, C / groups * positions) of its groups
    of consecutive channels; mean (groups,) and covariance (groups, groups) are
    over its columns. Where group normalization makes the variance of each
    group 1, this also makes the groups uncorrelated.

    Area: group. Operation: whiten (matrix). Recovery: affine per channel.
    Statistics: the input itself, in training and inference.

    Args:
        groups: number of groups, at most the channels, which it must divide
            then. 1: layer normalization over positions and channels; -1: one
            per channel.
        whitening: "iterative" (W by Newton steps), "zca" (the root itself) or
            "cholesky" (W = L^(-1), covariance + epsilon I = L L^T).
        iterations: Newton steps of "iterative"; 5 whitens in part (the
            authors' choice), about 20 completely.
        axis: channel axis.
        epsilon: added to the diagonal of the covariance.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: has no effect.
        mask: weights aligned to the leading axes, the same for all channels.

    Raises:
        ValueError: groups that do not divide the channels, an unknown
            `whitening`, an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.GroupWhitening(groups=4)
    >>> tuple(layer(np.random.rand(2, 8, 8, 16).astype("float32")).shape)
    (2, 8, 8, 16)

    Reference:

    - Huang et al., Group Whitening: Balancing Learning Efficiency and
      Representational Capacity, CVPR 2021, https://arxiv.org/abs/2009.13333

    Note: a matrix is made for every sample, in inference too. "iterative" is
    matrix products only and can be exported everywhere. "zca" and "cholesky"
    put a decomposition into the exported graph: a SavedModel made by JAX does
    not run, ONNX and OpenVINO have no such operation, LiteRT none for "zca".
    The authors' program has no epsilon in "iterative" and makes NaN of a
    constant input; epsilon=0 is theirs. Samples with fewer columns than groups
    are whitened in the directions they have.
    """

    def __init__(
        self,
        groups=32,
        whitening="iterative",
        iterations=5,
        axis=-1,
        epsilon=1e-5,
        **kwargs,
    ):
        super().__init__(
            area=Area("each", group_columns(groups)),
            operation=named(
                whitening,
                ("iterative", "zca", "cholesky"),
                iterations=iterations,
            ),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.groups, self.whitening = groups, whitening
        self.iterations = iterations

    def build(self, inputs_shape):
        """No more groups than channels."""
        channels = channels_of(self.axis, inputs_shape)
        if self.groups > 0:
            self.area = Area("each", min(self.groups, channels))
        super().build(inputs_shape)

    def build_state(self, channels):
        """There is none."""

    def transform(self, x, training, mask, condition):
        """Groups become the channels of a longer map, which is whitened."""
        axis = self.axis % len(x.shape)
        table = moments.measure(x, axis, mask)
        averages = self.area.over(table)
        _, data, weights = covariances.centred(table, averages, axis)
        shape, count = ops.shape(data), averages.groups

        def turned(t, first, second):
            t = ops.reshape(t, (*shape[:-1], first, second))
            return ops.swapaxes(t, -1, -2)

        data = turned(data, count, averages.width)
        if weights is not None:
            weights = ops.expand_dims(weights, -1)
        groups = channel_groups.ChannelGroups(count, count)
        covariance = covariances.measure(data, weights, averages, groups)
        covariance = self.operation.regularized(covariance, self.epsilon)
        matrix = ops.swapaxes(self.operation.matrix(covariance), -1, -2)
        y = channel_groups.apply(data, matrix, groups)
        y = ops.reshape(turned(y, averages.width, count), shape)
        one = ops.ones((1, self.channels), y.dtype)
        gamma, beta = self.recovery.fold(self, one, 0.0 * one)
        view = moments.viewer(len(x.shape), -1)
        y = primitives.affine(y, view(gamma), view(beta))
        return ops.moveaxis(y, -1, axis)
