"""Local contrast normalization: subtract and divide by a window's contrast.

Jarrett, Kavukcuoglu, Ranzato & LeCun, 2009,
https://doi.org/10.1109/ICCV.2009.5459469
"""

import keras
import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core import window_means
from keras_norm.core import window_sums
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of

KERNELS = ["gaussian", "box"]
BORDERS = ["renormalize", "zero", "torch7"]


@keras.saving.register_keras_serializable("keras_norm")
class LocalContrastNormalization(NormalizationLayer):
    """y = v / max(c, s), v = x - sum w x, s = sqrt(sum w v^2).

    w is a window of mass 1 over positions (and all channels); c is the mean of
    s over the positions of the sample.

    Area: window, of all channels or of each. Operation: standardize. No
    recovery, no state.

    Args:
        kernel_size: odd size of the window, one number or one per spatial
            axis.
        kernel: "gaussian" or "box".
        sigma: standard deviation of the Gaussian in pixels, one number or one
            per spatial axis. None: a quarter of the size.
        across_channels: all channels share v's mean and s; False: each channel
            alone.
        floor: "mean" for c as above, or a number.
        floor_value: what a deviation s of at most the floor is replaced by.
            None: the floor itself.
        border: what windows that leave the image do. "renormalize": means over
            the part inside; "zero": zeros outside; "torch7": v as
            "renormalize", s = sqrt(sum w v^2) / (mass of the part inside).
        axis: channel axis.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank 3 to 5, with 1 to 3 spatial axes.
        mask: weights aligned to the leading axes; entries of weight 0 count as
            outside.

    Raises:
        ValueError: an even size, unknown names, inputs without positions, a
            floor that would be a division by zero.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LocalContrastNormalization(kernel_size=5)
    >>> x = np.random.rand(2, 16, 16, 3).astype("float32")
    >>> y, brighter = layer(x), layer(10 * x + 5)
    >>> bool(abs(keras.ops.convert_to_numpy(y - brighter)).max() < 1e-3)
    True

    Reference:

    - Jarrett et al., What is the Best Multi-Stage Architecture for Object
      Recognition?, ICCV 2009, https://doi.org/10.1109/ICCV.2009.5459469

    Note: the paper gives no sigma and no rule for the border; sigma is that of
    the `image.gaussian` of Torch 7, the border is renormalized. The modules of
    Torch 7 (SpatialContrastiveNormalization) have a constant floor:
    `kernel="box", border="torch7", floor=1e-4`.
    """

    fixed = ("epsilon", *AFFINE)

    def __init__(
        self,
        kernel_size=9,
        kernel="gaussian",
        sigma=None,
        across_channels=True,
        floor="mean",
        floor_value=None,
        border="renormalize",
        axis=-1,
        **kwargs,
    ):
        super().__init__(axis=axis, **kwargs)
        several = isinstance(kernel_size, (list, tuple))
        count = len(kernel_size) if several else 1
        sizes = window_sums.per_axis("kernel_size", kernel_size, count)
        if any(size % 2 == 0 for size in sizes):
            raise errors.received(
                "`kernel_size` must be odd: an even window has no centre.",
                kernel_size=kernel_size,
            )
        if kernel not in KERNELS:
            raise errors.unknown_name("kernel", kernel, KERNELS)
        if border not in BORDERS:
            raise errors.unknown_name("border", border, BORDERS)
        sigmas = sigma if isinstance(sigma, (list, tuple)) else (sigma,)
        if sigma is not None and not all(s > 0 for s in sigmas):
            raise errors.received("`sigma` must be positive.", sigma=sigma)
        if sigma is not None and kernel == "box":
            raise errors.received(
                "`sigma` belongs to kernel='gaussian'.",
                sigma=sigma,
                kernel=kernel,
            )
        if isinstance(floor, str) and floor != "mean":
            raise errors.unknown_name("floor", floor, ["mean", "a number"])
        if not isinstance(floor, str) and not floor >= 0:
            raise errors.received("`floor` must not be negative.", floor=floor)
        least = floor if floor_value is None else floor_value
        if not isinstance(least, str) and not least > 0:
            raise errors.received(
                "`floor_value` (or `floor`, where it is None) must be "
                "positive: flat regions are divided by it.",
                floor=floor,
                floor_value=floor_value,
            )
        self.kernel_size, self.kernel, self.sigma = kernel_size, kernel, sigma
        self.across_channels, self.border = across_channels, border
        self.floor, self.floor_value = floor, floor_value

    def build(self, inputs_shape):
        """Check the axes."""
        channels_of(self.axis, inputs_shape)
        count = len(inputs_shape) - 2
        if count < 1:
            raise errors.received(
                "The input must have at least one spatial axis: (batch, "
                "positions, channels).",
                input_shape=inputs_shape,
            )
        window_sums.per_axis("kernel_size", self.kernel_size, count)
        if isinstance(self.sigma, (list, tuple)) and len(self.sigma) != count:
            raise errors.received(
                "`sigma` must have one value for each spatial axis.",
                sigma=self.sigma,
                input_shape=inputs_shape,
            )
        self.built = True

    def window(self, x) -> tuple:
        """One span per spatial axis of x."""
        axis = self.axis % len(x.shape)
        spatial = [a for a in range(1, len(x.shape)) if a != axis]
        sizes = window_sums.per_axis(
            "kernel_size", self.kernel_size, len(spatial)
        )
        if self.kernel == "box":
            return tuple(map(window_sums.neighbours, spatial, sizes))
        sigmas = self.sigma
        if not isinstance(sigmas, (list, tuple)):
            sigmas = [sigmas or 0.25 * size for size in sizes]
        dtype = keras.backend.standardize_dtype(x.dtype)
        return tuple(
            window_sums.gaussian(*along, dtype)
            for along in zip(spatial, sizes, sigmas, strict=True)
        )

    def call(self, inputs, training=None, mask=None):
        """Subtract the window's mean, divide by the contrast."""
        x = self.widened(inputs)
        axis = self.axis % len(x.shape)
        w = None
        if mask is not None:
            w = moments.aligned(mask, x)
            x = moments.without_padding(x, w)
        field = window_means.Field(
            x,
            self.window(x),
            whole=(axis,) if self.across_channels else (),
            weights=w,
            renormalize=self.border != "zero",
        )
        pivot = field.pivot(x)
        d = x - pivot
        v = field.centred(d, pivot)
        contrast = window_means.root(field.mean(ops.square(v)))
        if self.border == "torch7":
            # sqrt(sum) / mass = sqrt(mean) / sqrt(mass)
            inside = ops.maximum(field.inside, moments.TINY)
            contrast = contrast * ops.rsqrt(inside)
        if self.floor != "mean":
            least = self.floor if self.floor_value is None else self.floor_value
            divisor = ops.where(contrast > self.floor, contrast, least)
            return self.narrowed(v / divisor)
        floor = field.average(contrast)
        # Below the rounding of the data there is no contrast: 0 / 0 is 0.
        rounding = 8.0 * float(
            np.finfo(keras.backend.standardize_dtype(x.dtype)).eps
        )
        flat = floor <= rounding * field.average(ops.abs(ops.stop_gradient(d)))
        least = floor if self.floor_value is None else self.floor_value
        divisor = ops.where(contrast > floor, contrast, least)
        y = v / ops.where(flat, 1.0, divisor)
        return self.narrowed(ops.where(flat, 0.0, y))
