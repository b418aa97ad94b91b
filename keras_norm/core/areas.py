"""Which entries share statistics (the survey's normalization area).

Every area over whole instances is *rows* x *columns* of the (N, C) moment
table. `over(table)` binds it to one call; see `averages`.
"""

import keras

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core import elementwise
from keras_norm.core.averages import Averages

ROWS = ("each", "all", "chunks", "parts", "gates")


@keras.saving.register_keras_serializable("keras_norm")
class Area(configuration.Part):
    """Rows x columns of the (N, C) table of instance moments.

    | area | rows | columns |
    |---|---|---|
    | batch | all | each |
    | layer | each | all |
    | instance | each | each |
    | group | each | number of groups |
    | batch group | all or parts | number of groups |
    | ghost batch | chunks | each |
    | domain, mode | gates | each |

    Args:
        rows: "each" sample alone, "all" samples, consecutive "chunks" of
            `size` samples, `size` consecutive "parts" of the batch, or soft
            assignments ("gates", given at the call).
        columns: "each" channel alone, "all" channels, or the number of groups
            of consecutive channels.
        size: samples of a chunk, number of parts, or number of gates.
        synchronized: add up the statistics of all replicas. Chunks and parts
            are cut from the samples that a replica holds.
    """

    family = "table"

    def __init__(
        self, rows="all", columns="each", size=None, synchronized=False
    ):
        if rows not in ROWS:
            raise errors.unknown_name("rows", rows, list(ROWS))
        if not (columns in ("each", "all") or is_count(columns)):
            raise errors.received(
                "`columns` must be 'each', 'all' or a positive number of "
                "groups.",
                columns=columns,
            )
        if rows in ("chunks", "parts", "gates") and not is_count(size):
            raise errors.received(
                f"`size` must be a positive integer for rows={rows!r}.",
                size=size,
            )
        self.rows, self.columns = rows, columns
        self.size, self.synchronized = size, synchronized

    @property
    def mixes_samples(self) -> bool:
        """True where statistics depend on more than the own sample."""
        return self.rows != "each"

    def groups(self, channels: int) -> int:
        """Number of column groups."""
        return {"each": channels, "all": 1}.get(self.columns, self.columns)

    def check(self, channels: int) -> None:
        """Refuse channels that the groups do not divide."""
        groups = self.groups(channels)
        if groups > channels:
            raise errors.more_groups_than_channels(groups, channels)
        if channels % groups:
            raise errors.groups_must_divide(groups, channels)

    def statistic_shape(self, channels: int) -> tuple:
        """Shape of one statistic kept as state."""
        if self.rows == "each":
            raise errors.no_state(self)
        groups = (self.groups(channels),)
        return (self.size, *groups) if self.rows == "gates" else groups

    def of_instances(self) -> "Area":
        """The area of a table whose instances are this area's parts."""
        return Area("each", "each")

    def over(self, table, gates=None) -> "Averages":
        """This area bound to the table of one call."""
        return Averages(self, table, gates)

    def normalize(self, layer, x, training, mask, condition):
        """The elementwise path: a table, then one scale-and-shift."""
        return elementwise.normalize(layer, x, training, mask, condition)


def is_count(value) -> bool:
    """True for a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def group_columns(groups):
    """`groups` of a layer as the columns of an area; -1 is one per channel."""
    if not (is_count(groups) or (groups == -1 and groups is not True)):
        raise errors.received(
            "Received an invalid value for argument `groups`, expected a "
            "positive integer (or -1 for one group per channel).",
            groups=groups,
        )
    return "each" if groups == -1 else groups
