"""Dynamic layer normalization: gamma and beta from a summary of the sequence.

Kim, Song & Bengio, 2017, https://arxiv.org/abs/1707.06065
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import several
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.positions import Position
from keras_norm.core.summary_recovery import FromSummary
from keras_norm.core.summary_recovery import summary_of
from keras_norm.core.summary_recovery import variance_across


@keras.saving.register_keras_serializable("keras_norm")
class DynamicLayerNormalization(ComposedNormalization):
    """y = gamma(a) * (x - mean) / sqrt(variance + epsilon) + beta(a).

    Mean and variance are over the channels of each time step. The summary a of
    a sequence h (the input, or another) is the mean over its steps that are not
    masked of tanh(h @ summary_kernel + summary_bias), and gamma(a) = a @
    gamma_kernel + gamma_bias, beta(a) = a @ beta_kernel + beta_bias.

    Area: layer (each position). Operation: standardize. Recovery: generated
    from the whole sample. Statistics: the input itself.

    Args:
        summary_units: size of the summary.
        diversity_weight: in training the layer adds the loss -weight * variance
            of the summaries across the batch, averaged over their units.
        axis: channel axis of both inputs.
        epsilon: added to the variance, inside the root.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...` (of beta_bias and
            gamma_bias), `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, (N, T, C) for sequences, or the list
            [inputs, summary_input].
        summary_input: (N, ..., D), what is summarized; None: the input.
        training: True adds the loss.
        mask: weights aligned to the leading axes of the input, and of a summary
            input of the same sizes; or a list with one (or None) for each.

    Raises:
        ValueError: an axis outside the input; sizes that make no sense.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DynamicLayerNormalization(summary_units=16)
    >>> tuple(layer(np.random.rand(2, 5, 8).astype("float32")).shape)
    (2, 5, 8)

    Reference:

    - Kim et al., Dynamic Layer Normalization for Adaptive Neural Acoustic
      Modeling in Speech Recognition, Interspeech 2017,
      https://arxiv.org/abs/1707.06065

    Note: no program of the authors is known. In the paper each gate of an LSTM
    is normalized so, with one summary of the layer below for all of them; here
    is the normalization for use between any layers.
    """

    def __init__(
        self,
        summary_units=64,
        diversity_weight=0.0,
        axis=-1,
        epsilon=1e-5,
        **kwargs,
    ):
        if not diversity_weight >= 0:
            raise errors.received(
                "`diversity_weight` must not be negative.",
                diversity_weight=diversity_weight,
            )
        small = keras.initializers.RandomNormal(stddev=0.02)
        super().__init__(
            area=Position(),
            recovery=FromSummary(summary_units, small),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.summary_units = summary_units
        self.diversity_weight = float(diversity_weight)

    def build(self, inputs_shape, summary_input_shape=None):
        """The weights of the summary, then those of gamma and beta."""
        if several(inputs_shape):
            inputs_shape, summary_input_shape = self.split_pair(inputs_shape)
        super().build(inputs_shape, summary_input_shape)
        # Of one input; there may be two.
        self.input_spec = None

    def call(self, inputs, summary_input=None, training=None, mask=None):
        """The second input by position, keyword, or in a list."""
        if isinstance(inputs, (list, tuple)):
            inputs, summary_input = self.split_pair(inputs)
        if isinstance(mask, (list, tuple)):
            mask, of_summary = mask[0], mask[-1]
        else:
            of_summary = mask if self.alike(inputs, summary_input) else None
        return self.normalize(
            inputs, training, mask, (summary_input, of_summary)
        )

    def alike(self, inputs, summary_input):
        """Have the two the same samples and positions, as far as is known?"""
        if summary_input is None:
            return True
        shapes = [list(t.shape) for t in (inputs, summary_input)]
        for shape in shapes:
            del shape[self.axis]
        same = len(shapes[0]) == len(shapes[1])
        return same and all(
            None in sizes or sizes[0] == sizes[1]
            for sizes in zip(*shapes, strict=True)
        )

    def transform(self, x, training, mask, condition):
        """Summarize, then normalize with what the summary makes."""
        h, mask_of_h = condition
        h = x if h is None else ops.cast(h, x.dtype)
        summaries, seen = summary_of(
            h,
            ops.cast(self.summary_kernel, x.dtype),
            ops.cast(self.summary_bias, x.dtype),
            self.axis % len(h.shape),
            mask_of_h,
        )
        if training and self.diversity_weight:
            diversity = variance_across(summaries, seen)
            self.add_loss(-self.diversity_weight * diversity)
        return super().transform(x, training, mask, summaries)
