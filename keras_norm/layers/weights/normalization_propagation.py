"""Normalization propagation: activations normalized by analysis, not by data.

Arpit et al., 2016, https://arxiv.org/abs/1603.01431
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import gaussian_moments
from keras_norm.core import kernels
from keras_norm.core import weight_vectors
from keras_norm.core.kernel_wrapper import widened
from keras_norm.core.vector_parametrization import VectorParametrization


@keras.saving.register_keras_serializable("keras_norm")
class NormalizationPropagation(VectorParametrization):
    """y = (phi(u) - E phi(z)) / std phi(z), u = g <v / |v|, x> + bias.

    phi is the layer's own activation and z ~ N(0, 1): where x is N(0, I) and
    g is 1, y has mean 0 and variance 1, and so the next layer gets what it
    expects. Nothing is measured: training and inference are the same, for one
    sample as for many.

    Args:
        layer: the layer to wrap, with its activation; its kernel is v.
            Dense, EinsumDense, convolutions.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        epsilon: least squared length of v that is divided by.
        scale_initializer: initializer of g, or a number.
        scale_regularizer: regularizer of g.
        scale_constraint: constraint of g.
        trainable_scale: learn g.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: whatever `layer` takes, each feature standardized over the
            data set.

    Raises:
        ValueError: a layer that is not one kernel with an activation of each
            entry alone: recurrent layers, attention, embeddings, softmax;
            otherwise as `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.NormalizationPropagation(
    ...     keras.layers.Dense(3, activation="relu"), scale_initializer=1.0)
    >>> x = np.random.default_rng(0).normal(size=(10000, 8))
    >>> y = keras.ops.convert_to_numpy(layer(x.astype("float32")))
    >>> bool(np.all(np.abs(np.mean(y, 0)) < 0.1))
    True

    Reference:

    - Arpit, Zhou, Kota & Govindaraju, Normalization Propagation: A Parametric
      Technique for Removing Internal Covariate Shift in Deep Networks, ICML
      2016, https://arxiv.org/abs/1603.01431

    Note: g starts at 1 / 1.21, with which the paper brings the singular values
    of the Jacobian of a ReLU layer to about 1: 1.21 is the root of
    E phi'(z)^2 over std phi(z). Variances are then below 1; with
    scale_initializer=1.0 they are 1. The paper is about ReLU, for which the
    constants are 1 / sqrt(2 pi) and sqrt((1 - 1 / pi) / 2); of other
    activations they come from quadrature. Neurons whose kernels are not
    orthogonal are correlated, which the analysis leaves out, as it does the
    edges of padded data.
    `remove` and `keras_norm.tools.remove_parametrizations` refuse layers with
    an activation: no kernel could shift and scale what comes after it.
    """

    fixed = ("scale", "targets")

    def __init__(
        self,
        layer,
        axis=None,
        epsilon=1e-12,
        scale_initializer=1 / 1.21,
        **kwargs,
    ):
        super().__init__(
            layer,
            axis=axis,
            scale=True,
            scale_initializer=scale_initializer,
            **kwargs,
        )
        self.epsilon = float(epsilon)
        plain = self.plain_layer()
        activation = getattr(kernels.innermost(plain), "activation", None)
        if activation is None or isinstance(plain, keras.layers.RNN):
            raise errors.received(
                "`layer` must have an `activation` of its result.",
                "Wrap a dense or convolutional layer.",
                layer=type(plain).__name__,
            )
        self.linear = activation is keras.activations.linear
        # Quadrature would round 0 and 1.
        found = gaussian_moments.Moments(0.0, 1.0, 1.0)
        if not self.linear:
            found = gaussian_moments.of(activation)
        self.mean, self.deviation = found.mean, found.deviation

    def check(self, kernel):
        """Refuse a layer with more than one kernel."""
        names = list(self.all_kernels())
        if len(names) != 1:
            raise errors.received(
                "`layer` must have one kernel, whose result its activation is "
                "applied to.",
                "Wrap a dense or convolutional layer.",
                layer=type(self.plain_layer()).__name__,
                kernels=names,
            )

    def rate(self, squares, kernel):
        """1 / length."""
        return weight_vectors.reciprocal(squares, self.epsilon, "clamp")

    def violation(self, w, kernel):
        """How far a length is from 1."""
        return weight_vectors.largest(self.gain(w, kernel) - 1.0)

    def finish(self, outputs):
        """Shift and scale by the moments of the activation."""
        if self.linear:
            return outputs
        y = (widened(outputs) - self.mean) / self.deviation
        return ops.cast(y, outputs.dtype)

    def plain_values(self):
        """Refused where there is an activation: see the class."""
        if not self.linear:
            raise ValueError(
                f"{self.name!r} shifts and scales what comes after the "
                "activation, which no kernel of the plain layer could do. "
                "Keep the wrapper; `effective_kernel()` gives the kernel."
            )
        return super().plain_values()
