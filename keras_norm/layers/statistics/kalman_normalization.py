"""Kalman normalization: batch statistics fused with those of the layer before.

Wang et al., 2018, https://arxiv.org/abs/1802.03133
"""

import math

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import kalman
from keras_norm.core.areas import Area
from keras_norm.core.layer import several
from keras_norm.core.layer import statistics_dtype
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class Share(keras.constraints.Constraint):
    """Values within [0, 1]."""

    def __call__(self, w):
        """The nearest value."""
        return ops.clip(w, 0.0, 1.0)


@keras.saving.register_keras_serializable("keras_norm")
class KalmanNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, fused moments.

    mean = p mean' + (1 - p) mean_B and
    variance = p variance' + (1 - p) variance_B + p (1 - p) (mean_B - mean')^2:
    mean and variance of a mixture of the batch and of what was predicted from
    the layer before, mean' and variance'. Where the prediction is far off,
    mean over the channels of variance' / variance_B >= max_ratio, and without
    a prediction, the batch alone: batch normalization.

    Area: batch. Operation: standardize. Recovery: affine. Statistics: the
    mixture in training, its moving averages in inference.

    Args:
        keep: p in [0, 1], the share of the prediction.
        learn_keep: p is a weight that starts at `keep`; a constraint holds it
            in [0, 1].
        max_ratio: predicted variances beyond so many times the batch's, in
            the mean, are not used.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        synchronized: add up the statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, or the list [x, mean, variance].
        mean: mean' with an entry for each channel, or None.
        variance: variance', the same.
        training: True uses and updates batch statistics. In inference mean'
            and variance' are not looked at.
        mask: weights aligned to the leading axes.

    Returns:
        (y, mean, variance): the statistics that normalized, each (C,), of at
        least float32: what the prediction for the next layer is made of.

    Raises:
        ValueError: `keep` outside [0, 1]; one of mean and variance without
            the other, or of another number of entries than channels.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> x = keras.Input((8, 8, 3))
    >>> convolve = keras.layers.Conv2D(4, 3)
    >>> y, mean, variance = kn.layers.KalmanNormalization()(convolve(x))
    >>> y = keras.layers.Conv2D(4, 3)(keras.ops.relu(y))
    >>> y, mean, variance = kn.layers.KalmanNormalization()(
    ...     [y, mean, variance])
    >>> mean.shape
    (4,)

    Reference:

    - Wang et al., Kalman Normalization: Normalizing Internal Representations
      Across Network Layers, NeurIPS 2018, https://arxiv.org/abs/1802.03133

    Note: the authors' program draws feature maps from N(mean, variance),
    applies ReLU and the kernel to them and measures the result;
    `keras_norm.ops.propagate_moments` has it in closed form, without noise.
    Means and variances of the branches of a residual block are added. The
    paper learns the transition too, which is then a layer of the user's
    between the outputs and the inputs. The default p is that of the program's
    setting for small batches; p = 0 is batch normalization.
    """

    def __init__(
        self,
        keep=0.9,
        learn_keep=False,
        max_ratio=100.0,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=MovingAverage(momentum),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        if not isinstance(keep, (int, float)) or not 0 <= keep <= 1:
            raise errors.received(
                "`keep` is the share of the prediction and must lie in [0, 1].",
                keep=keep,
            )
        if not max_ratio > 0:
            raise errors.received(
                "`max_ratio` must be positive.", max_ratio=max_ratio
            )
        self.keep, self.learn_keep = float(keep), learn_keep
        self.max_ratio, self.momentum = float(max_ratio), float(momentum)
        self.synchronized = synchronized
        self.keep_weight = self.keep

    def build(self, inputs_shape, mean_shape=None, variance_shape=None):
        """Create gamma and beta, p if it is learned, the state."""
        if several(inputs_shape):
            inputs_shape = inputs_shape[0]
        super().build(inputs_shape)
        # A list of inputs has no one channel axis.
        self.input_spec = None

    def build_state(self, channels):
        """The share, then the moving averages."""
        if self.learn_keep:
            self.keep_weight = self.add_weight(
                shape=(),
                name="keep",
                initializer=keras.initializers.Constant(self.keep),
                constraint=Share(),
                autocast=False,
            )
        super().build_state(channels)

    def call(self, inputs, mean=None, variance=None, training=None, mask=None):
        """Normalize; see the class."""
        if isinstance(inputs, (list, tuple)):
            inputs, mean, variance = self.split_inputs(inputs)
            mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        x = self.widened(inputs)
        training = bool(training) and self.trainable
        prediction = self.prediction(mean, variance, x.dtype)
        y, mean, variance = kalman.normalize(
            self, x, prediction, training, mask
        )
        return self.narrowed(y), mean, variance

    def split_inputs(self, inputs):
        """[x] or [x, mean, variance]."""
        if len(inputs) not in (1, 3):
            raise errors.received(
                "`mean` and `variance` are predicted together.",
                "Call the layer with x or the list [x, mean, variance].",
                length=len(inputs),
            )
        return inputs if len(inputs) == 3 else (inputs[0], None, None)

    def prediction(self, mean, variance, dtype):
        """(mean, variance), each (1, C), or None."""
        if mean is None and variance is None:
            return None
        found = []
        for t in self.checked(mean, variance):
            t = ops.cast(ops.convert_to_tensor(t), dtype)
            found.append(ops.reshape(t, (1, self.channels)))
        return tuple(found)

    def checked(self, mean, variance):
        """What is predicted: both, with an entry for each channel."""
        if mean is None or variance is None:
            raise errors.received(
                "`mean` and `variance` are predicted together.",
                "Give both or none.",
                mean=mean,
                variance=variance,
            )
        for name, t in (("mean", mean), ("variance", variance)):
            shape = tuple(t.shape)
            if None not in shape and math.prod(shape) != self.channels:
                raise errors.received(
                    f"`{name}` must have one entry for each channel.",
                    **{f"{name}_shape": shape},
                    channels=self.channels,
                )
        return mean, variance

    def compute_output_spec(
        self, inputs, mean=None, variance=None, training=None, mask=None
    ):
        """The input's shape, and one entry for each channel twice."""
        x = inputs
        if isinstance(inputs, (list, tuple)):
            x, mean, variance = self.split_inputs(inputs)
        if mean is not None or variance is not None:
            self.checked(mean, variance)
        one, wide = (self.channels,), statistics_dtype(x)
        return (
            keras.KerasTensor(x.shape, self.compute_dtype),
            keras.KerasTensor(one, wide),
            keras.KerasTensor(one, wide),
        )

    def compute_output_shape(
        self, inputs_shape, mean_shape=None, variance_shape=None
    ):
        """The input's shape, and one entry for each channel twice."""
        if several(inputs_shape):
            inputs_shape = inputs_shape[0]
        channels = (inputs_shape[self.axis],)
        return tuple(inputs_shape), channels, channels

    def compute_mask(self, inputs, previous_mask=None):
        """The mask goes on with the data."""
        if isinstance(previous_mask, (list, tuple)):
            previous_mask = previous_mask[0]
        return previous_mask, None, None
