"""Power normalization: moving quadratic means in place of batch statistics.

Shen et al., 2020, https://arxiv.org/abs/2003.07845
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import backward_state
from keras_norm.core import moments
from keras_norm.core import power
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.online import ActingAverage
from keras_norm.core.state import read
from keras_norm.core.state import snapshot
from keras_norm.core.statistics import check_momentum

PRODUCT = "mean_product"
GROUP_EPSILON = 1e-5
BACKWARD = ("approximate", "exact")


@keras.saving.register_keras_serializable("keras_norm")
class PowerNormalization(ComposedNormalization):
    """y = gamma * z + beta, z = h / sqrt(square + epsilon).

    h = x / sqrt(mean(x^2) + 1e-5) at each position, over each group of
    channels. square: psi = E[h^2] of the batch up to step `warmup_steps`, then
    phi, its moving average from before the step, which inference uses. In step
    t, phi <- phi (t-1)/t + psi / t while t < warmup_steps, and then always
    phi <- af phi + (1 - af) psi, af = `alpha_forward`.

    The gradient treats the statistics as constants and takes off what it has
    had along z, k = 1 - `alpha_backward`: g = gamma dy - k nu z, dh = g /
    sqrt(psi + epsilon), nu <- nu + E[g z].

    Area: batch (h: each position's groups). Operation: scale. Recovery:
    affine. Statistics: the batch, then its moving average.

    Args:
        groups: groups of channels that `group_scaling` scales.
        group_scaling: False leaves h = x.
        alpha_forward: fraction kept of phi.
        alpha_backward: fraction kept of nu along z.
        warmup_steps: steps that normalize by the batch.
        axis: channel axis.
        epsilon: added to psi and phi, inside the root.
        backward: "approximate", or "exact": the derivative, through psi in
            the warm-up.
        synchronized: add up psi over all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2, for example (batch, tokens, C).
        training: True normalizes as above and updates the state.
        mask: weights aligned to the leading axes; masked tokens are not part
            of psi.

    Raises:
        ValueError: groups that do not divide the channels; fractions outside
            [0, 1]; an unknown `backward`; an optimizer that accumulates
            gradients or averages weights.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.PowerNormalization(groups=2)
    >>> y = layer(np.random.rand(2, 5, 8).astype("float32"), training=True)
    >>> y.shape[-1], int(keras.ops.convert_to_numpy(layer.step))
    (8, 1)

    Reference:

    - Shen et al., PowerNorm: Rethinking Batch Normalization in Transformers,
      ICML 2020, https://arxiv.org/abs/2003.07845

    Note: nu (`mean_product`) is a weight that a Keras optimizer overwrites
    with its new value; it counts as trainable. With another optimizer, or
    where a step has gradients of zeros, it starts again from 0; gradient
    accumulation and `use_ema` of a Keras optimizer are refused. A loss scale
    multiplies it, without effect on the result but just after it has changed.

    The authors' program is followed where the paper differs: phi moves twice
    in a step of the warm-up, the gradient is divided by the batch's psi after
    it too, and E[g z] is the mean over all positions, masked ones included.
    """

    def __init__(
        self,
        groups=1,
        group_scaling=True,
        alpha_forward=0.9,
        alpha_backward=0.9,
        warmup_steps=10000,
        axis=-1,
        epsilon=1e-5,
        backward="approximate",
        synchronized=False,
        **kwargs,
    ):
        positive("groups", groups)
        positive("warmup_steps", warmup_steps, 0)
        if backward not in BACKWARD:
            raise errors.unknown_name("backward", backward, list(BACKWARD))
        self.alpha_forward = check_momentum("alpha_forward", alpha_forward)
        self.alpha_backward = check_momentum("alpha_backward", alpha_backward)
        super().__init__(
            area=Area(synchronized=synchronized),
            operation="scale",
            statistics=ActingAverage(alpha_forward),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.groups, self.group_scaling = groups, group_scaling
        self.warmup_steps, self.backward = warmup_steps, backward
        self.synchronized = synchronized

    def build_state(self, channels):
        """Phi, the number of steps, nu."""
        Area("each", self.groups).check(channels)
        super().build_state(channels)
        self.add_state("step", (), "zeros", "int32")
        if self.backward == "approximate":
            backward_state.add(self, {PRODUCT: (channels,)})

    def transform(self, x, training, mask, condition):
        """The scaling of each token, then that of the channels."""
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        if self.group_scaling:
            x = power.group_scaled(
                x, self.axis, self.groups, GROUP_EPSILON, mask
            )
        view = moments.viewer(len(x.shape), self.axis)
        gamma, beta = self.affine(x, view)
        _, phi = self.statistics.state(self, x.dtype)
        phi = view(phi)
        if not training:
            return x * (ops.rsqrt(phi + self.epsilon) * gamma) + beta
        return self.step_of(x, mask, gamma, beta, phi)

    def affine(self, x, view):
        """Gamma and beta, broadcasting against x."""
        one = ops.ones((1, self.channels), x.dtype)
        folded = self.recovery.fold(self, one, ops.zeros_like(one))
        return [view(t) for t in folded]

    def step_of(self, h, mask, gamma, beta, phi):
        """Normalize a batch in training; the state moves."""
        rank = len(h.shape)
        axes = tuple(i for i in range(rank) if i != self.axis % rank)
        exact = self.backward == "exact"
        measured = h if exact else ops.stop_gradient(h)
        psi, weight = power.second_moment(
            measured, axes, mask, self.synchronized
        )
        time, phi = read(self.step, "int32") + 1, snapshot(phi)
        warm = ops.cast(time <= self.warmup_steps, h.dtype)
        square = warm * psi + (1.0 - warm) * phi
        rate = ops.rsqrt(square + self.epsilon)
        seen = weight > 0
        self.follow(ops.stop_gradient(psi), phi, seen, time)
        if exact:
            return h * (rate * gamma) + beta
        every = psi
        if mask is not None or self.synchronized:
            every, _ = power.second_moment(measured, axes, None, False)
        return power.powered(
            h,
            ops.stack([rate, ops.rsqrt(psi + self.epsilon)]),
            gamma,
            beta,
            every,
            ops.cast(seen, h.dtype),
            backward_state.tensors(self, (PRODUCT,), h.dtype),
            axes,
            self.alpha_backward,
        )

    def follow(self, psi, phi, seen, time):
        """Move phi and the number of steps."""
        warm = ops.cast(time < self.warmup_steps, psi.dtype)
        new = phi + warm * (psi - phi) / ops.cast(time, psi.dtype)
        new = new + (1.0 - self.alpha_forward) * (psi - new)
        new = ops.where(seen, new, phi)
        variable = self.moving_second_moment
        new = ops.reshape(new, variable.shape)
        variable.assign(ops.cast(new, variable.dtype))
        self.step.assign(self.step + ops.cast(ops.any(seen), "int32"))
