"""What a layer keeps for inference: measured on a batch, read, written.

A reading knows one kind of state. `measure` gives the statistics of the input
of a call, whatever the layer would do with them in training; `write` makes
them the state, with all that inference derives from it.
"""

from typing import Any

import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core import kalman
from keras_norm.core import moments
from keras_norm.core import power
from keras_norm.core.areas import Area
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.operations import Standardize
from keras_norm.core.operations import mean_and_variance
from keras_norm.layers.statistics.power_normalization import GROUP_EPSILON
from keras_norm.models.collected_statistics import Collected
from keras_norm.models.layer_calls import assign
from keras_norm.models.layer_calls import host


def bessel(count):
    """What makes a biased variance unbiased."""
    return count / np.maximum(count - 1.0, 1.0)


def unknown_state(layer):
    """The error of a state that batches cannot be added to."""
    return errors.received(
        "Statistics of batches can only be added to a state that holds the "
        "same statistics.",
        "Begin without the state: reset=True, or prior_strength=0.",
        layer=layer.name,
        type=type(layer).__name__,
    )


class MeanAndVariance:
    """Mean and variance per channel; base of the other readings.

    Of the layer it needs `axis`, `moving_mean`, and `moving_variance` or
    `moving_stddev`, which is sqrt(variance + epsilon).

    Args:
        layer: the layer.
    """

    operation: Any = Standardize()
    area: Any = Area()
    unbiased = False

    def __init__(self, layer):
        self.layer = layer

    @property
    def axis(self):
        """The channel axis of the data that are measured."""
        return self.layer.axis

    @property
    def about(self):
        """The spread is about the shift, where it is a variance."""
        pooled = isinstance(self.operation, (Standardize, ScaleByDeviation))
        return {"spread": "shift"} if pooled else {}

    def measure(self, call) -> Collected:
        """The statistics of a call's input: values (1, groups)."""
        mask = call.mask
        x = self.prepared(call.data, mask)
        flat = len(x.shape) == 2
        axis = int(np.ravel(self.axis)[0])
        axis = axis % len(x.shape) - len(x.shape)
        if flat:
            # Samples as the positions of one instance.
            x = ops.expand_dims(x, 0)
            mask = None if mask is None else ops.expand_dims(mask, 0)
        table = moments.measure(x, axis, mask, self.operation.centred)
        table = self.adjusted(table, flat)
        # All of the batch, also where training cuts it into parts.
        averages = Area("all", self.area.columns).over(table)
        if self.about:
            shift, spread = mean_and_variance(table, averages)
        else:
            shift, spread = self.operation.measure(
                table, averages, self.layer.epsilon
            )
        values = {}
        if shift is not None:
            values["shift"] = host(averages.base) + host(shift)
        if spread is not None:
            values["spread"] = host(spread)
        return Collected(host(averages.entries), values, self.about)

    def prepared(self, x, mask):
        """The data as they are measured."""
        return x

    def adjusted(self, table, flat):
        """The moments of the instances as the layer takes them."""
        return table

    def variables(self):
        """The variables that keep shift and spread, by these names."""
        found = {
            "shift": self.layer.moving_mean,
            "spread": getattr(self.layer, "moving_variance", None),
        }
        return {name: v for name, v in found.items() if v is not None}

    def kept(self, between=True) -> Collected:
        """The state, as statistics of one entry."""
        found = {n: host(v)[None] for n, v in self.variables().items()}
        if "spread" not in found and self.stddev is not None:
            square = np.square(host(self.stddev)[None])
            found["spread"] = np.maximum(square - self.layer.epsilon, 0.0)
        if between and self.about and "shift" not in found:
            raise unknown_state(self.layer)
        return Collected(np.ones((1, 1)), found, self.about)

    @property
    def stddev(self):
        """The root of the variance as batch renormalization keeps it."""
        return getattr(self.layer, "moving_stddev", None)

    def write(self, found) -> None:
        """Make statistics the state; what nothing is known of stays."""
        for name, variable in self.variables().items():
            value = found.values[name]
            if name == "spread" and self.unbiased:
                value = value * bessel(found.count)
            self.put(variable, value, found.count)
        if self.stddev is not None:
            root = np.sqrt(found.values["spread"] + self.layer.epsilon)
            self.put(self.stddev, root, found.count)
        if getattr(self.layer, "renorm_stddev", None) is not None:
            # What batch renormalization trains with.
            shift = found.values["shift"]
            self.put(self.layer.renorm_mean, shift, found.count)
            self.put(self.layer.renorm_stddev, root, found.count)

    @staticmethod
    def put(variable, value, count):
        """Assign where anything was seen."""
        assign(variable, np.where(count > 0, value, host(variable)))


class Measured(MeanAndVariance):
    """What the operation of a composed layer measures over its area."""

    def __init__(self, layer):
        super().__init__(layer)
        self.operation, self.area = layer.operation, layer.area
        own = getattr(layer.operation, "unbiased", False)
        self.unbiased = own or getattr(layer.statistics, "unbiased", False)

    def variables(self):
        """The state under the operation's names."""
        names = zip(("shift", "spread"), self.operation.names, strict=True)
        found = {
            kind: getattr(self.layer, f"moving_{name}", None)
            for kind, name in names
        }
        return {kind: v for kind, v in found.items() if v is not None}


