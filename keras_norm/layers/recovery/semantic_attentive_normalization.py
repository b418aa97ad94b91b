"""Attentive normalization by a semantic layout that the layer finds itself.

Wang, Chen, Zhang, Sun & Jia, 2020, https://arxiv.org/abs/2004.03828
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import layouts
from keras_norm.core import map_networks
from keras_norm.core import moments
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import positive
from keras_norm.core.penalties import off_identity
from keras_norm.layers.statistics.kalman_normalization import Share

STATISTICS = ("paper", "program")


@keras.saving.register_keras_serializable("keras_norm")
class SemanticAttentiveNormalization(NormalizationLayer):
    """y = x + gain * sum_n l_n (v - mean_n) / (deviation_n + epsilon).

    v = x W_v + b_v. The layout l = softmax_n((x E_n + alpha_n q k_n) /
    temperature) shares each position out among the entities n. E are learned
    filters; q = x W_q + b_q and k = x W_k + b_k have C / 8 features, and k_n is
    k at a position that training draws at random for each entity. With S_n =
    sum l_n + epsilon over the positions of a sample, mean_n = sum(l_n v) / S_n
    and deviation_n^2 = sum((l_n v - mean_n)^2) / S_n. gain starts at 0: the
    layer starts as the identity.

    Area: channels of a learned region. Operation: standardize. Recovery:
    residual gate. Statistics: the input itself.

    Args:
        num_entities: number of entities.
        temperature: see above.
        orthogonal_weight: weight of the loss |E^T E - I|^2, which is added to
            the layer's losses; 0 for no such loss.
        statistics: "program": mean_n is divided by the number of positions
            too, as in the authors' program. "paper": as above.
        axis: channel axis.
        epsilon: see above.
        seed: of the positions that are drawn.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: tensor with one to three spatial axes.
        training: True draws positions; without, alpha has no effect.
        mask: refused.

    Raises:
        ValueError: a mask; inputs without positions; values that make no sense.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.SemanticAttentiveNormalization(num_entities=4)
    >>> tuple(layer(np.random.rand(2, 8, 8, 16).astype("float32")).shape)
    (2, 8, 8, 16)

    Reference:

    - Wang et al., Attentive Normalization for Conditional Image Generation,
      CVPR 2020, https://arxiv.org/abs/2004.03828

    Note: the program penalizes the sum of E^T E - I without a square, and
    draws positions in inference too. It clips alpha to [0, 1] in the call; here
    a constraint keeps it there, so that it never loses its gradient.
    """

    fixed = AFFINE

    def __init__(
        self,
        num_entities=16,
        temperature=10.0,
        orthogonal_weight=1e-3,
        statistics="paper",
        axis=-1,
        epsilon=1e-7,
        seed=None,
        **kwargs,
    ):
        super().__init__(axis=axis, epsilon=epsilon, **kwargs)
        positive("num_entities", num_entities)
        if not temperature > 0:
            raise errors.received(
                "`temperature` must be positive.", temperature=temperature
            )
        if not orthogonal_weight >= 0:
            raise errors.received(
                "`orthogonal_weight` must not be negative.",
                orthogonal_weight=orthogonal_weight,
            )
        if statistics not in STATISTICS:
            raise errors.unknown_name(
                "statistics", statistics, list(STATISTICS)
            )
        self.num_entities, self.temperature = num_entities, float(temperature)
        self.orthogonal_weight = float(orthogonal_weight)
        self.statistics, self.seed = statistics, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = False

    def build(self, inputs_shape):
        """Key, query, value, the entities, alpha and the gain."""
        channels = channels_of(self.axis, inputs_shape)
        map_networks.spatial_axes(inputs_shape)
        features = max(channels // 8, 1)
        for name, size in (
            ("key", features),
            ("query", features),
            ("value", channels),
        ):
            self.add(f"{name}_kernel", (channels, size), "glorot_uniform")
            self.add(f"{name}_bias", (size,), "zeros")
        entities = self.num_entities
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.add("entity_kernel", (channels, entities), normal)
        tenth = keras.initializers.Constant(0.1)
        self.add("alpha", (entities,), tenth, constraint=Share())
        self.add("gain", (), "zeros")
        self.built = True

    def add(self, name, shape, initializer, **options):
        """Create a trainable weight."""
        weight = self.add_weight(
            shape=shape,
            name=name,
            initializer=initializer,
            autocast=False,
            **options,
        )
        setattr(self, name, weight)

    def draw(self, positions):
        """A position for each entity, (entities,), the same for all samples.

        Args:
            positions: how many there are.
        """
        drawn = keras.random.uniform(
            (self.num_entities,), seed=self.seed_generator
        )
        last = ops.cast(positions, "float32") - 1.0
        drawn = ops.floor(drawn * (last + 1.0))
        return ops.cast(ops.maximum(ops.minimum(drawn, last), 0.0), "int32")

    def mapped(self, x, name):
        """Key, query or value of x."""
        kernel, bias = (
            ops.cast(getattr(self, f"{name}_{part}"), x.dtype)
            for part in ("kernel", "bias")
        )
        return ops.matmul(x, kernel) + bias

    def layout(self, x, training=False):
        """Shares of the entities, (N, positions, entities).

        Args:
            x: data (N, positions, C).
            training: draw positions.
        """
        logits = ops.matmul(x, ops.cast(self.entity_kernel, x.dtype))
        if self.num_entities == 1:
            # Keras warns of a softmax of one.
            return ops.ones_like(logits)
        if training:
            drawn = ops.take(x, self.draw(ops.shape(x)[1]), axis=1)
            query, key = self.mapped(x, "query"), self.mapped(drawn, "key")
            alike = ops.matmul(query, ops.swapaxes(key, 1, 2))
            logits = logits + ops.cast(self.alpha, x.dtype) * alike
        return ops.softmax(logits / self.temperature, axis=-1)

    def call(self, inputs, training=None, mask=None):
        """The input and what its layout makes of it."""
        if mask is not None:
            raise errors.received(
                "`mask` is not supported: every position is shared out.",
                "Leave the masked entries out, or end the mask before this "
                "layer.",
                mask_shape=tuple(mask.shape),
            )
        x = ops.moveaxis(self.widened(inputs), self.axis, -1)
        shape = ops.shape(x)
        flat = map_networks.flattened(x)
        layout = self.layout(flat, bool(training) and self.trainable)
        v = self.mapped(flat, "value")
        pivot = moments.pivot_of(v, (1,), keepdims=True)
        program = self.statistics == "program"
        mixed = layouts.standardized(
            v - pivot, pivot, layout, self.epsilon, program
        )
        if self.orthogonal_weight:
            kernel = ops.cast(self.entity_kernel, x.dtype)
            gram = ops.matmul(ops.transpose(kernel), kernel)
            loss = ops.sum(ops.square(off_identity(gram)))
            self.add_loss(self.orthogonal_weight * loss)
        y = x + ops.cast(self.gain, x.dtype) * ops.reshape(mixed, shape)
        return self.narrowed(ops.moveaxis(y, -1, self.axis))
