"""Covariance normalization: an adapter between whitening and coloring.

Li & Vasconcelos, CVPR 2019.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import positive


@keras.saving.register_keras_serializable("keras_norm")
class CovarianceNormalization(NormalizationLayer):
    """y = output_mean + C M W (x - input_mean), W and C of few components.

    W whitens the inputs of an adapter (a 1 x 1 convolution, for one of many
    domains), C colors like its outputs; both are constants that
    `keras_norm.tools.fit_covariance_normalization` finds, for the leading
    eigenvectors of their covariances. What is learned is the small matrix M
    between them: 2 C e numbers do the work of C^2.

    Area: batch. Operation: whiten. Recovery: coloring. Statistics: population,
    fitted once.

    Args:
        units: channels of the output; None: as many as of the input.
        input_components: rows of W, None: channels of the input.
        output_components: columns of C, None: channels of the output.
        axis: channel axis.
        kernel_initializer: initializer of M.
        kernel_regularizer: regularizer of M.
        kernel_constraint: constraint of M.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: refused.

    Raises:
        ValueError: sizes below 1, an axis outside the input, a mask.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.random.normal(size=(64, 4, 4, 8)).astype("float32")
    >>> adapter = np.random.normal(size=(8, 6)).astype("float32")
    >>> layer = kn.tools.fit_covariance_normalization(x, x @ adapter, adapter)
    >>> tuple(layer(x).shape)
    (64, 4, 4, 6)

    Reference:

    - Li & Vasconcelos, Efficient Multi-Domain Learning by Covariance
      Normalization, CVPR 2019

    Note: matrices multiply from the right here, as kernels of Keras do.
    Weights: kernel (M), input_mean, whitening (W), coloring (C), output_mean;
    only the first is trained. A layer that is not fitted has the identity for
    all three.
    """

    fixed = (*AFFINE, "epsilon")

    def __init__(
        self,
        units=None,
        input_components=None,
        output_components=None,
        axis=-1,
        kernel_initializer="identity",
        kernel_regularizer=None,
        kernel_constraint=None,
        **kwargs,
    ):
        super().__init__(axis=axis, **kwargs)
        for name, value in (
            ("units", units),
            ("input_components", input_components),
            ("output_components", output_components),
        ):
            if value is not None:
                positive(name, value)
        self.units = units
        self.input_components = input_components
        self.output_components = output_components
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def build(self, inputs_shape):
        """M, then what is fitted."""
        if len(inputs_shape) < 2:
            raise errors.received(
                "The input must have at least rank 2, (batch, channels).",
                input_shape=inputs_shape,
            )
        channels = channels_of(self.axis, inputs_shape)
        units = self.units or channels
        inner = self.input_components or channels
        outer = self.output_components or units
        self.add_option("kernel", (inner, outer))
        self.add_state("input_mean", (channels,), "zeros")
        self.add_state("whitening", (channels, inner), "identity")
        self.add_state("coloring", (outer, units), "identity")
        self.add_state("output_mean", (units,), "zeros")
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={self.axis: channels}
        )
        self.built = True

    def matrices(self, dtype="float32"):
        """What is multiplied by, one after the other: two, or one for all.

        They are what a trained layer comes down to: (x - input_mean) times
        these, plus output_mean.
        """
        whitening, kernel, coloring = (
            ops.cast(w, dtype)
            for w in (self.whitening, self.kernel, self.coloring)
        )
        (channels, inner), (outer, units) = whitening.shape, coloring.shape
        if inner <= outer:
            found = [whitening, ops.matmul(kernel, coloring)]
        else:
            found = [ops.matmul(whitening, kernel), coloring]
        if min(inner, outer) * (channels + units) < channels * units:
            return found
        return [ops.matmul(*found)]

    def call(self, inputs, mask=None):
        """Center, multiply, add the mean of the outputs."""
        if mask is not None:
            raise errors.received(
                "`mask` is not supported by an adapter of fitted statistics.",
                "End the mask before this layer.",
                mask_shape=tuple(mask.shape),
            )
        x = self.widened(inputs)
        view = moments.viewer(len(x.shape), self.axis)
        mean = ops.expand_dims(ops.cast(self.input_mean, x.dtype), 0)
        y = ops.moveaxis(x - view(mean), self.axis, -1)
        for matrix in self.matrices(x.dtype):
            y = ops.matmul(y, matrix)
        y = y + ops.cast(self.output_mean, x.dtype)
        return self.narrowed(ops.moveaxis(y, -1, self.axis))

    def compute_output_shape(self, inputs_shape):
        """The shape of the input, with `units` channels."""
        shape = list(inputs_shape)
        shape[self.axis] = self.units or shape[self.axis]
        return tuple(shape)
