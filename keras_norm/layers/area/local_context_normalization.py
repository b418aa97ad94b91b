"""Local context normalization: statistics of a window and a channel group.

Ortiz, Robinson, Morris et al., 2020, https://arxiv.org/abs/1912.05845
"""

import keras
import numpy as np
from keras import ops

from keras_norm.core import moments
from keras_norm.core import window_moments
from keras_norm.core import window_sums
from keras_norm.core import windows
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize


@keras.saving.register_keras_serializable("keras_norm")
class ShiftedWindow(windows.Window):
    """The windows of the authors' program.

    If the image is larger than the window along every axis: of p entries,
    shifted inwards at the border, row i+1 to i+p for i = clip(r - p//2, 0,
    H-p-1), biased, without gradient. Otherwise the whole image, as the
    operation says and with gradient.
    """

    def whole(self, x, spans):
        """An axis that is not larger than the window decides."""
        return not spans or any(
            isinstance(x.shape[s.axis], int)
            and window_sums.mass(s) >= x.shape[s.axis]
            for s in spans
        )

    def measure(self, d, w, axis, spans, operation):
        """Of the shifted windows, or of the whole if sizes turn out so."""
        rows, larger, ahead = [], [], []
        for span in spans:
            size = span.before + span.after + 1
            length = ops.shape(d)[span.axis + (span.axis > axis)]
            if not isinstance(length, int):
                larger.append(ops.cast(length, "int32") > size)
            # The window that starts at each row; then, for each row, where the
            # program starts.
            ahead.append(window_sums.Span(span.axis, 0, size - 1, None))
            rows.append(self.first_rows(length, size))
        parts = window_moments.parts_of(ops.stop_gradient(d), axis, *w)
        _, mean, variance = window_moments.merged(parts, ahead, rows)
        mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
        if not larger:
            return mean, variance
        count, whole_mean, whole_variance = window_moments.merged(
            window_moments.parts_of(d, axis, *w),
            [window_sums.entire(s.axis) for s in spans],
        )
        if operation.unbiased:
            count = count * d.shape[axis + 1]
            whole_variance = moments.bessel(whole_variance, count)
        local = larger[0]
        for condition in larger[1:]:
            local = ops.logical_and(local, condition)
        return (
            ops.where(local, mean, whole_mean),
            ops.where(local, variance, whole_variance),
        )

    def first_rows(self, length, size):
        """Where the window of each row starts; inside, whatever the sizes."""
        if isinstance(length, int):
            start = np.clip(np.arange(length) - size // 2, 0, length - size - 1)
            return ops.convert_to_tensor(start + 1, "int32")
        start = ops.maximum(ops.arange(length, dtype="int32") - size // 2, 0)
        rows = ops.cast(length, "int32")
        start = ops.minimum(start, ops.maximum(rows - size - 1, 0))
        return ops.minimum(start + 1, rows - 1)


@keras.saving.register_keras_serializable("keras_norm")
class LocalContextNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, window-wise.

    Mean and variance of the window around each position, over a group of
    consecutive channels. A window that covers the image from everywhere makes
    it group normalization.

    Area: window of a group of channels. Operation: standardize. Recovery:
    affine per channel. Statistics: the input itself.

    Args:
        channels_per_group: channels of a group; must divide the channels.
        window_size: entries of the window, one number or one per spatial axis.
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        compat: compute what the authors' program does; see the note.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2; without positions, (N, C), it is
            group normalization.
        mask: weights aligned to the leading axes; entries of weight 0 take no
            part in the statistics.

    Raises:
        ValueError: a group size that does not divide the channels, a number
            of window sizes other than that of the spatial axes.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LocalContextNormalization(window_size=(5, 3))
    >>> tuple(layer(np.random.rand(2, 8, 8, 4).astype("float32")).shape)
    (2, 8, 8, 4)

    Reference:

    - Ortiz et al., Local Context Normalization, CVPR 2020,
      https://arxiv.org/abs/1912.05845

    Note: the default is the text's definition: a centred window, cut at the
    border, the variance of the entries inside. The authors' program shifts
    the windows inwards instead (odd ones off centre by one, the first row and
    column never start one) and lets no gradient through the statistics; where
    the window is not smaller than the image it computes group normalization
    with the unbiased variance and with gradient. `compat=True` does that.
    """

    def __init__(
        self,
        channels_per_group=2,
        window_size=227,
        axis=-1,
        epsilon=1e-5,
        compat=False,
        **kwargs,
    ):
        several = isinstance(window_size, (list, tuple))
        window_sums.per_axis(
            "window_size", window_size, len(window_size) if several else 1
        )
        area = ShiftedWindow if compat else windows.Window
        super().__init__(
            area=area(window_size, channels_per_group),
            operation=Standardize(unbiased=compat),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.channels_per_group = channels_per_group
        self.window_size = window_size
        self.compat = compat

    def build(self, inputs_shape):
        """Create gamma and beta; there must be a size for each axis."""
        count = len(inputs_shape) - 2
        if count > 0:
            window_sums.per_axis("window_size", self.window_size, count)
        super().build(inputs_shape)
