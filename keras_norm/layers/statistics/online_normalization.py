"""Online normalization: statistics of all samples before this one.

Chiley et al., 2019, https://arxiv.org/abs/1905.05894
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import backward_state
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core import online
from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.primitives import at_least_one
from keras_norm.core.statistics import check_momentum
from keras_norm.core.statistics import compact

CONTROLS = ("mean_control", "output_control")
COMPENSATIONS = ("layer_scaling", "clamp", None)
LAYER_EPSILON = 1e-5


@keras.saving.register_keras_serializable("keras_norm")
class OnlineNormalization(ComposedNormalization):
    """z_i = (x_i - m_i) / sqrt(v_i + epsilon), y = gamma * z + beta.

    m_i, v_i: the statistics of all samples before sample i, with af =
    `alpha_forward` and the moments of each sample over its positions: v <- af
    v + (1 - af) var_i + af (1 - af) (mean_i - m)^2, m <- af m + (1 - af)
    mean_i. They are constants to the gradient; instead a control process keeps
    the gradients what normalization would make them, with k = 1 -
    `alpha_backward`: g = gamma dy_i - k c z_i, c <- c + mean(g z_i); g <- g /
    sqrt(v_i + epsilon), dx_i = g - k u, u <- u + mean(dx_i).

    What grows from the errors is kept small at the end: `layer_scaling`
    divides y of each sample by sqrt(mean(y^2) + 1e-5).

    Area: batch, one sample at a time. Operation: standardize, then scale the
    layer. Recovery: affine, before the scaling. Statistics: moving averages,
    in training too. Batches of one sample are as good as any; samples count in
    the order of the batch.

    Args:
        alpha_forward: fraction of the statistics kept by each sample.
        alpha_backward: fraction kept by the control of the gradients.
        axis: channel axis.
        epsilon: added to the variance, inside the root.
        error_compensation: "layer_scaling", "clamp" to +-`clamp_value`, None.
        clamp_value: see there.
        control: "state" keeps u and c from step to step, "batch" starts each
            batch with zeros and needs no weights for them.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: True normalizes by and updates the state, sample by sample.
        mask: refused.

    Raises:
        ValueError: fractions outside [0, 1]; an unknown `error_compensation`
            or `control`; a mask; an optimizer that accumulates gradients or
            averages weights.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.OnlineNormalization(error_compensation=None)
    >>> x = np.random.rand(2, 8, 8, 3).astype("float32")
    >>> y = keras.ops.convert_to_numpy(layer(x, training=True))
    >>> bool(abs(y[0] - x[0]).max() < 1e-5)  # by the mean 0 and variance 1
    True

    Reference:

    - Chiley et al., Online Normalization for Training Neural Networks, NeurIPS
      2019, https://arxiv.org/abs/1905.05894

    Note: u (`mean_control`) and c (`output_control`) are weights that a Keras
    optimizer overwrites with their new values; they count as trainable. With
    another optimizer, or where a step has gradients of zeros, they start again
    from 0, as if `control="batch"`; gradient accumulation and `use_ema` of a
    Keras optimizer are refused. A loss scale multiplies them, without effect
    on the result but just after it has changed. Each replica has statistics of
    its own samples; u and c are averaged over replicas.

    The authors' programs clamp by default; the paper scales, as here.
    """

    def __init__(
        self,
        alpha_forward=0.999,
        alpha_backward=0.99,
        axis=-1,
        epsilon=1e-5,
        error_compensation="layer_scaling",
        clamp_value=5.0,
        control="state",
        **kwargs,
    ):
        self.alpha_forward = check_momentum("alpha_forward", alpha_forward)
        self.alpha_backward = check_momentum("alpha_backward", alpha_backward)
        if error_compensation not in COMPENSATIONS:
            raise errors.unknown_name(
                "error_compensation", error_compensation, list(COMPENSATIONS)
            )
        if control not in ("state", "batch"):
            raise errors.unknown_name("control", control, ["state", "batch"])
        known = isinstance(clamp_value, (int, float))
        if not known or not clamp_value > 0:
            raise errors.received(
                "`clamp_value` must be a positive number.",
                clamp_value=clamp_value,
            )
        super().__init__(
            area=Area(),
            statistics=online.ActingAverage(alpha_forward),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.error_compensation = error_compensation
        self.clamp_value, self.control = float(clamp_value), control

    def build_state(self, channels):
        """The moving statistics and the control."""
        super().build_state(channels)
        if self.control == "state":
            backward_state.add(self, dict.fromkeys(CONTROLS, (channels,)))

    def transform(self, x, training, mask, condition):
        """Moments of the samples, factors, one scale-and-shift."""
        if mask is not None:
            raise errors.received(
                "`mask` is not supported: samples of different weight have no "
                "place in the order that the statistics follow.",
                "Leave the masked entries out, or end the mask before this "
                "layer.",
                mask_shape=tuple(mask.shape),
            )
        table = moments.measure(x, self.axis)
        statistics = self.statistics
        state = statistics.before if training else statistics.state
        mean, variance = state(self, x.dtype)
        # The pivot relative to the state: differences of large numbers first.
        pivot = table.pivot - mean
        if training:
            scale, offset = self.follow(table, pivot, variance)
        else:
            scale = ops.rsqrt(variance + self.epsilon)
            offset = pivot * scale
        scale, offset = self.recovery.fold(self, scale, offset)
        if self.error_compensation == "layer_scaling":
            square = ops.square(scale) * table.variance
            square = square + ops.square(scale * table.mean + offset)
            square = ops.mean(square, axis=-1, keepdims=True)
            rate = ops.rsqrt(square + LAYER_EPSILON)
            scale, offset = scale * rate, offset * rate
        y = elementwise.apply(table.data, table.view, scale, offset)
        if self.error_compensation == "clamp":
            y = ops.clip(y, -self.clamp_value, self.clamp_value)
        return y

    def follow(self, table, pivot, variance):
        """(scale, offset) of every sample; the state moves."""
        dtype = variance.dtype
        held = (ops.stop_gradient(t) for t in (table.mean, table.variance))
        mean, within = held
        means, variances, last_mean, last = online.before_samples(
            pivot + mean, within, variance, self.alpha_forward
        )
        scale = ops.rsqrt(variances + self.epsilon)
        offset = (pivot - means) * scale
        size = ops.convert_to_tensor(at_least_one(table.positions), dtype)
        if self.control == "state":
            state = backward_state.tensors(self, CONTROLS, dtype)
        else:
            shapes = dict.fromkeys(CONTROLS, (self.channels,))
            state = backward_state.without(shapes, dtype)
        factors = online.controlled(
            table.mean,
            table.variance,
            scale,
            offset,
            size,
            state,
            self.alpha_backward,
        )
        # Samples without positions say nothing.
        some = ops.cast(ops.greater(table.positions, 0), dtype)
        self.moving_mean.assign(self.moved(self.moving_mean, some * last_mean))
        change = some * (last - variance)
        self.moving_variance.assign(self.moved(self.moving_variance, change))
        return factors

    @staticmethod
    def moved(variable, change):
        """The variable after this change (1, C)."""
        old = compact(variable, change.dtype)
        return ops.cast((old + change)[0], variable.dtype)
