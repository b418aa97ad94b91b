"""Areas that layers offer by name, and the statistics that go with them."""

from keras_norm import errors
from keras_norm.core.areas import Area
from keras_norm.core.areas import is_count
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
    if not (is_count(groups) or (groups == -1 and groups is not True)):
        raise errors.received(
            "`groups` must be a positive integer (or -1 for one group per "
            "channel).",
            groups=groups,
        )
    if area == "batch":
        return Area(synchronized=synchronized)
    grouped = "each" if groups == -1 else groups
    columns = {"instance": "each", "layer": "all", "group": grouped}
    return Area("each", columns[area])


def statistics_of(area, momentum, unbiased_moving_variance=False):
    """Moving averages for the batch; other areas have no state."""
    moving = MovingAverage(momentum, unbiased_moving_variance)
    return moving if area == "batch" else Batch()
