"""A mixture of affine maps, weighed by an attention over the input's moments.

Li, Sun & Wu, 2020, https://arxiv.org/abs/1908.01259
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_sum
from keras_norm.core.generated_recoveries import FromTable
from keras_norm.core.generated_recoveries import entries_of
from keras_norm.core.generated_recoveries import means_of
from keras_norm.core.layer import positive
from keras_norm.core.moments import bessel
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.statistics import MovingAverage


def hard_sigmoid(x):
    """max(0, min(1, (x + 3) / 6)); PyTorch differentiates its own once."""
    return ops.relu6(x + 3.0) / 6.0


GATES = {
    "hard_sigmoid": hard_sigmoid,
    "sigmoid": ops.sigmoid,
    "softmax": ops.softmax,
}
OVER = ("batch", "layer", None)
# Added to the variance that scales what the attention sees.
EPSILON = 1e-3


@keras.saving.register_keras_serializable("keras_norm")
class LogitNormalization(ComposedNormalization):
    """Normalization of (N, K) logits given relative to a base (1, K).

    The base may be large: in training it meets nothing but the state.
    """

    # Logits and their base are one input.
    further_inputs = ()

    def transform(self, x, training, mask, condition):
        """As the area has it, with a base in place of a condition."""
        if self.area.family == "position":
            return super().transform(x + condition, training, mask, None)
        if self.measures(training):
            # The samples are the positions of one instance.
            mask = None if mask is None else ops.expand_dims(mask, 0)
            table = moments.measure(ops.expand_dims(x, 0), -1, mask)
            count = table.count
            if self.area.synchronized and count is None:
                count = ops.cast(ops.shape(x)[0], x.dtype)
                count = ops.reshape(count, (1, 1))
            pivot = table.pivot + ops.stop_gradient(condition)
            table = table._replace(count=count, pivot=pivot)
            scale, offset = self.factors(table, training)
            x = ops.squeeze(table.data, 0)
        else:
            on_table = moments.viewer(2, 1)
            apart, scale, _ = self.inference_factors(condition, on_table)
            offset = apart * scale
        scale, offset = self.recovery.fold(self, scale, offset)
        return elementwise.apply(x, moments.viewer(2, 1), scale, offset)


def common_pivot(table):
    """One pivot (1, C) of all replicas, for samples of one position.

    No gradient passes through the logits of a pivot. That loses nothing only
    where it is the pivot of every sample.
    """
    seen = ops.ones_like(table.mean)
    if table.count is not None:
        seen = ops.where(table.count > 0, seen, 0.0)
    # A replica without entries knows no value of the data.
    some = ops.minimum(ops.sum(seen, axis=0, keepdims=True), 1.0)
    sent = replica_sum(ops.concatenate([some * table.pivot, some]))
    return moments.settled(sent[:1] / ops.maximum(sent[1:], 1.0))


@keras.saving.register_keras_serializable("keras_norm")
class AffineMixture(FromTable):
    """gamma_n = a_n gamma and beta_n = a_n beta: rows (K, C) mixed by a (N, K).

    a_n = gate(normalized(s_n A (+ bias))), s_n = mean_n / sqrt(variance_n
    + 1e-3): mean and unbiased variance over the positions of each channel.

    Args:
        num_mixtures: K.
        attention_activation: "hard_sigmoid", "sigmoid" or "softmax".
        attention_normalization: of the logits: over the "batch", the "layer"
            (the K logits of a sample), or None, which adds a bias instead.
        momentum: fraction kept of the moving averages of the logits.
        unbiased_moving_variance: store the variance of the logits divided by
            m - 1.
        synchronized: add up the statistics of the logits of all replicas.
    """

    def __init__(
        self,
        num_mixtures=5,
        attention_activation="hard_sigmoid",
        attention_normalization="batch",
        momentum=0.9,
        unbiased_moving_variance=False,
        synchronized=False,
    ):
        positive("num_mixtures", num_mixtures)
        for name, value, allowed in (
            ("attention_activation", attention_activation, list(GATES)),
            ("attention_normalization", attention_normalization, OVER),
        ):
            if value not in allowed:
                raise errors.unknown_name(name, value, list(allowed))
        self.num_mixtures, self.momentum = num_mixtures, momentum
        self.attention_activation = attention_activation
        self.attention_normalization = attention_normalization
        self.unbiased_moving_variance = unbiased_moving_variance
        self.synchronized = synchronized

    def add_weights(self, layer, channels) -> None:
        """Rows of gamma and beta, the attention, its normalization."""
        layer.add_affine((self.num_mixtures, channels))
        layer.attention_kernel = layer.add_weight(
            shape=(channels, self.num_mixtures),
            name="attention_kernel",
            initializer="glorot_uniform",
            autocast=False,
        )
        layer.attention_bias = layer.attention_normalizer = None
        if self.attention_normalization is None:
            layer.attention_bias = layer.add_weight(
                shape=(self.num_mixtures,),
                name="attention_bias",
                initializer="zeros",
                autocast=False,
            )
            return
        parts: dict = {"area": "position"}
        if self.attention_normalization == "batch":
            parts["area"] = Area(synchronized=self.synchronized)
            parts["statistics"] = MovingAverage(
                self.momentum, self.unbiased_moving_variance
            )
        wide = "float64" if layer.compute_dtype == "float64" else "float32"
        layer.attention_normalizer = LogitNormalization(
            epsilon=layer.epsilon, dtype=wide, name="attention", **parts
        )
        layer.attention_normalizer.build((None, self.num_mixtures))

    def shares(self, training):
        """Are the logits normalized over the samples of all replicas?"""
        batch = self.attention_normalization == "batch"
        return training and batch and self.synchronized

    def attention(self, layer, table, training):
        """Weights (N, K) of the rows."""
        kernel = ops.cast(layer.attention_kernel, table.mean.dtype)
        gate = GATES[self.attention_activation]

        def logits_of(means, variance):
            return ops.matmul(means * ops.rsqrt(variance + EPSILON), kernel)

        if table.axes:
            variance = bessel(table.variance, entries_of(table))
            logits = logits_of(means_of(table), variance)
            base = ops.zeros((1, self.num_mixtures), logits.dtype)
        else:
            # Samples of one position share a pivot, and what it gives. What
            # is masked is 0, as where no position of a channel is seen.
            pivot, means = table.pivot, table.mean
            if self.shares(training) and replica_count() > 1:
                pivot = common_pivot(table)
                means = means + (table.pivot - pivot)
            if table.count is not None:
                means = ops.where(table.count > 0, means, -pivot)
            logits = logits_of(means, table.variance)
            base = logits_of(pivot, ops.zeros_like(pivot))
        if layer.attention_bias is not None:
            bias = ops.cast(layer.attention_bias, logits.dtype)
            return gate(logits + base + bias)
        mask = None
        if table.count is not None:
            # A sample has the largest of its weights.
            axes = tuple(range(1, len(table.mask.shape)))
            mask = ops.max(table.mask, axis=axes, initial=0.0)
        normalized = layer.attention_normalizer(
            logits, training=training, mask=mask, condition=base
        )
        return gate(ops.cast(normalized, logits.dtype))

    def generate(self, layer, table, training):
        """Rows of gamma and beta, mixed."""
        weights = self.attention(layer, table, training)
        return [
            None
            if rows is None
            else ops.matmul(weights, ops.cast(rows, weights.dtype))
            for rows in (layer.gamma, layer.beta)
        ]
