"""Spectral normalization: kernels of largest singular value 1.

Miyato et al., 2018, https://arxiv.org/abs/1802.05957
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.convolution_operator import ConvolutionOperator
from keras_norm.core.layer import positive
from keras_norm.core.parametrization import WeightParametrization
from keras_norm.ops.power_iteration import iterate
from keras_norm.ops.power_iteration import of_columns

MODES = ("divide", "bound")
METHODS = ("reshape", "convolution")


@keras.saving.register_keras_serializable("keras_norm")
class SpectralNormalization(WeightParametrization):
    """w = norm_bound v / sigma(v), sigma the largest singular value.

    sigma = u^T V v_1 by power iteration from a kept vector u. A training call
    makes `power_iterations` steps and keeps the new u; inference makes half a
    step from the u that is kept. The gradient goes through sigma:
    dL/dv = (G - <G, w> u v_1^T / norm_bound) norm_bound / sigma.

    Args:
        layer: the layer to wrap; its kernel is v.
        power_iterations: steps of a training call.
        axis: axes of the kernel that are output neurons; None: from the type
            of `layer`.
        norm_bound: largest singular value of the result.
        mode: "divide": always divide. "bound": only where sigma is greater
            than `norm_bound`.
        method: "reshape": sigma of the kernel as a matrix (outputs, fan-in).
            "convolution": sigma of the convolution itself, with its strides
            and padding, for the sizes of the input that the layer was built
            with; u is then of the size of the result.
        epsilon: least length that is divided by; a kernel whose sigma is not
            greater stays as it is.
        warmup_iterations: steps made when u is created.
        per_conv_group: one matrix for each group of a convolution, which is
            the map that exists. False: one for all, as published programs.
        seed: seed of the u that the warm-up starts from.
        **kwargs: `scale`, `scale_initializer`, `scale_regularizer`,
            `scale_constraint`, `trainable_scale`: a scale for each output
            neuron, after which the bound is that of the scale; `targets`;
            `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: whatever `layer` takes; further arguments are passed on.
        training: True advances vector_u; passed on.
        mask: passed on.

    Raises:
        ValueError: "convolution" with a layer that is none, or with unknown
            sizes; otherwise as `WeightNormalization`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SpectralNormalization(keras.layers.Dense(3))
    >>> y = layer(np.ones((2, 4), "float32"))
    >>> w = keras.ops.convert_to_numpy(layer.effective_kernel())
    >>> bool(abs(np.linalg.norm(w, 2) - 1) < 1e-2)
    True

    Reference:

    - Miyato et al., Spectral Normalization for Generative Adversarial
      Networks, ICLR 2018, https://arxiv.org/abs/1802.05957
    - Farnia, Zhang & Tse, Generalizable Adversarial Training via Spectral
      Normalization, ICLR 2019, https://arxiv.org/abs/1811.07457, for
      "convolution"

    Note: `keras.layers.SpectralNormalization` overwrites the kernel in
    training and passes no gradient through sigma; inference uses what the
    optimizer has left. Here the kernel is never written. Its saved weights
    load (not of transposed and depthwise convolutions, whose u is of another
    size there).

    One step a call follows a kernel that moves little. Where several singular
    values are near the largest, as training makes them, it lags: on
    handwritten digits at constant learning rates sigma of w was up to 1.3,
    with `power_iterations=5` up to 1.07, and 1.0 after `converge`.
    """

    # Keras' vector_u has an entry for each column; sigma is the same.
    embedding_axis = -1

    def __init__(
        self,
        layer,
        power_iterations=1,
        axis=None,
        norm_bound=1.0,
        mode="divide",
        method="reshape",
        epsilon=1e-12,
        warmup_iterations=15,
        per_conv_group=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(layer, axis=axis, **kwargs)
        positive("power_iterations", power_iterations)
        positive("warmup_iterations", warmup_iterations, 0)
        if not norm_bound > 0:
            raise errors.received(
                "`norm_bound` must be positive.", norm_bound=norm_bound
            )
        if mode not in MODES:
            raise errors.unknown_name("mode", mode, list(MODES))
        if method not in METHODS:
            raise errors.unknown_name("method", method, list(METHODS))
        self.power_iterations = power_iterations
        self.norm_bound = norm_bound
        self.mode = mode
        self.method = method
        self.epsilon = epsilon
        self.warmup_iterations = warmup_iterations
        self.per_conv_group = per_conv_group
        self.seed = seed
        # Not of Keras' global generator, which an initializer that runs in
        # a symbolic call cannot advance.
        self._start = keras.initializers.RandomNormal(stddev=1.0, seed=seed)

    def build(self, input_shape=None):
        """Build the layer, then create vector_u."""
        self._sizes = input_shape
        super().build(input_shape)

    def _operator(self, kernel):
        return ConvolutionOperator(kernel.owner, self._sizes)

    def _parts(self, kernel):
        return kernel.groups if self.per_conv_group else 1

    def initial_state(self, kernel):
        """vector_u, in Keras' shape (1, outputs)."""
        if self.method == "convolution":
            shape = self._operator(kernel).result_shape
        else:
            shape = kernel.matrices_shape(self._parts(kernel))[:2]

        def warm(shape, dtype=None):
            start = self._start(shape, dtype="float32")
            w = self.source(kernel)
            u = ops.cast(start, w.dtype)
            u = self._sigma(w, kernel, u, self.warmup_iterations)[1]
            return ops.cast(u, dtype)

        return {"vector_u": (shape, warm)}

    def _sigma(self, v, kernel, u, iterations):
        """(sigma of each matrix, u); a kernel of zeros keeps u."""
        if self.method == "convolution":
            operator = self._operator(kernel)
            sigma, new, _ = iterate(
                lambda x: operator.forward(x, v),
                lambda y: operator.backward(y, v),
                u,
                iterations,
                self.epsilon,
            )
        else:
            columns = kernel.columns(v, self._parts(kernel))
            sigma, new, _ = of_columns(columns, u, iterations, self.epsilon)
        shape = (-1,) + (1,) * (len(u.shape) - 1)
        moved = ops.reshape(ops.stop_gradient(sigma) > self.epsilon, shape)
        return sigma, ops.where(moved, new, u)

    def map(self, v, kernel, state, training=False):
        """Divide by the largest singular value."""
        u = ops.cast(state["vector_u"], v.dtype)
        steps = self.power_iterations if training else 0
        sigma, u = self._sigma(v, kernel, u, steps)
        one = ops.ones_like(sigma)
        divisor = ops.where(sigma > self.epsilon, sigma / self.norm_bound, one)
        if self.mode == "bound":
            divisor = ops.maximum(divisor, 1.0)
        if self.method == "convolution" or divisor.shape[0] == 1:
            return v * (1.0 / ops.squeeze(divisor, 0)), {"vector_u": u}
        m = kernel.matrices(v, self._parts(kernel))
        m = m * (1.0 / divisor)[:, None, None]
        return kernel.of_matrices(m), {"vector_u": u}

    def right_inverse(self, w, kernel):
        """The kernel itself, and its vector_u."""
        shape, warm = self.initial_state(kernel)["vector_u"]
        u = self._start(shape, dtype="float32")
        steps = max(self.warmup_iterations, self.power_iterations)
        u = self._sigma(w, kernel, ops.cast(u, w.dtype), steps)[1]
        return w, {"vector_u": u}

    def converge(self, iterations=100):
        """Bring vector_u to the largest singular value of the present kernel.

        For a bound that must hold after training, whose single steps lag
        behind the kernel. Runs eagerly.

        Args:
            iterations: steps from u, and from a new start; u goes where the
                larger value is.
        """
        positive("iterations", iterations)
        for kernel in self.kernels():
            w, kept = self.source(kernel), self.state_of(kernel)["vector_u"]
            u = ops.cast(ops.convert_to_tensor(kept), w.dtype)
            start = ops.cast(self._start(u.shape, dtype="float32"), u.dtype)
            before, u = self._sigma(w, kernel, u, iterations)
            after, found = self._sigma(w, kernel, start, iterations)
            larger = ops.reshape(after > before, (-1,) + (1,) * (u.ndim - 1))
            kept.assign(ops.cast(ops.where(larger, found, u), kept.dtype))

    def gain(self, w, kernel):
        """The neurons are not scaled alone: the scale is 1."""
        return ops.ones(kernel.units, w.dtype)

    def violation(self, w, kernel):
        """How far sigma is above `norm_bound`, or from it ("divide")."""
        if self.method == "convolution":
            u = ops.cast(self.state_of(kernel)["vector_u"], w.dtype)
            sigma = self._sigma(w, kernel, u, 100)[0]
        else:
            m = kernel.matrices(w, self._parts(kernel))
            sigma = ops.max(ops.svd(m, compute_uv=False), axis=-1)
        excess = sigma - self.norm_bound
        if self.mode == "bound":
            return ops.max(ops.maximum(excess, 0.0))
        return ops.max(ops.abs(excess))

    def load_own_variables(self, store):
        """Load vector_u, also from Keras' layer, or the plain layer."""
        own = self._trainable_variables + self._non_trainable_variables
        names = sorted(store.keys(), key=int)
        shapes = [tuple(store[name].shape) for name in names]
        # Keras' layer stores the kernel a second time, before vector_u.
        if len(own) == 1:
            twice = [k.shape for k in self.kernels()] + [tuple(own[0].shape)]
            if shapes == twice:
                own[0].assign(store[names[-1]])
                return
        super().load_own_variables(store)
