"""A convolution whose partial sums over input channels are normalized.

Luo et al., 2020, https://arxiv.org/abs/2005.06828
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import fine_grained
from keras_norm.core.layer import positive
from keras_norm.core.normalized_kernel import NormalizedConvolution
from keras_norm.core.normalized_kernel import common_pivot


@keras.saving.register_keras_serializable("keras_norm")
class FineGrainedConv2D(NormalizedConvolution):
    """y = activation(sum_g gamma_g (h_g - m_g) / sqrt(v_g + epsilon) + beta).

    h_g is the convolution of the g-th part of the input channels with its part
    of the kernel, to all filters; m_g and v_g are mean and variance of its
    batch. See `FineGrainedBatchNormalization`. Inference is one convolution.

    Area: batch. Operation: standardize. Recovery: affine for each group, and
    their sum. Statistics: the batch in training, moving averages in inference.

    Args:
        filters: number of output channels.
        kernel_size: one integer, or height and width.
        strides: one integer, or height and width.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first", or None for the one
            of the Keras config. Channels-first data are transposed.
        dilation_rate: one integer, or height and width.
        groups: parts of the input channels; 1 is a convolution and batch
            normalization. Not the groups of `keras.layers.Conv2D`: each part
            has a share in all filters.
        activation: applied last, as in `keras.layers.Conv2D`.
        use_bias: add a `bias` to each h_g, which in training normalization
            takes out again: one of shape (groups * filters,).
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, as in
            `ComposedNormalization`; `kernel_...`, `bias_...`,
            `activity_regularizer`, `name`, `dtype` as in
            `keras.layers.Conv2D`.

    Call arguments:
        inputs: tensor (batch, height, width, channels), or channels first.
        training: True uses and updates batch statistics.
        mask: refused.

    Raises:
        ValueError: sizes below 1, groups that do not divide the channels,
            strides together with dilation, an input smaller than the kernel, a
            mask.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.FineGrainedConv2D(4, 3, groups=2)
    >>> x = np.random.normal(size=(2, 6, 6, 8)).astype("float32")
    >>> y = layer(x, training=True)
    >>> convolution = layer.fuse()
    >>> difference = keras.ops.max(keras.ops.abs(convolution(x) - layer(x)))
    >>> bool(difference < 1e-5)
    True

    Reference:

    - Luo et al., Finet: Using Fine-grained Batch Normalization to Train
      Light-weight Neural Networks, 2020, https://arxiv.org/abs/2005.06828

    Note: training holds `groups` results instead of one; parameters are those
    of one convolution and of batch normalization of groups * filters channels.
    Under mixed precision the convolution is computed in half precision, in
    training relative to a value of each input channel, and the statistics in
    float32. Weights: kernel (height, width, channels, filters) as
    `keras.layers.Conv2D`, whose saved kernel loads; gamma (groups, filters),
    beta; moving_mean, moving_variance (groups * filters,).
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        groups=2,
        activation=None,
        use_bias=False,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            momentum=momentum,
            epsilon=epsilon,
            **kwargs,
        )
        positive("groups", groups)
        self.groups, self.synchronized = groups, synchronized
        self.recovery = fine_grained.GroupSum(groups)

    def build(self, inputs_shape):
        """Create kernel and bias, gamma and beta, the state."""
        super().build(inputs_shape)
        outputs = self.groups * self.filters
        self.recovery.build(self, outputs)
        self.add_state("moving_mean", (outputs,), "zeros")
        self.add_state("moving_variance", (outputs,), "ones")

    def add_kernel(self, shape):
        """The kernel of all channels; a bias for each partial sum."""
        *sizes, width, filters = shape
        self.add_option("kernel", (*sizes, width * self.groups, filters))
        if self.use_bias:
            self.add_option("bias", (self.groups * filters,))

    def in_groups(self, kernel):
        """(height, width, groups, channels of a group, filters)."""
        return ops.reshape(
            kernel, (*self.kernel_size, self.groups, -1, self.filters)
        )

    def kernel_of_data(self):
        """Of a convolution in groups: (height, width, channels, outputs)."""
        kernel = ops.transpose(self.in_groups(self.kernel), (0, 1, 3, 2, 4))
        outputs = self.groups * self.filters
        return ops.reshape(kernel, (*self.kernel_size, -1, outputs))

    def transform(self, x, training):
        """Partial sums, normalized and added up; or one convolution."""
        if not training:
            kernel, bias = self.folded_weights()
            kernel = ops.cast(kernel, self.compute_dtype)
            data = ops.cast(x, self.compute_dtype)
            y = self.convolved(data, kernel, self.padding)
            return ops.cast(y, x.dtype) + ops.cast(bias, x.dtype)
        pivot = common_pivot(x, None, self.half, self.synchronized)
        h, _ = self.relative(x, pivot)
        if self.use_bias:
            # The bias is in the mean as in the data.
            h = h + 0.0 * ops.cast(self.bias, h.dtype)
        call = fine_grained.OriginCall(self, self.origin(pivot))

        def recover(scale, offset):
            return self.recovery.fold(self, scale, offset)

        y = elementwise.normalize_over(call, h, -1, True, None, recover)
        return self.recovery.apply(self, y)

    def origin(self, pivot):
        """The kernel's product with the pivot, and the bias."""
        kernel = self.in_groups(ops.cast(self.kernel, pivot.dtype))
        pivot = ops.reshape(pivot, (self.groups, -1))
        origin = ops.einsum("gi,hwgio->go", pivot, kernel)
        origin = ops.reshape(origin, (-1,))
        if self.use_bias:
            origin = origin + ops.cast(self.bias, origin.dtype)
        return ops.stop_gradient(origin)

    # One convolution ----------------------------------------------------------

    def folded_weights(self):
        """(kernel, bias) of the Keras layer that equals inference.

        They are new tensors, made of the weights and the state.
        """
        dtype = self.moving_mean.dtype
        mean = ops.cast(self.moving_mean, dtype)
        if self.use_bias:
            mean = mean - ops.cast(self.bias, dtype)
        rate = ops.rsqrt(ops.cast(self.moving_variance, dtype) + self.epsilon)
        scale, offset = self.recovery.fold(
            self, rate[None], (-mean * rate)[None]
        )
        shape = (self.groups, 1, self.filters)
        kernel = self.in_groups(ops.cast(self.kernel, dtype))
        kernel = kernel * ops.reshape(scale, shape)
        kernel = ops.reshape(kernel, (*self.kernel_size, -1, self.filters))
        bias = ops.sum(ops.reshape(offset, shape), axis=(0, 1))
        if self.beta is not None:
            bias = bias + ops.cast(self.beta, dtype)
        return kernel, bias

    def fuse(self, name=None):
        """A built `keras.layers.Conv2D` that computes what inference does.

        Args:
            name: of the new layer.

        Raises:
            ValueError: the layer is not built.
        """
        if not self.built:
            raise errors.received(
                "The layer must be built before it is fused.",
                "Call it, or `build(input_shape)`.",
                built=False,
            )
        layer = keras.layers.Conv2D(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            activation=self.activation,
            dtype=self.dtype_policy,
            name=name,
        )
        shape = [None] * 4
        shape[1 if self.first else -1] = self.kernel.shape[2]
        layer.build(tuple(shape))
        for variable, value in zip(
            layer.weights, self.folded_weights(), strict=True
        ):
            variable.assign(value)
        return layer
