"""Adaptive instance normalization: the style of another input.

Huang & Belongie, 2017, https://arxiv.org/abs/1703.06868
"""

import keras

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core.areas import Area
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import finite
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize
from keras_norm.core.recoveries import Generated
from keras_norm.core.style_recoveries import DenseStyle
from keras_norm.core.style_recoveries import Style


@keras.saving.register_keras_serializable("keras_norm")
class AdaptiveInstanceNormalization(ComposedNormalization):
    """y = gamma(s) * (x - mean) / sqrt(variance + epsilon) + beta(s).

    | variant | second input | gamma | beta |
    |---|---|---|---|
    | style | feature map s | sqrt(variance(s) + epsilon) | mean(s) |
    | generated | gamma, beta, both (N, C) | gamma | beta |
    | dense (StyleGAN) | latent w (N, D) | 1 + W_g w + b_g | W_b w + b_b |

    Area: instance. Operation: standardize. Recovery: style, generated or
    dense. Statistics: the input itself.

    Args:
        variant: "style", "generated" or "dense".
        axis: channel axis of the input and of a style.
        epsilon: added to the variances, inside the roots.
        unbiased: divide the variances (of style too) by m - 1.
        alpha: y <- alpha * y + (1 - alpha) * x.
        equalized_learning_rate: "dense": the kernel is stored as N(0, 1) and
            multiplied by gain / sqrt(D) at every call.
        gain: see above.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor of rank at least 2, or a list with all inputs.
        style: the second input. A feature map may have other sizes than the
            first input, but for its samples and channels. Of "generated" it is
            gamma, or gamma and beta in one, (N, 2 C), gamma first.
        beta: the third input of "generated".
        mask: weights aligned to the leading axes of the first input; or a list
            with one (or None) for each input, of which a feature map takes
            its own.

    Raises:
        ValueError: no second input, or one of another shape than above.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> style = np.random.rand(2, 5, 5, 3).astype("float32")
    >>> layer = kn.layers.AdaptiveInstanceNormalization()
    >>> tuple(layer(x, style).shape)
    (2, 8, 8, 3)

    Reference:

    - Huang & Belongie, Arbitrary Style Transfer in Real-time with Adaptive
      Instance Normalization, ICCV 2017, https://arxiv.org/abs/1703.06868
    - Huang et al., Multimodal Unsupervised Image-to-Image Translation, ECCV
      2018, https://arxiv.org/abs/1804.04732
    - Karras et al., A Style-Based Generator Architecture for GANs, CVPR 2019,
      https://arxiv.org/abs/1812.04948

    Note: the widely used PyTorch port divides both variances by m - 1
    (`unbiased=True`); the authors' Torch program only the style's, and adds no
    epsilon to it. StyleGAN's epsilon is 1e-8. MUNIT's network puts beta first:
    give its output in two parts.
    """

    fixed = AFFINE

    def __init__(
        self,
        variant="style",
        axis=-1,
        epsilon=1e-5,
        unbiased=False,
        alpha=1.0,
        equalized_learning_rate=True,
        gain=1.0,
        **kwargs,
    ):
        variants = {
            "style": lambda: Style(epsilon, unbiased),
            "generated": Generated,
            "dense": lambda: DenseStyle(equalized_learning_rate, gain),
        }
        if variant not in variants:
            raise errors.unknown_name("variant", variant, list(variants))
        super().__init__(
            area=Area("each", "each"),
            operation=Standardize(unbiased),
            recovery=variants[variant](),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.variant, self.unbiased = variant, unbiased
        self.alpha = finite("alpha", alpha)
        self.equalized_learning_rate = equalized_learning_rate
        self.gain = gain

    def build(self, inputs_shape, style_shape=None, beta_shape=None):
        """Weights of the dense variant only."""
        if several(inputs_shape):
            inputs_shape, *others = inputs_shape
        else:
            others = [s for s in (style_shape, beta_shape) if s is not None]
        super().build(inputs_shape, others[0] if others else None)
        if self.variant == "generated":
            self.recovery.check(self.channels, *others)
        elif len(others) > 1:
            raise errors.received(
                f"variant={self.variant!r} takes one input besides the first.",
                "Use variant='generated' for gamma and beta.",
                shapes=others,
            )

    def call(self, inputs, style=None, beta=None, training=None, mask=None):
        """The second input by position, keyword, or in a list."""
        condition = style if beta is None else (style, beta)
        if isinstance(inputs, (list, tuple)):
            inputs, condition = self.split_pair(inputs)
        masks = mask if isinstance(mask, (list, tuple)) else (mask, None)
        if self.variant == "style" and condition is not None:
            condition = condition, masks[1]
        return self.normalize(inputs, training, masks[0], condition)

    def finish(self, x, y, mask):
        """Blend with the input."""
        return elementwise.blended(self.alpha, y, x, mask)
