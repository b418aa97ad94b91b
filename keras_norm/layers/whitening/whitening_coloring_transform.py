"""Whitening and coloring transform: the covariance of another input.

Li, Fang, Yang, Wang, Lu & Yang, 2017, https://arxiv.org/abs/1705.08086
"""

import keras

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core.areas import Area
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import finite
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.style_whitening import ColorByStyle
from keras_norm.core.style_whitening import WhitenContent


@keras.saving.register_keras_serializable("keras_norm")
class WhiteningColoringTransform(ComposedNormalization):
    """y = S_s^(1/2) S_x^(-1/2) (x - mean(x)) + mean(s), sample by sample.

    S_x and S_s are the covariances of the channels over the positions of the
    content x and of the style s, both divided by m - 1. Where x has positions
    enough, y has the mean and the covariance of s, of which
    `AdaptiveInstanceNormalization` gives it the diagonal alone.

    Area: instance. Operation: whiten (matrix). Recovery: coloring by a style.
    Statistics: each input itself; no weights, no state.

    Three ways to factor, and what they do about singular covariances:

    - "eigh": S^(-1/2) and S^(1/2) from eigenvalues; directions whose
      eigenvalues are below `threshold` are dropped.
    - "newton": the same by coupled Newton steps, matrix products only;
      `threshold` is added to both diagonals.
    - "cholesky": L^(-1) and L with L L^T = S; `threshold` is added to both
      diagonals. It follows the order of the channels and makes another output
      of the same covariance.

    Args:
        alpha: y <- alpha * y + (1 - alpha) * x.
        content_shift: added to the diagonal of S_x.
        threshold: see above. It is at least 4.8e-7 of the trace, which float32
            cannot tell from 0.
        whitening: "eigh", "newton" or "cholesky".
        iterations: steps of "newton": log2.25(trace / least eigenvalue) and
            four more converge.
        axis: channel axis of content and style.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: content, tensor of rank at least 3, or a list with the style.
        style: tensor with the same batch and channels; other positions, and
            even another rank, are fine.
        mask: weights aligned to the leading axes of the content, the same for
            all channels; in a list, those of the style too.

    Raises:
        ValueError: no style; a style with other channels; no positions.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> style = np.random.rand(2, 5, 6, 3).astype("float32")
    >>> layer = kn.layers.WhiteningColoringTransform()
    >>> tuple(layer(x, style).shape)
    (2, 8, 8, 3)

    Reference:

    - Li et al., Universal Style Transfer via Feature Transforms, NeurIPS 2017,
      https://arxiv.org/abs/1705.08086

    Note: there is no state, so inference factors covariances too. Exports that
    do not survive "eigh" and "cholesky": a SavedModel written from JAX, ONNX,
    OpenVINO, and for "eigh" LiteRT. "newton" runs in all of them. Gradients of
    all three are finite, also at equal eigenvalues; those of "eigh" grow where
    an eigenvalue falls towards the threshold, so train with "newton" or
    "cholesky". The authors' program adds nothing to the covariance of the
    content; a widely used PyTorch port adds I (`content_shift=1.0`).
    """

    fixed = (*AFFINE, "epsilon")

    def __init__(
        self,
        alpha=1.0,
        content_shift=0.0,
        threshold=1e-5,
        whitening="eigh",
        iterations=20,
        axis=-1,
        **kwargs,
    ):
        if not content_shift >= 0:
            raise errors.received(
                "`content_shift` must not be negative.",
                content_shift=content_shift,
            )
        method = whitening, threshold, iterations
        super().__init__(
            area=Area("each", "each"),
            operation=WhitenContent(*method),
            recovery=ColorByStyle(*method),
            axis=axis,
            # What a whitening operation adds to the diagonal.
            epsilon=content_shift,
            **kwargs,
        )
        self.alpha = finite("alpha", alpha)
        self.content_shift = float(content_shift)
        self.threshold, self.whitening = threshold, whitening
        self.iterations = iterations

    def build(self, inputs_shape, style_shape=None):
        """No weights; both inputs need positions."""
        if several(inputs_shape):
            inputs_shape, style_shape = self.split_pair(inputs_shape)
        for shape in (inputs_shape, style_shape):
            if shape is not None and len(shape) < 3:
                raise errors.received(
                    "Content and style must have at least rank 3, (batch, "
                    "positions, channels).",
                    input_shape=inputs_shape,
                    style_shape=style_shape,
                )
        super().build(inputs_shape, style_shape)

    def call(self, inputs, style=None, training=None, mask=None):
        """The style by position, keyword, or in a list."""
        if isinstance(inputs, (list, tuple)):
            inputs, style = self.split_pair(inputs)
        if style is not None and isinstance(mask, (list, tuple)):
            mask, style_mask = mask
            style = style, style_mask
        return self.normalize(inputs, training, mask, style)

    def finish(self, x, y, mask):
        """Blend with the content."""
        return elementwise.blended(self.alpha, y, x, mask)
