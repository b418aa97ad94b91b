"""Kernels of two or three levels, to be normalized or followed by one.

Courbariaux et al., 2015, https://arxiv.org/abs/1511.00363; Ardakani et al.,
2019, https://arxiv.org/abs/1809.11086; Hou et al., 2019
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import quantization
from keras_norm.core import weight_vectors
from keras_norm.core.parametrization import WeightParametrization

LEVELS = ("binary", "ternary")
ALPHAS = ("neuron", "kernel", "glorot")
GRADIENTS = ("code", "clipped", "identity")


@keras.saving.register_keras_serializable("keras_norm")
class QuantizedKernel(WeightParametrization):
    """w = alpha t(v), t in {-1, 1} or {-1, 0, 1}; dL/dv := alpha dL/dw.

    "binary": t = 1 where v >= 0, otherwise -1; alpha = mean |v|.
    "ternary": t = sign(v) where |v| > 0.7 mean |v|, otherwise 0; alpha = mean
    of these |v|.

    The gradient goes straight through t, and alpha is a constant to it. Where
    a normalization follows - `WeightNormalization` around this wrapper, or
    batch or layer normalization of the products - the result does not depend
    on the scale of w, and dL/dw goes with 1 / alpha: neither the result nor
    the gradient of v depends on the scale of v, whatever alpha is. Without
    one, gradients of recurrent and of deep binary networks explode.

    Args:
        layer: the layer to wrap; its kernel is v.
        levels: "binary" or "ternary".
        alpha: "neuron": for each output neuron; "kernel": for the kernel,
            each gate of a recurrent layer by itself; "glorot": half the limit
            of the Glorot uniform initializer; a number; None: 1. The mean |v|
            of the threshold is that of the neuron with "neuron", otherwise
            that of the kernel.
        threshold: largest |v| of the code 0, in units of mean |v|; below 1.
        sampled: draw t anew in each training call, such that the expectation
            of w is v clipped to [-alpha, alpha]. The draws depend on the scale
            of v unless alpha is "neuron" or "kernel". At inference, and where
            the layer is frozen, w is what it is without.
        gradient: "code": as above; "clipped": 0 where |v| > 1; "identity":
            dL/dv := dL/dw. The scale of v has no effect on the gradient with
            "code" always, with "identity" unless alpha is "neuron" or
            "kernel", with "clipped" never.
        seed: seed of the draws.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        scale: multiply by a scale g for each neuron.
        scale_initializer: initializer of g, or a number. None: what brings w
            nearest to v.
        scale_regularizer: regularizer of g.
        scale_constraint: constraint of g.
        trainable_scale: learn g.
        targets: names of the kernels to take, as in ["recurrent_kernel"].
            None: all.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: whatever `layer` takes; further arguments are passed on.
        training: True in training; passed on.
        mask: passed on.

    Raises:
        ValueError: unknown levels, alpha or gradient, a threshold outside of
            [0, 1); otherwise as `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.QuantizedKernel(keras.layers.Dense(3), "ternary")
    >>> y = layer(np.ones((2, 8), "float32"))
    >>> w = keras.ops.convert_to_numpy(layer.effective_kernel())
    >>> [len(set(abs(column)) - {0}) for column in w.T]
    [1, 1, 1]

    Reference:

    - Ardakani et al., Learning Recurrent Binary/Ternary Weights, ICLR 2019,
      https://arxiv.org/abs/1809.11086: `alpha="glorot", sampled=True,
      gradient="identity"`; their program also samples at inference
    - Hou et al., Normalization Helps Training of Quantized LSTM, NeurIPS 2019:
      `gradient="identity"` with `alpha=None` (BinaryConnect, TernaryConnect)
      or "kernel" (BWN, TWN)
    - Sari et al., How Does Batch Normalization Help Binary Training?, 2019,
      https://arxiv.org/abs/1909.09139

    Note: the derivative of alpha is left out; where each neuron is normalized
    it would multiply the product of dL/dw and t, which is 0. A neuron of zeros
    has alpha 0 and gets no gradient. "clipped" is the rule of binarized
    networks; BinaryConnect also keeps v in [-1, 1], which is a constraint of
    the wrapped layer here.
    """

    def __init__(
        self,
        layer,
        levels="binary",
        alpha="neuron",
        threshold=0.7,
        sampled=False,
        gradient="code",
        seed=None,
        axis=None,
        **kwargs,
    ):
        super().__init__(layer, axis=axis, **kwargs)
        if levels not in LEVELS:
            raise errors.unknown_name("levels", levels, list(LEVELS))
        if gradient not in GRADIENTS:
            raise errors.unknown_name("gradient", gradient, list(GRADIENTS))
        if isinstance(alpha, str) and alpha not in ALPHAS:
            raise errors.unknown_name("alpha", alpha, list(ALPHAS))
        if not isinstance(alpha, (str, type(None))) and not (
            isinstance(alpha, (int, float)) and alpha > 0
        ):
            raise errors.received(
                "`alpha` must be a positive number.",
                f"Give one, None for 1, or one of {', '.join(ALPHAS)}.",
                alpha=alpha,
            )
        if not 0 <= threshold < 1:
            raise errors.received(
                "`threshold` must be in [0, 1): from 1 on all codes can be 0.",
                threshold=threshold,
            )
        self.levels = levels
        self.alpha = alpha
        self.threshold = threshold
        self.sampled = sampled
        self.gradient = gradient
        self.seed = seed
        if sampled:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def _quantities(self, v, kernel):
        """(codes, alpha) of a kernel, without gradients."""
        ternary = self.levels == "ternary"
        least, alpha = quantization.magnitudes(
            v,
            kernel,
            self.threshold if ternary else None,
            self.alpha == "neuron",
        )
        codes = quantization.nearest(v, least if ternary else None)
        if self.alpha == "glorot":
            alpha = quantization.glorot(kernel)
        elif self.alpha not in ("neuron", "kernel"):
            alpha = 1.0 if self.alpha is None else self.alpha
        return codes, ops.cast(alpha, v.dtype)

    def map(self, v, kernel, state, training=False):
        """Round, or draw, and scale."""
        fixed = ops.stop_gradient(v)
        codes, alpha = self._quantities(fixed, kernel)
        if training and self.sampled:
            uniform = keras.random.uniform(
                kernel.shape, dtype=v.dtype, seed=self.seed_generator
            )
            # A kernel of zeros has the scale 0.
            units = ops.where(ops.equal(alpha, 0), ops.ones_like(alpha), alpha)
            codes = quantization.drawn(
                fixed / units, uniform, self.levels == "ternary"
            )
        return quantization.straight_through(v, codes, alpha, self.gradient), {}

    def gain(self, w, kernel):
        """The scale of each neuron that brings the map of w nearest to w."""
        codes, alpha = self._quantities(w, kernel)
        levels = codes * alpha
        length = ops.sum(ops.square(levels), axis=kernel.reduced)
        along = ops.sum(w * levels, axis=kernel.reduced)
        return ops.where(
            length > 0,
            along / ops.where(length > 0, length, ops.ones_like(length)),
            ops.ones_like(length),
        )

    def violation(self, w, kernel):
        """How far an entry is from its level."""
        codes, alpha = self._quantities(w, kernel)
        return weight_vectors.largest(w - codes * alpha)
