"""Moments of several areas out of one table, and what is mixed of them.

All come from the (N, C) table of one pass over the data, and either mixture is
one scale-and-shift of the data, (scale, offset) on that table:

`of_statistics`: (x - sum_k w_k mean_k) / sqrt(sum_k v_k var_k + epsilon)

`of_outputs`: sum_k w_k (gamma_k (x - mean_k) / sqrt(var_k + epsilon) + beta_k)

Means are relative to the pivot of their instance, as the data are: no absolute
mean is ever formed but that of the state.
"""

from collections import namedtuple

from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import mean_and_variance
from keras_norm.core.statistics import MovingAverage

# Rows and columns of what has no state.
SAMPLES = {"instance": ("each", "each"), "layer": ("each", "all")}
NAMES = ("instance", "layer", "batch")

# Of one area, both broadcast to (N, C): mean - pivot, and the variance.
Moments = namedtuple("Moments", "shift variance")


def check_names(normalizers, allowed=NAMES) -> tuple:
    """Distinct names of areas, at least one."""
    names = (normalizers,) if isinstance(normalizers, str) else normalizers
    names = tuple(names) if isinstance(names, (list, tuple)) else ()
    if not names or set(names) - set(allowed) or len(set(names)) < len(names):
        raise errors.received(
            f"`normalizers` must be distinct names out of {list(allowed)}.",
            normalizers=normalizers,
        )
    return names


# Moments ----------------------------------------------------------------------


def unbiased_instances(table):
    """The table with variances of the instances divided by m - 1.

    What is combined of them keeps their part of it, as in programs that form
    everything from the instances' moments.
    """
    if not table.axes:
        return table
    entries = table.positions if table.count is None else table.count
    variance = moments.bessel(table.variance, entries)
    return table._replace(variance=variance)


def measured(table, area, gates=None, unbiased=False):
    """(averages, mean, variance) of an area, compact.

    Args:
        table: the moments of the instances.
        area: an `Area`.
        gates: its assignments (N, size), where its rows are gates.
        unbiased: divide each variance by its own m - 1.
    """
    averages = area.over(table, gates)
    mean, variance = mean_and_variance(table, averages)
    if unbiased:
        variance = moments.bessel(variance, averages.entries)
    return averages, mean, variance


def on_table(averages, mean, variance) -> Moments:
    """Compact statistics of an area as its moments on the table."""
    shift = averages.spread(mean) - averages.relative_pivot
    return Moments(shift, averages.spread(variance))


def of_samples(name, table, unbiased=False) -> Moments:
    """Of "instance" or "layer": a sample's own, never state."""
    if name == "instance" and not unbiased:
        return Moments(table.mean, table.variance)
    return on_table(*measured(table, Area(*SAMPLES[name]), unbiased=unbiased))


def of_state(table, mean, variance) -> Moments:
    """Of statistics as kept: (1 or N, C), the mean absolute."""
    return Moments(mean - table.pivot, variance)


def of_batch(layer, table, training, unbiased=False) -> Moments:
    """Of `layer.area`: in training the state follows it, else it is the state.

    Args:
        layer: its `area` and `statistics` are used.
        table: the moments of the instances.
        training: measure and follow.
        unbiased: divide the variance by its own m - 1.
    """
    if not training:
        return of_state(table, *layer.statistics.state(layer, table.mean.dtype))
    averages, mean, variance = measured(table, layer.area, None, unbiased)
    layer.statistics.follow(layer, mean, variance, averages)
    return on_table(averages, mean, variance)


def of_areas(layer, names, table, training, unbiased=False) -> list:
    """The `Moments` of several areas, in the order of their names."""
    return [
        of_batch(layer, table, training, unbiased)
        if name == "batch"
        else of_samples(name, table, unbiased)
        for name in names
    ]


# Mixtures ---------------------------------------------------------------------


def mixed(shares, parts):
    """Sum of shares * parts; a single part counts whole.

    Args:
        shares: for each part what broadcasts to (N, C): a tensor (K,), or K
            of them in a list, or on the first axis of a tensor.
        parts: list of K tensors that broadcast to (N, C).
    """
    if len(parts) == 1:
        return parts[0]
    return sum(shares[k] * part for k, part in enumerate(parts))


def of_statistics(parts, mean_shares, variance_shares, epsilon):
    """(scale, offset) that standardize by mixed statistics.

    Args:
        parts: `Moments` of each area.
        mean_shares: of their means; see `mixed`.
        variance_shares: of their variances.
        epsilon: inside the root.
    """
    variance = mixed(variance_shares, [part.variance for part in parts])
    rate = ops.rsqrt(variance + epsilon)
    return rate, -mixed(mean_shares, [part.shift for part in parts]) * rate


def of_outputs(parts, shares, epsilon, recover=None):
    """(scale, offset) that mix what is standardized by each area.

    Args:
        parts: `Moments` of each area.
        shares: see `mixed`.
        epsilon: inside the roots.
        recover: f(k, scale, offset) -> (scale, offset), the recovery of the
            k-th output before it is mixed.
    """
    scales, offsets = [], []
    for k, part in enumerate(parts):
        scale = ops.rsqrt(part.variance + epsilon)
        offset = -part.shift * scale
        if recover:
            scale, offset = recover(k, scale, offset)
        scales.append(scale)
        offsets.append(offset)
    return mixed(shares, scales), mixed(shares, offsets)


# The base of layers -----------------------------------------------------------


class AreaMixture(ComposedNormalization):
    """Base of layers that standardize by several areas.

    A subclass gives `factors`, of `self.parts(table, training)`.

    Args:
        normalizers: names of the areas.
        axis: channel axis.
        momentum: fraction kept of the moving averages of "batch".
        epsilon: added to the variance, inside the root.
        unbiased: divide the instances' variances by m - 1 before combining
            them (for inputs (N, C), each variance by its own m - 1).
        synchronized: add up the batch's statistics of all replicas.
        **kwargs: see `ComposedNormalization`.

    Attributes:
        mixed: names of the areas for the inputs that the layer was built for.
    """

    lifts = False
    # Do inputs (N, C) simply leave out "instance"?
    drops_instances = True
    # Else what the user may do.
    without_instances = "Give `normalizers` without 'instance'."

    def __init__(
        self,
        normalizers=NAMES,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased=False,
        synchronized=False,
        **kwargs,
    ):
        names = check_names(normalizers)
        keeps = "batch" in names
        statistics = MovingAverage(momentum)
        super().__init__(
            area=Area(synchronized=synchronized),
            statistics=statistics if keeps else "batch",
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
        self.normalizers = names
        self.momentum, self.unbiased = float(momentum), unbiased
        self.synchronized = synchronized

    def build(self, inputs_shape):
        """Inputs (N, C) have no instances."""
        self.mixed = self.normalizers
        if len(inputs_shape) == 2 and "instance" in self.mixed:
            self.mixed = tuple(n for n in self.mixed if n != "instance")
            if not (self.drops_instances and self.mixed):
                raise errors.received(
                    "The input must have positions, (batch, ..., channels): "
                    "an instance of one entry has no deviation.",
                    self.without_instances,
                    input_shape=inputs_shape,
                )
        super().build(inputs_shape)

    def measures(self, training):
        """Instance and layer always need the input."""
        return True

    def parts(self, table, training):
        """The `Moments` of all areas, out of the instances'."""
        flat = not table.axes
        if self.unbiased and not flat:
            table = unbiased_instances(table)
        own = self.unbiased and flat
        return of_areas(self, self.mixed, table, training, own)
