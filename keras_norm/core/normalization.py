"""ComposedNormalization: area x operation x statistics x recovery as one layer.

The one build, call and config of all presets.
"""

from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import averages
from keras_norm.core import elementwise
from keras_norm.core import registry
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import positions_of
from keras_norm.core.layer import several
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.update_count import UpdateCount

PARTS = ("area", "operation", "statistics", "recovery")


@keras.saving.register_keras_serializable("keras_norm")
class ComposedNormalization(NormalizationLayer):
    """Any area x operation x statistics x recovery as one layer.

    y = recovery((x - shift) * rate), where shift and rate are measured by the
    operation over the area and, where samples are mixed, replaced by their
    moving averages in inference.

    Every named layer of this package is a preset of this one; a new method is
    a new combination.

    Args:
        area: which entries share statistics. A name ("batch", "layer",
            "instance", "group", "position") or an object of
            `keras_norm.areas`.
        operation: what is measured and how it normalizes: "standardize",
            "center", "scale", "scale_by_deviation", "newton" (whitening), or
            an object of `keras_norm.operations`.
        statistics: where the numbers come from: "batch", "moving", "renorm",
            "population", or an object of `keras_norm.statistics`. Default:
            moving averages where the area mixes samples, the batch otherwise.
        recovery: what is put back: "affine", "none", "conditional", "style",
            "generated", "dense", "coloring", or an object of
            `keras_norm.recoveries`.
        axis: channel axis.
        epsilon: added to the variance (or as the operation says).
        center: add a learned `beta` (recoveries "affine", "conditional").
        scale: multiply by a learned `gamma`.
        beta_initializer: initializer of `beta`.
        gamma_initializer: initializer of `gamma`.
        beta_regularizer: regularizer of `beta`.
        gamma_regularizer: regularizer of `gamma`.
        beta_constraint: constraint of `beta`.
        gamma_constraint: constraint of `gamma`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call arguments:
        inputs: tensor of rank at least 2, or a list [inputs, condition].
        training: True normalizes with and updates batch statistics.
        mask: weights of rank 1 to the rank of the input, aligned to its
            leading axes; entries of weight 0 take no part in the statistics.
        condition: second input of the recoveries that need one.

    Raises:
        ValueError: unknown parts, an axis outside the input, groups that do
            not divide the channels, a missing condition.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.ComposedNormalization(
    ...     area="instance", operation="standardize", recovery="none"
    ... )
    >>> y = layer(np.random.rand(2, 8, 8, 3).astype("float32"))
    >>> bool(abs(keras.ops.convert_to_numpy(y)[0, :, :, 0].mean()) < 1e-5)
    True

    Reference:

    - Huang et al., Normalization Techniques in Training DNNs: Methodology,
      Analysis and Application, 2020, https://arxiv.org/abs/2009.12836
    """

    def __init__(
        self,
        area="batch",
        operation="standardize",
        statistics=None,
        recovery="affine",
        axis=-1,
        epsilon=1e-5,
        **kwargs,
    ):
        super().__init__(axis=axis, epsilon=epsilon, **kwargs)
        self.area = registry.area(area)
        self.operation = registry.operation(operation)
        if statistics is None:
            mixes = getattr(self.area, "mixes_samples", False)
            statistics = "moving" if mixes else "batch"
        self.statistics: Any = registry.statistics(statistics)
        self.recovery: Any = registry.recovery(recovery)

    # May (N, C) inputs be seen as other shapes? Not for several areas at once.
    lifts = True
    # How often the moving statistics were updated.
    updates: UpdateCount | None = None

    def __init_subclass__(cls, **kwargs):
        """A subclass with its own constructor is a preset: parts are fixed."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.fixed = (*PARTS, *vars(cls).get("fixed", ()))

    def build(self, inputs_shape, condition_shape=None):
        """Create the weights: recovery's, then state, in Keras' order."""
        if several(inputs_shape):
            inputs_shape, condition_shape = self.split_pair(inputs_shape)
        if len(inputs_shape) < 2:
            raise errors.received(
                "The input must have at least rank 2, (batch, channels).",
                input_shape=inputs_shape,
            )
        channels = self.channels = channels_of(self.axis, inputs_shape)
        self.positions = positions_of(self.axis, inputs_shape)
        self.area.check(channels)
        if not self.recovery.condition:
            self.input_spec = keras.layers.InputSpec(
                min_ndim=2, axes={self.axis: channels}
            )
        if self.recovery.condition and condition_shape is None:
            raise self.missing_condition()
        self.recovery.build(self, channels, condition_shape)
        self.build_state(channels)
        self.built = True

    def build_state(self, channels):
        """Create what the statistics declare."""
        declared = self.statistics.weights(
            self.operation,
            lambda: self.operation.state_shapes(self.area, channels),
        )
        for w in declared:
            self.add_state(w.name, w.shape, w.initializer, w.dtype)
        self.operation.build(self, channels)
        if isinstance(self.statistics, MovingAverage):
            self.updates = UpdateCount()

    @property
    def variables(self):
        """Weights, seeds, and the count of updates, which is no weight."""
        count = [self.updates.variable] if self.updates else []
        return [*super().variables, *count]

    def load_own_variables(self, store):
        """As Keras; what is loaded was updated elsewhere."""
        super().load_own_variables(store)
        if self.updates:
            self.updates.forget()

    def split_pair(self, inputs):
        """[inputs, condition] -> inputs, condition."""
        first, *rest = inputs
        if not rest:
            return first, None
        return first, rest[0] if len(rest) == 1 else list(rest)

    def missing_condition(self):
        """The error of a call without its second input."""
        name = self.further_inputs[0]
        return ValueError(
            f"{type(self).__name__} needs a second input `{name}`: "
            f"{self.recovery.condition}. Received: {name}=None. Call it as "
            f"layer([x, {name}]) or layer(x, {name}={name})."
        )

    def call(self, inputs, training=None, mask=None, condition=None):
        """Normalize; see the class."""
        return self.normalize(inputs, training, mask, condition)

    def normalize(self, inputs, training=None, mask=None, condition=None):
        """X -> statistics -> one scale-and-shift -> recovery."""
        if isinstance(inputs, (list, tuple)):
            inputs, condition = self.split_pair(inputs)
            mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if self.recovery.condition and condition is None:
            raise self.missing_condition()
        x = self.widened(inputs)
        training = bool(training) and self.trainable
        if self.updates:
            self.updates.add() if training else self.updates.check(self)
        y = self.transform(x, training, mask, condition)
        y = self.recovery.apply(self, y, condition)
        return self.narrowed(self.finish(x, y, mask))

    def transform(self, x, training, mask, condition):
        """The path over the data; layers with a path of their own override."""
        # A matrix operation brings its own path, the others use the area's.
        path = (
            self.operation if self.operation.family == "matrix" else self.area
        )
        return path.normalize(self, x, training, mask, condition)

    def finish(self, x, y, mask):
        """What a layer adds to its parts, before the result is narrowed."""
        return y

    def measures(self, training):
        """Are the moments of the input needed?"""
        return self.statistics.measures(training)

    def acting_epsilon(self, dtype):
        """The epsilon of this call; where it is learned, a tensor."""
        return self.epsilon

    def factors(self, table, training, area=None):
        """(scale, offset) on the table; mixtures of areas override this.

        `area` is the layer's unless the table is of something else.
        """
        averages = (area or self.area).over(table)
        epsilon = self.acting_epsilon(averages.dtype)
        shift, spread = self.operation.measure(table, averages, epsilon)
        selected = self.statistics.select(self, shift, spread, averages)
        rate = self.operation.rate(selected.spread, epsilon)
        return elementwise.factors(table, averages, selected, rate)

    def inference_factors(self, x, view):
        """(data, scale, offset) from the state: x - mean is formed first."""
        shift, spread = self.statistics.state(self, x.dtype)
        rate = self.operation.rate(spread, self.acting_epsilon(x.dtype))
        rate = ops.ones_like(shift) if rate is None else rate
        groups = self.area.groups(self.channels)
        scale = averages.widen(rate, groups, self.channels)
        if shift is not None:
            x = x - view(averages.widen(shift, groups, self.channels))
        return x, scale, ops.zeros_like(scale)

    def __repr__(self):
        """The four parts."""
        return (
            f"<{type(self).__name__} name={self.name}: {self.area} x "
            f"{self.operation} x {self.statistics} x {self.recovery}>"
        )
