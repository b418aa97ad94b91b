"""Whitened dense layer: natural neural networks, EigenNets.

Desjardins, Simonyan, Pascanu & Kavukcuoglu, 2015,
https://arxiv.org/abs/1507.00210
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import channel_groups
from keras_norm.core import covariances
from keras_norm.core import linear
from keras_norm.core import moments
from keras_norm.core.layer import positive
from keras_norm.core.state import read
from keras_norm.core.whitening import StackedIdentity
from keras_norm.layers.area.batch_normalization import BatchNormalization
from keras_norm.ops import spectra

POSITIONS = ("pre", "post")
WHITENINGS = ("pca", "zca")
TINY = 1e-30


@keras.saving.register_keras_serializable("keras_norm")
class WhitenedDense(linear.DenseLayer):
    """y = activation(V^T U (x - mean) + compensation + bias).

    U whitens the input: U = (L + epsilon)^(-1/2) Q^T of its covariance
    Q L Q^T. U and mean are constants to the gradient and replaced now and
    then; V, the kernel, and the compensation then change so that the layer
    computes what it computed before. What changes is the geometry of the
    gradient of V: epsilon -> 0 gives the natural gradient of the layer, a
    large epsilon the plain one.

    Area: batch, at intervals. Operation: whiten (PCA, ZCA). Recovery: the
    layer's own kernel. Statistics: of a sample, kept until the next update.

    Args:
        units: number of outputs.
        activation: as in `keras.layers.Dense`.
        use_bias: add a learned `bias`.
        position: "pre": whiten the input. "post": the pre-activation,
            y = activation(U (V^T x - mean) + compensation + bias).
        whitening: "pca", or "zca": U = Q (L + epsilon)^(-1/2) Q^T.
        batch_normalization: normalize the pre-activation over the batch and
            multiply by a learned gain, before the bias is added.
        epsilon: added to the eigenvalues of the covariance.
        update_every: update the whitening by itself at every so many training
            steps; None: only `update_whitening` does.
        num_samples: how many of the latest inputs the update by itself looks
            at; they are kept as state, (num_samples, features).
        **kwargs: `kernel_...`, `bias_...`, `activity_regularizer`, `name`,
            `dtype` as in `keras.layers.Dense`.

    Call arguments:
        inputs: tensor (batch, ..., features).
        training: True collects the sample, if there is one, and updates.
        mask: weights aligned to the leading axes, the same for all features:
            what takes part in the statistics.

    Raises:
        ValueError: units below 1, an unknown position or whitening.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.WhitenedDense(4)
    >>> x = np.random.normal(3.0, 1.0, (64, 6)).astype("float32")
    >>> before = layer(x)
    >>> layer.update_whitening(x)
    >>> bool(keras.ops.max(keras.ops.abs(layer(x) - before)) < 1e-5)
    True

    Reference:

    - Desjardins et al., Natural Neural Networks, NeurIPS 2015,
      https://arxiv.org/abs/1507.00210
    - Luo, Learning Deep Architectures via Generalized Whitened Neural
      Networks, ICML 2017

    Note: what training does by itself it must do inside a compiled step, where
    no layer can assign a weight of the optimizer. The kernel that acts is then
    `kernel` + `kernel_shift`, and the shift is what an update changes;
    `update_whitening` without `update_every` changes `kernel` itself. Momenta
    of an optimizer stay as they were. No program of the authors' is known; in
    "post" the covariance is that of the pre-activation the layer computes,
    whatever its parametrization. Weights: kernel, bias as
    `keras.layers.Dense`, whose saved weights load into a new layer; state:
    mean, whitening_matrix, compensation; with `update_every` kernel_shift,
    samples, sample_weights, step.
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        position="pre",
        whitening="pca",
        batch_normalization=False,
        epsilon=1e-3,
        update_every=None,
        num_samples=1000,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            epsilon=epsilon,
            **kwargs,
        )
        if position not in POSITIONS:
            raise errors.unknown_name("position", position, list(POSITIONS))
        if whitening not in WHITENINGS:
            raise errors.unknown_name("whitening", whitening, list(WHITENINGS))
        if update_every is not None:
            positive("update_every", update_every)
        positive("num_samples", num_samples)
        self.position, self.whitening = position, whitening
        self.batch_normalization = batch_normalization
        self.update_every, self.num_samples = update_every, num_samples
        self.normalization = None
        if batch_normalization:
            half = self.variable_dtype in ("float16", "bfloat16")
            self.normalization = BatchNormalization(
                center=False,
                dtype="float32" if half else self.variable_dtype,
                name="normalization",
            )

    def build(self, inputs_shape):
        """Create kernel, bias, state, and the inner normalization."""
        super().build(inputs_shape)
        if self.normalization is not None:
            self.normalization.build(self.compute_output_shape(inputs_shape))

    def build_state(self, features):
        """The whitening, and what it takes to renew it."""
        size = features if self.position == "pre" else self.units
        self.add_state("mean", (size,), "zeros")
        self.add_state("whitening_matrix", (size, size), StackedIdentity())
        self.add_state("compensation", (self.units,), "zeros")
        self.kernel_shift = None
        if self.update_every is not None:
            self.add_state("kernel_shift", (features, self.units), "zeros")
            self.add_state("samples", (self.num_samples, features), "zeros")
            self.add_state("sample_weights", (self.num_samples,), "zeros")
            self.add_state("step", (), "zeros", "int32")

    # The call -----------------------------------------------------------------

    def call(self, inputs, training=None, mask=None):
        """One matrix product with the folded kernel."""
        x = self.widened(inputs)
        training = bool(training) and self.trainable
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        if training and self.update_every is not None:
            # Before use: the gradient is of the kernel as it will be moved.
            self.collect(x, mask)
        mean, matrix, compensation = self.state(x.dtype)
        kernel = self.acting_kernel(x.dtype)
        matrix = ops.transpose(matrix)
        if self.position == "pre":
            y = ops.matmul(x - mean, ops.matmul(matrix, kernel)) + compensation
        else:
            offset = compensation - ops.matmul(mean[None], matrix)[0]
            y = ops.matmul(x, ops.matmul(kernel, matrix)) + offset
        if self.normalization is not None:
            y = self.normalization(y, training=training, mask=mask)
            y = ops.cast(y, x.dtype)
        return self.finish(y)

    def state(self, dtype):
        """(mean, matrix, compensation)."""
        kept = (self.mean, self.whitening_matrix, self.compensation)
        # An update moves them in the call that uses them.
        return tuple(read(v, dtype) for v in kept)

    def acting_kernel(self, dtype):
        """V."""
        kernel = ops.cast(self.kernel, dtype)
        if self.kernel_shift is not None:
            kernel = kernel + read(self.kernel_shift, dtype)
        return kernel

    # Updates ------------------------------------------------------------------

    def update_whitening(self, x, mask=None):
        """Whiten by the statistics of x; the layer computes what it did.

        Not inside a compiled step: it assigns the kernel.

        Args:
            x: inputs as of a call, better many of them.
            mask: weights aligned to the leading axes.
        """
        x = self.widened(x)
        if not self.built:
            self.build(tuple(x.shape))
        rows, weights = self.flat(x, mask)
        self.renew(rows, weights, ops.any(weights > 0))

    def flat(self, x, mask):
        """(M, features), 0 where masked, and their weights (M,)."""
        weights = ops.ones_like(x[..., 0])
        if mask is not None:
            mask = moments.aligned(mask, x)
            if mask.shape[-1] != 1:
                raise errors.received(
                    "`mask` must not differ between the features.",
                    mask_shape=tuple(mask.shape),
                )
            x = ops.where(mask > 0, x, 0.0)
            weights = weights * mask[..., 0]
        return ops.reshape(x, (-1, x.shape[-1])), ops.reshape(weights, (-1,))

    def collect(self, x, mask):
        """Add to the sample; renew the whitening when it is time."""
        rows, weights = self.flat(ops.stop_gradient(x), mask)
        seen = ops.any(weights > 0)
        n, dtype = self.num_samples, x.dtype
        old = (
            ops.cast(self.samples, dtype),
            ops.cast(self.sample_weights, dtype),
        )
        new = (
            ops.concatenate([rows[:n], old[0]])[:n],
            ops.concatenate([weights[:n], old[1]])[:n],
        )
        samples, weights = (
            ops.where(seen, ops.reshape(a, b.shape), b)
            for a, b in zip(new, old, strict=True)
        )
        self.samples.assign(ops.cast(samples, self.samples.dtype))
        self.sample_weights.assign(ops.cast(weights, self.sample_weights.dtype))
        step = self.step + ops.cast(seen, "int32")
        self.step.assign(step)
        due = ops.equal(step % self.update_every, 0)
        self.renew(samples, weights, ops.logical_and(seen, due))

    def renew(self, rows, weights, due):
        """Replace mean, matrix, kernel and compensation if it is due."""
        dtype = rows.dtype
        kernel = ops.stop_gradient(self.acting_kernel(dtype))
        old = (*self.state(dtype), kernel)
        new = ops.cond(
            due,
            lambda: self.renewed(rows, weights, *old),
            lambda: tuple(ops.copy(t) for t in old),
        )
        mean, matrix, compensation, moved = (ops.stop_gradient(t) for t in new)
        self.mean.assign(ops.cast(mean, self.mean.dtype))
        self.whitening_matrix.assign(
            ops.cast(matrix, self.whitening_matrix.dtype)
        )
        self.compensation.assign(
            ops.cast(compensation, self.compensation.dtype)
        )
        if self.kernel_shift is None:
            self.kernel.assign(ops.cast(moved, self.kernel.dtype))
            return
        # Not the difference of the kernels: no rounding where nothing moves.
        shift = ops.cast(self.kernel_shift, dtype) + (moved - kernel)
        self.kernel_shift.assign(ops.cast(shift, self.kernel_shift.dtype))

    def renewed(self, rows, weights, mean, matrix, compensation, kernel):
        """The whitening of these rows and what keeps the function."""
        back = ops.transpose(matrix)
        table, averages = linear.as_one_part(rows, weights)
        constant = 0.0
        if self.position == "post":
            # Of data near zero, so that the covariance is exact.
            folded = ops.matmul(kernel, back)
            offset = compensation - ops.matmul(mean[None], back)
            constant = ops.matmul(table.pivot, folded) + offset
            rows = ops.matmul(table.data[0], folded)
            table, averages = linear.as_one_part(rows, weights)
        relative, data, seen = covariances.centred(table, averages, 2)
        size = matrix.shape[-1]
        cut = channel_groups.ChannelGroups(size, size)
        covariance = covariances.measure(data, seen, averages, cut)[0]
        center = (averages.base + relative + constant)[0]
        new, inverse = self.whitener(covariance)
        if self.position == "pre":
            folded = ops.matmul(back, kernel)
            added = ops.matmul((center - mean)[None], folded)[0]
            return (
                center,
                new,
                compensation + added,
                ops.matmul(inverse, folded),
            )
        before = ops.matmul((center - offset[0])[None], inverse)[0]
        return before, new, center, ops.matmul(folded, inverse)

    def whitener(self, covariance):
        """(U, U^(-T)) of a covariance."""
        axes = spectra.principal_axes(covariance, scaled=False)
        values = ops.sum(ops.matmul(axes, covariance) * axes, axis=-1)
        # Both are made of the same numbers: they are inverse to each other
        # even where rounding has spoilt small eigenvalues.
        roots = ops.maximum(values, 0.0) + self.epsilon
        roots = ops.expand_dims(ops.sqrt(ops.maximum(roots, TINY)), -1)
        if self.whitening == "pca":
            return axes / roots, axes * roots
        turned = ops.transpose(axes)
        return ops.matmul(turned, axes / roots), ops.matmul(
            turned, axes * roots
        )
