"""Group-wise deep whitening and coloring: both learned, no decomposition.

Cho, Choi, Park, Shin & Choo, 2019, https://arxiv.org/abs/1812.09912
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.entries import absolute
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import positive
from keras_norm.core.layer import several
from keras_norm.ops.matrix_roots import identity

AREAS = {"instance": Area("each", "each"), "batch": Area("all", "each")}
# Added to squared norms: half of the least exponent of float32.
_LEAST = 1e-24


@keras.saving.register_keras_serializable("keras_norm")
class GroupwiseWhiteningColoring(NormalizationLayer):
    """y = alpha * (X (x - mean) + mu) + (1 - alpha) * x, X = M D^(-1) M^T.

    M (d, d), one for each group of d channels, and mu come from the style by
    two networks; D are the lengths of the columns of M, so that X = U D U^T
    with U = M D^(-1). Whitening is not computed but learned: in training the
    layer adds the losses

        whitening_weight * mean |S + epsilon I - I|, S the covariance of a group
        coloring_weight * mean |U^T U - I|

    which lead the layers before it to white x and the network to orthogonal U.

    Area: instance (or batch). Operation: center. Recovery: coloring, generated
    from a style. Statistics: the input itself; no state.

    Args:
        groups: groups of channels; must divide the channels, and the features
            of the style, of which each part makes one M by the same network.
        units: hidden units of the coloring network.
        coloring_layers: dense layers of the coloring network, the last
            included, a leaky ReLU between each two.
        mean_layers: the same of the network for mu, whose hidden layers are as
            wide as the style.
        negative_slope: of the leaky ReLU.
        alpha_initializer: initial alpha, a number or an initializer.
        area: whose mean is subtracted, and whose covariance is penalized: each
            sample's ("instance") or the "batch"'s.
        whitening_weight: see above; 0 for no such loss.
        coloring_weight: see above; 0 for no such loss.
        axis: channel axis.
        epsilon: added to the diagonal of the penalized covariance.
        kernel_initializer: of all dense layers.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: content, tensor of rank at least 3, or a list with the others.
        style: features (N, F); or, where `mean` is given, the matrices M,
            (N, groups, d, d), and the layer has no networks.
        mean: mu (N, C), or None.
        training: True adds the losses.
        mask: weights aligned to the leading axes of the content, the same for
            all channels.

    Raises:
        ValueError: groups that do not divide; no style; no positions.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.GroupwiseWhiteningColoring(groups=2, units=16)
    >>> x = np.random.rand(2, 8, 8, 6).astype("float32")
    >>> style = np.random.rand(2, 10).astype("float32")
    >>> tuple(layer(x, style, training=True).shape), len(layer.losses)
    ((2, 8, 8, 6), 2)

    Reference:

    - Cho et al., Image-to-Image Translation via Group-wise Deep Whitening-and-
      Coloring Transformation, CVPR 2019, https://arxiv.org/abs/1812.09912

    Note: the authors' program takes mean and covariance over the batch
    (`area="batch"`), so that an image's translation depends on the others, and
    penalizes |U - I|, which would forbid U to rotate; we follow the paper.
    """

    fixed = AFFINE

    def __init__(
        self,
        groups=8,
        units=256,
        coloring_layers=5,
        mean_layers=3,
        negative_slope=0.01,
        alpha_initializer=0.6,
        area="instance",
        whitening_weight=1e-3,
        coloring_weight=10.0,
        axis=-1,
        epsilon=1e-5,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(axis=axis, epsilon=epsilon, **kwargs)
        group_columns(groups)
        positive("units", units)
        positive("coloring_layers", coloring_layers)
        positive("mean_layers", mean_layers)
        if area not in AREAS:
            raise errors.unknown_name("area", area, list(AREAS))
        weights = {
            "whitening_weight": whitening_weight,
            "coloring_weight": coloring_weight,
        }
        for name, value in weights.items():
            if not value >= 0:
                raise errors.received(
                    f"`{name}` must not be negative.", **{name: value}
                )
        if not isinstance(alpha_initializer, (int, float)):
            alpha_initializer = keras.initializers.get(alpha_initializer)
        self.groups, self.units, self.area = groups, units, area
        self.coloring_layers, self.mean_layers = coloring_layers, mean_layers
        self.negative_slope = negative_slope
        self.alpha_initializer = alpha_initializer
        self.whitening_weight = whitening_weight
        self.coloring_weight = coloring_weight
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    # Weights ----------------------------------------------------------------

    def build(self, inputs_shape, style_shape=None, mean_shape=None):
        """Alpha and, where the style is one of features, two networks."""
        if several(inputs_shape):
            inputs_shape, style_shape, mean_shape = three(inputs_shape)
        if style_shape is None:
            raise self.missing_style()
        if len(inputs_shape) < 3:
            raise errors.received(
                "The input must have at least rank 3, (batch, positions, "
                "channels).",
                input_shape=inputs_shape,
            )
        channels = channels_of(self.axis, inputs_shape)
        columns = group_columns(self.groups)
        count = channels if columns == "each" else columns
        Area("each", count).check(channels)
        self.cut = channel_groups.ChannelGroups(channels, channels // count)
        initializer = self.alpha_initializer
        if isinstance(initializer, (int, float)):
            initializer = keras.initializers.Constant(initializer)
        self.alpha = self.add_weight(
            shape=(1,), name="alpha", initializer=initializer, autocast=False
        )
        self.coloring_network = self.mean_network = []
        if mean_shape is None:
            features = style_shape[-1]
            if len(style_shape) != 2 or not features or features % count:
                raise errors.received(
                    "`style` must be (batch, features), the features a "
                    "multiple of the groups.",
                    style_shape=style_shape,
                    groups=count,
                )
            hidden = [self.units] * (self.coloring_layers - 1)
            self.coloring_network = self.network(
                "coloring", features // count, [*hidden, self.cut.width**2]
            )
            hidden = [features] * (self.mean_layers - 1)
            self.mean_network = self.network(
                "mean", features, [*hidden, channels]
            )
        self.built = True

    def network(self, name, features, widths):
        """Dense layers, built."""
        # Wide, whatever the layer's policy: they make matrices and offsets.
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        layers = []
        for i, width in enumerate(widths):
            dense = keras.layers.Dense(
                width,
                kernel_initializer=self.kernel_initializer.clone(),
                dtype=wide,
                name=f"{name}_{i}",
            )
            dense.build((None, features))
            layers.append(dense)
            features = width
        return layers

    def missing_style(self):
        """The error of a call without a style."""
        return ValueError(
            f"{type(self).__name__} needs a second input `style`: features "
            "(N, F). Received: style=None. Call it as layer([x, style]) or "
            "layer(x, style)."
        )

    # The call ---------------------------------------------------------------

    def call(self, inputs, style=None, mean=None, training=None, mask=None):
        """The style by position, keyword, or in a list."""
        if isinstance(inputs, (list, tuple)):
            inputs, style, mean = three(inputs)
            mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if style is None:
            raise self.missing_style()
        x = self.widened(inputs)
        axis, groups = self.axis % len(x.shape), self.cut
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        table = moments.measure(x, axis, mask)
        averages = AREAS[self.area].over(table)
        _, data, weights = covariances.centred(table, averages, axis)
        training = training and self.trainable
        if training and self.whitening_weight:
            covariance = covariances.measure(
                data, weights, averages, groups, unbiased=True
            )
            off = covariance + self.epsilon * self.eye(covariance)
            self.penalize(self.whitening_weight, off)

        style = ops.cast(style, x.dtype)
        if mean is None:
            matrices, mean = self.generate(style)
        else:
            matrices = style
        mean = ops.cast(mean, x.dtype)
        lengths = ops.sum(ops.square(matrices), axis=-2, keepdims=True)
        directions = matrices * ops.rsqrt(lengths + _LEAST)
        # Symmetric: which index is that of the output does not matter.
        color = ops.matmul(matrices, ops.swapaxes(directions, -1, -2))

        y = channel_groups.apply(data, color, groups)
        y = ops.moveaxis(y + moments.viewer(len(x.shape), -1)(mean), -1, axis)
        alpha = ops.cast(self.alpha, x.dtype)
        if training and self.coloring_weight:
            turned = ops.swapaxes(directions, -1, -2)
            off = ops.matmul(turned, directions)
            self.penalize(self.coloring_weight, off)
        return self.narrowed(alpha * y + (1.0 - alpha) * x)

    def generate(self, style):
        """(M, mu) of features (N, F)."""
        d, n = self.cut.width, self.cut.count
        parts = ops.reshape(style, (-1, style.shape[-1] // n))
        matrices = self.through(self.coloring_network, parts)
        mean = self.through(self.mean_network, style)
        # Explicit where it can be: -1 is ambiguous for an empty batch.
        return ops.reshape(matrices, (ops.shape(style)[0], n, d, d)), mean

    def through(self, network, t):
        """A network applied, in the dtype of its input."""
        for i, dense in enumerate(network):
            t = ops.leaky_relu(t, self.negative_slope) if i else t
            t = ops.cast(dense(t), t.dtype)
        return t

    def eye(self, matrices):
        """The identity beside matrices."""
        return identity(matrices.shape[-1], matrices.dtype)

    def penalize(self, weight, matrices):
        """Add the mean absolute difference from the identity as a loss."""
        off = absolute(matrices - self.eye(matrices))
        size = primitives.size_of(off, range(len(off.shape)))
        self.add_loss(weight * ops.sum(off) / primitives.at_least_one(size))


def three(inputs):
    """The content, and the others or None."""
    return (*inputs, None, None)[:3]
