"""Exemplar normalization: every sample mixes normalizers in its own way.

Zhang, Peng, Wu, Li & Luo, 2020, https://arxiv.org/abs/2003.08761
"""

import keras
from keras import ops

from keras_norm.core import area_mixture
from keras_norm.core.layer import positive

# Inside the root of the norms: no direction, no cosine.
NORM_EPSILON = 1e-8


@keras.saving.register_keras_serializable("keras_norm")
class ExemplarNormalization(area_mixture.AreaMixture):
    """y = sum_k share_k (gamma_k z_k + beta_k), z_k = standardized by k.

    z_k = (x - mean_k) / sqrt(variance_k + epsilon) of the normalizers k, and
    the shares are those of the sample. Its means over the positions, (C,), are
    standardized by the statistics of each normalizer and mapped to a few
    features by one ReLU layer for all; the cosines of these K vectors with
    each other go through a hidden layer to the logits of a softmax. At the
    start all shares are 1 / K.

    Area: mixture of instance, layer and batch. Operation: standardize.
    Recovery: affine for each normalizer, and shares from the input.
    Statistics: the batch's share from the batch in training and from moving
    averages in inference, the others from the input.

    Args:
        normalizers: what is mixed, in the order of the weights.
        reduction: the channels divided by this are the features; at least 1.
        hidden_units: tanh units between the cosines and the logits.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variances, inside the roots.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 3, or of rank 2 without "instance".
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: unknown or repeated normalizers; "instance" for inputs
            (N, C); a reduction or hidden units below 1; an axis outside the
            input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.ExemplarNormalization()
    >>> x = np.random.rand(4, 8, 8, 32).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (4, 8, 8, 32)

    Reference:

    - Zhang et al., Exemplar Normalization for Learning Deep Representation,
      CVPR 2020, https://arxiv.org/abs/2003.08761

    Note: there is no program of the authors; where the paper is silent (the
    hidden layer, biases, epsilons) the choices are ours. By the formula the
    instance's own vector is 0, for a mean minus itself is, and so are its
    cosines. Weights: gamma and beta (K, C), squeeze_kernel, hidden_kernel,
    hidden_bias, gate_kernel, gate_bias, moving_mean, moving_variance.
    """

    drops_instances = False
    fixed = ("unbiased",)

    def __init__(
        self,
        normalizers=area_mixture.NAMES,
        reduction=32,
        hidden_units=16,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        positive("reduction", reduction)
        positive("hidden_units", hidden_units)
        super().__init__(
            normalizers,
            axis,
            momentum,
            epsilon,
            synchronized=synchronized,
            recovery="none",
            **kwargs,
        )
        self.reduction, self.hidden_units = reduction, hidden_units

    def build_state(self, channels):
        """An affine of each normalizer, the maps, the moving averages."""
        number, hidden = len(self.mixed), self.hidden_units
        self.add_affine((number, channels))
        features = max(channels // self.reduction, 1)
        random = "glorot_uniform"
        for name, shape, initializer in (
            ("squeeze_kernel", (channels, features), random),
            ("hidden_kernel", (number * number, hidden), random),
            ("hidden_bias", (hidden,), "zeros"),
            ("gate_kernel", (hidden, number), "zeros"),
            ("gate_bias", (number,), "zeros"),
        ):
            weight = self.add_weight(
                shape=shape,
                name=name,
                initializer=initializer,
                autocast=False,
            )
            setattr(self, name, weight)
        super().build_state(channels)

    def shares(self, table, parts):
        """What each normalizer counts in each sample: K times (N, 1)."""
        if len(parts) == 1:
            return None
        dtype = table.mean.dtype
        (squeeze, kernel, bias, gate, gate_bias) = (
            ops.cast(w, dtype)
            for w in (
                self.squeeze_kernel,
                self.hidden_kernel,
                self.hidden_bias,
                self.gate_kernel,
                self.gate_bias,
            )
        )
        # Relative to the pivot, as the shifts are.
        vectors = [
            (table.mean - part.shift) * ops.rsqrt(part.variance + self.epsilon)
            for part in parts
        ]
        vectors = ops.relu(ops.matmul(ops.stack(vectors, axis=1), squeeze))
        square = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
        vectors = vectors * ops.rsqrt(square + NORM_EPSILON)
        cosines = ops.matmul(vectors, ops.swapaxes(vectors, 1, 2))
        cosines = ops.reshape(cosines, (-1, len(parts) ** 2))
        hidden = ops.tanh(ops.matmul(cosines, kernel) + bias)
        shares = ops.softmax(ops.matmul(hidden, gate) + gate_bias)
        return [shares[:, k : k + 1] for k in range(len(parts))]

    def factors(self, table, training, area=None):
        """Mix the outputs of all normalizers."""
        parts = self.parts(table, training)
        shares = self.shares(table, parts)
        return area_mixture.of_outputs(parts, shares, self.epsilon, self.affine)

    def affine(self, k, scale, offset):
        """Gamma and beta of the k-th normalizer."""
        if self.gamma is not None:
            gamma = ops.cast(self.gamma[k : k + 1], scale.dtype)
            scale, offset = scale * gamma, offset * gamma
        if self.beta is not None:
            offset = offset + ops.cast(self.beta[k : k + 1], scale.dtype)
        return scale, offset
