"""Dynamic normalization: learning what is averaged.

Luo, Zhanglin, Wenqi, Ruimao, Jiamin & Lingyun, 2019,
https://proceedings.mlr.press/v97/luo19a.html
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import area_mixture
from keras_norm.core import factor_averages
from keras_norm.core.gates import straight_through

# (channel gates, batch gate) that give a known method.
KNOWN = {"instance": (0, 0), "layer": (1, 0), "batch": (0, 1)}


@keras.saving.register_keras_serializable("keras_norm")
class DynamicNormalization(area_mixture.AreaMixture):
    """y = gamma * (x - M) / sqrt(Q - M^2 + epsilon) + beta, learned averages.

    M = U mean V and Q = U (variance + mean^2) V of the table (N, C) of the
    instances' moments. U averages the samples if the batch gate is on, V the
    channels: with C = f_1 ... f_q, the prime factors in ascending order,

    V = kron_i ((1 - g_i) I + g_i 1 1^T / f_i).

    | channel gates | batch gate | it is |
    |---|---|---|
    | all off | off | instance normalization |
    | all on | off | layer normalization |
    | the first few off, the rest on | off | group normalization |
    | all off | on | batch normalization |

    The first factor is the coarsest: groups are of consecutive channels if the
    gates on are the last ones, of channels at a distance if others are.

    A gate is 1 where its weight is positive, else 0. The gradient is passed
    straight through: d gate / d weight = 1 everywhere, so that a weight learns
    what a gate between would, and the gate turns when it crosses 0.

    Area: learned between batch, layer, group and instance. Operation:
    standardize. Recovery: affine. Statistics: of the batch, moving averages in
    inference; the rest from the input.

    Args:
        initial: gates at first: "instance", "layer", "batch", or "random"
            ones, of weights of deviation 0.01. The weights of the others are 1
            or -1.
        hard: see above. False: gates between, sigmoid of the weights, with
            their own gradient.
        axis: channel axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the variance, inside the root.
        seed: of the random gates.
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: `center`, `scale`, `beta_...`, `gamma_...`, `name`, `dtype`:
            see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 3.
        training: True uses and updates batch statistics.
        mask: weights aligned to the leading axes.

    Raises:
        ValueError: an unknown `initial`; inputs (N, C), whose instances have
            no deviation; an axis outside the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DynamicNormalization(initial="layer")
    >>> x = np.random.rand(4, 8, 8, 12).astype("float32")
    >>> y = layer(x, training=True)
    >>> tuple(layer.channel_gates.shape)  # 12 = 2 * 2 * 3
    (3,)

    Reference:

    - Luo et al., Differentiable Dynamic Normalization for Learning Deep
      Representation, ICML 2019,
      https://proceedings.mlr.press/v97/luo19a.html

    Note: there is no program of the authors. The moving averages follow the
    batch whatever the gates are, so that they are there when the batch gate
    turns on. Weights: gamma, beta, channel_gates (q,), batch_gate (),
    moving_mean, moving_variance.
    """

    drops_instances = False
    without_instances = "Use `SwitchableNormalization` for inputs (N, C)."
    fixed = ("normalizers", "unbiased")

    def __init__(
        self,
        initial="random",
        hard=True,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        seed=None,
        synchronized=False,
        **kwargs,
    ):
        names = ["random", *KNOWN]
        if initial not in names:
            raise errors.unknown_name("initial", initial, names)
        super().__init__(
            ("instance", "batch"),
            axis,
            momentum,
            epsilon,
            synchronized=synchronized,
            **kwargs,
        )
        self.initial, self.hard, self.seed = initial, hard, seed

    def build_state(self, channels):
        """The weights of the gates, then the moving averages."""
        self.factors_of_channels = factor_averages.prime_factors(channels)
        shapes = (len(self.factors_of_channels),), ()
        for i, name in enumerate(("channel_gates", "batch_gate")):
            if self.initial == "random":
                seed = None if self.seed is None else self.seed + i
                initializer = keras.initializers.RandomNormal(0.0, 0.01, seed)
            else:
                on = KNOWN[self.initial][i]
                initializer = keras.initializers.Constant(2.0 * on - 1.0)
            weight = self.add_weight(
                shape=shapes[i],
                name=name,
                initializer=initializer,
                autocast=False,
            )
            setattr(self, name, weight)
        super().build_state(channels)

    def gate(self, weight, dtype):
        """0 or 1, or between, of the weight of a gate."""
        act = straight_through if self.hard else ops.sigmoid
        return act(ops.cast(weight, dtype))

    def factors(self, table, training, area=None):
        """Average over the samples, then along the factors of the channels."""
        dtype = table.mean.dtype
        one = ops.ones_like(table.mean)
        over_samples = self.gate(self.batch_gate, dtype)
        batch, count = self.of_batch(table, training)
        instance = area_mixture.of_samples("instance", table)
        part = factor_averages.between(over_samples, instance, batch)
        if table.count is not None:
            over = ops.stop_gradient(over_samples)
            count = (1.0 - over) * table.count * one + over * count * one
        part = factor_averages.averaged(
            area_mixture.Moments(*(t * one for t in part)),
            table.pivot * one,
            self.gate(self.channel_gates, dtype),
            self.factors_of_channels,
            None if table.count is None else count,
        )
        return area_mixture.of_statistics([part], None, None, self.epsilon)

    def of_batch(self, table, training):
        """Moments over the samples and the entries behind each channel."""
        if not training:
            kept = self.statistics.state(self, table.mean.dtype)
            return area_mixture.of_state(table, *kept), 1.0
        averages, *moments = area_mixture.measured(table, self.area)
        self.statistics.follow(self, *moments, averages)
        return area_mixture.on_table(averages, *moments), averages.weight