class Fused(Measured):
    """Kalman normalization: the batch fused with what was predicted of it."""

    def measure(self, call):
        """As a training step; the prediction is an argument of the call."""
        found = super().measure(call)
        layer, given = self.layer, call.bound.arguments
        inputs = given[call.first]
        mean, variance = given.get("mean"), given.get("variance")
        if isinstance(inputs, (list, tuple)):
            _, mean, variance = layer.split_inputs(inputs)
        if (mean is None and variance is None) or not found.seen:
            return found
        shift, spread = found.values["shift"], found.values["spread"]
        given = layer.checked(mean, variance)
        mean, variance = (np.reshape(host(t), (1, -1)) for t in given)

        def narrow(value):
            return ops.convert_to_tensor(np.asarray(value, "float32"))

        # Relative to the batch's mean: nothing large is rounded.
        distance, mixed = kalman.fused(
            ops.zeros(shift.shape, "float32"),
            narrow(spread),
            (narrow(mean - shift), narrow(variance)),
            ops.cast(layer.keep_weight, "float32"),
            layer.max_ratio,
        )
        values = {"shift": shift + host(distance), "spread": host(mixed)}
        return Collected(found.count, values, self.about)


class OfKernel(MeanAndVariance):
    """Cross-iteration normalization of what a kernel of the layer's makes."""

    unbiased = True
    axis = -1

    def prepared(self, x, mask):
        """The kernel's results, bias included, channels last."""
        layer = self.layer
        if getattr(layer, "first", False):
            x = ops.moveaxis(x, 1, -1)
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        h = layer.linear(x)
        if layer.use_bias:
            h = h + ops.cast(layer.bias, h.dtype)
        return ops.stop_gradient(h)


class GroupScaled(Measured):
    """Power normalization, which scales groups of channels first."""

    def prepared(self, x, mask):
        """Each sample's groups scaled."""
        layer = self.layer
        if not layer.group_scaling:
            return x
        if mask is not None:
            x = moments.without_padding(x, moments.aligned(mask, x))
        return power.group_scaled(
            x, layer.axis, layer.groups, GROUP_EPSILON, mask
        )


class OfWidths(Measured):
    """A row for each width of a network that has several."""

    def measure(self, call):
        """Statistics of one width, nothing of the others."""
        found = super().measure(call)
        rows, largest = self.layer.moving_mean.shape
        channels = call.data.shape[self.layer.axis]
        row = self.layer.widths.index(channels)

        def table(value):
            filled = np.zeros((rows, largest))
            filled[row, :channels] = value
            return filled

        values = {name: table(value) for name, value in found.values.items()}
        return Collected(table(found.count), values, self.about)

    def kept(self, between=True):
        """The tables."""
        values = {n: host(v) for n, v in self.variables().items()}
        shape = self.layer.moving_mean.shape
        return Collected(np.ones(shape), values, self.about)


class OfDomains(Measured):
    """A row for each domain; a sample counts for one by its weight."""

    def measure(self, call):
        """Statistics of the domains in the batch, nothing of the others."""
        layer, x = self.layer, call.data
        chosen = layer.chosen(call.second("domain"), x, training=False)
        rows = layer.measured(layer.table(x, call.mask, chosen), chosen)
        values = {
            "shift": host(rows.base) + host(rows.mean),
            "spread": host(rows.variance),
        }
        return Collected(host(rows.entries), values, self.about)

    def kept(self, between=True):
        """The tables."""
        values = {n: host(v) for n, v in self.variables().items()}
        shape = self.layer.moving_mean.shape
        return Collected(np.ones(shape), values, self.about)


class Remembered(MeanAndVariance):
    """A memory of batches: the statistics become its only entry."""

    def kept(self, between=True):
        """The memory as one batch."""
        state = self.layer.statistics.state(self.layer, "float32")
        values = zip(("shift", "spread"), map(host, state), strict=True)
        return Collected(np.ones((1, 1)), dict(values), self.about)

    def write(self, found):
        """The newest row; the number of rows that are filled is 1."""
        if not found.seen:
            return
        layer = self.layer
        for name, variable in (
            ("shift", layer.memory_mean),
            ("spread", layer.memory_variance),
        ):
            rows = host(variable)
            rows[0] = np.where(found.count > 0, found.values[name], rows[0])[0]
            assign(variable, rows)
        layer.count.assign(ops.ones((), "int32"))


class Switchable(Measured):
    """The batch's share of switchable normalization."""

    def adjusted(self, table, flat):
        """Variances of instances are unbiased before they are combined."""
        self.unbiased = self.layer.unbiased and flat
        if not self.layer.unbiased or flat:
            return table
        entries = table.positions if table.count is None else table.count
        variance = moments.bessel(table.variance, entries)
        return table._replace(variance=variance)
