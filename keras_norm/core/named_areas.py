"""Areas that layers offer by name, and the statistics that go with them."""

from keras_norm import errors
from keras_norm.core.areas import Area
from keras_norm.core.areas import group_columns
from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import MovingAverage

NAMES = ("batch", "instance", "layer", "group")


def named_area(area, groups, synchronized=False):
    """The area of that name.

    Args:
        area: "batch", "instance", "layer" or "group".
        groups: number of groups of channels; -1: one for each channel.
        synchronized: add up the batch's statistics of all replicas.
    """
    if area not in NAMES:
        raise errors.unknown_name("area", area, list(NAMES))
    grouped = group_columns(groups)
    if area == "batch":
        return Area(synchronized=synchronized)
    columns = {"instance": "each", "layer": "all", "group": grouped}
    return Area("each", columns[area])


def statistics_of(area, momentum, unbiased_moving_variance=False):
    """Moving averages for the batch; other areas have no state."""
    moving = MovingAverage(momentum, unbiased_moving_variance)
    return moving if area == "batch" else Batch()
