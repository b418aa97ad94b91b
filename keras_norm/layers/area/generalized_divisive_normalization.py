"""Generalized divisive normalization: a learned pool of the channels.

Balle, Laparra & Simoncelli, 2016, https://arxiv.org/abs/1511.06281
"""

import math

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.deviations import absolute
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of

VARIANTS = ["gdn", "gdn1", "neuroscience"]
# Added to what is stored, so that the gradient at 0 does not vanish. A power
# of four: the square of its root is exact.
PEDESTAL = 2.0**-36


@primitives.cached
def _lower_bound(bound):
    """max(t, bound); the gradient passes where it leads up."""

    @ops.custom_gradient
    def lower_bound(t):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            passes = ops.logical_or(t >= bound, upstream < 0)
            return ops.where(passes, upstream, ops.zeros_like(upstream))

        return ops.maximum(t, bound), grad

    return lower_bound


class _Stored(keras.initializers.Initializer):
    """The stored form of a vector of ones or of a multiple of the identity."""

    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None):
        wanted = np.eye(*shape) if len(shape) == 2 else np.ones(shape)
        stored = np.sqrt(self.value * wanted + PEDESTAL)
        return ops.convert_to_tensor(stored, dtype=dtype)


@keras.saving.register_keras_serializable("keras_norm")
class GeneralizedDivisiveNormalization(NormalizationLayer):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), all trained.

    | variant | y_i |
    |---|---|
    | "gdn" | x_i / sqrt(beta_i + sum_j gamma_ij x_j^2) |
    | "gdn1" | x_i / (beta_i + sum_j gamma_ij abs(x_j)) |
    | "neuroscience" | a_i^n / (sigma_i^n + sum_j gamma_ij a_j^n), a = abs(x) |

    with beta_i = sigma_i^n >= beta_min and gamma_ij >= 0.

    Area: position. Operation: scale by a learned pool. No further recovery,
    no state.

    The weights hold b and g: beta = max(b, sqrt(beta_min + p))^2 - p, gamma =
    max(g, sqrt(p))^2 - p, p = 2^-36. The gradient of the bound passes where
    what is stored is above it or would be moved up.

    Args:
        variant: see the table.
        inverse: multiply by the divisor instead.
        beta_min: lower bound of beta.
        gamma_init: gamma starts as that multiple of the identity, beta as 1.
        exponent: n of "neuroscience".
        axis: channel axis.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: handed on. Masked entries that are not finite count as zeros.

    Raises:
        ValueError: an unknown variant, a beta_min or exponent that is not
            positive, an exponent for another variant than "neuroscience".

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.GeneralizedDivisiveNormalization()
    >>> y = layer(np.full((1, 2, 2, 3), 3.0, "float32"))
    >>> print(keras.ops.convert_to_numpy(y)[0, 0, 0].round(4))
    [2.1764 2.1764 2.1764]

    Reference:

    - Balle et al., Density Modeling of Images using a Generalized
      Normalization Transformation, ICLR 2016,
      https://arxiv.org/abs/1511.06281
    - Johnston et al., Computationally Efficient Neural Image Compression,
      2019, https://arxiv.org/abs/1912.08771 (GDN1)
    - Carandini & Heeger, Normalization as a Canonical Neural Computation,
      Nature Reviews Neuroscience 2012, https://doi.org/10.1038/nrn3136

    Note: the neuroscience form is written for firing rates, which have no
    sign; here the output has none either. The reparametrization and the
    initial values are those of CompressAI for all variants.
    """

    fixed = ("epsilon", *AFFINE)

    def __init__(
        self,
        variant="gdn",
        inverse=False,
        beta_min=1e-6,
        gamma_init=0.1,
        exponent=2.0,
        axis=-1,
        **kwargs,
    ):
        super().__init__(axis=axis, **kwargs)
        if variant not in VARIANTS:
            raise errors.unknown_name("variant", variant, VARIANTS)
        if not beta_min > 0:
            raise errors.received(
                "`beta_min` must be positive: zeros are divided by its root.",
                beta_min=beta_min,
            )
        if not gamma_init >= 0:
            raise errors.received(
                "`gamma_init` must not be negative.", gamma_init=gamma_init
            )
        if not exponent > 0:
            raise errors.received(
                "`exponent` must be positive.", exponent=exponent
            )
        if variant != "neuroscience" and exponent != 2.0:
            raise errors.received(
                "`exponent` belongs to variant='neuroscience'.",
                variant=variant,
                exponent=exponent,
            )
        self.variant, self.inverse = variant, inverse
        self.beta_min, self.gamma_init = beta_min, gamma_init
        self.exponent = exponent

    def build(self, inputs_shape):
        """Create beta (C,) and gamma (C out, C in), in their stored form."""
        channels = channels_of(self.axis, inputs_shape)
        self.beta = self.add_weight(
            shape=(channels,),
            name="beta",
            initializer=_Stored(1.0),
            autocast=False,
        )
        self.gamma = self.add_weight(
            shape=(channels, channels),
            name="gamma",
            initializer=_Stored(self.gamma_init),
            autocast=False,
        )
        self.built = True

    def acting(self, weight, minimum, dtype):
        """What a stored weight stands for."""
        bound = _lower_bound(math.sqrt(minimum + PEDESTAL))
        # Not the variable itself: see keras.ops.custom_gradient.
        stored = bound(ops.multiply(ops.cast(weight, dtype), 1.0))
        return ops.square(stored) - PEDESTAL

    def power(self, x):
        """What the pool sums: |x|^n with gradient 0 at 0."""
        n = {"gdn": 2.0, "gdn1": 1.0}.get(self.variant, self.exponent)
        if n == 2:
            return ops.square(x)
        a = absolute(x)
        if n == 1:
            return a
        positive = a > 0
        return ops.where(
            positive, ops.power(ops.where(positive, a, 1.0), n), 0.0
        )

    def call(self, inputs, training=None, mask=None):
        """Divide by the pool, or multiply."""
        x = self.widened(inputs)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        x = ops.moveaxis(x, self.axis, -1)
        beta = self.acting(self.beta, self.beta_min, x.dtype)
        gamma = self.acting(self.gamma, 0.0, x.dtype)
        power = self.power(x)
        pool = ops.matmul(power, ops.transpose(gamma)) + beta
        if self.variant == "gdn":
            y = x * (ops.sqrt(pool) if self.inverse else ops.rsqrt(pool))
        else:
            top = x if self.variant == "gdn1" else power
            y = top * pool if self.inverse else top / pool
        return self.narrowed(ops.moveaxis(y, -1, self.axis))
