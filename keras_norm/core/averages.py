"""An area at work: from the (N, C) table to compact statistics and back.

Three spaces: the data, the table of instance moments, and compact (parts,
groups), in which state and factors live. `mean` goes from the table to compact
statistics, `spread` back. All shape logic rests on the area's rows and columns,
never on sizes, which may be unknown.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_gather
from keras_norm.core.distribution import replica_sum
from keras_norm.core.moments import TINY
from keras_norm.core.moments import settled
from keras_norm.core.primitives import at_least_one


def widen(compact, groups, channels):
    """(., groups) -> what broadcasts to (., channels)."""
    if groups in (1, channels):
        return compact
    if keras.backend.backend() == "torch":
        # A product with ones and zeros: PyTorch's compiler would fuse any
        # other form into the big kernel, as a gather there.
        width = channels // groups
        group = ops.arange(channels, dtype="int32") // width
        member = ops.equal(ops.arange(groups, dtype="int32")[:, None], group)
        return ops.matmul(compact, ops.cast(member, compact.dtype))
    wide = ops.expand_dims(compact, -1) + ops.zeros(
        (channels // groups,), compact.dtype
    )
    return ops.reshape(wide, (-1, channels))


class Averages:
    """An area bound to one table.

    Attributes:
        base: values of the data, (1 or N, groups); means of parts are relative
            to it, so that no absolute mean is ever formed.
        weight: (parts or 1, groups or 1), 0 for a part that is absent.
    """

    def __init__(self, area, table, gates=None):
        self.area, self.gates = area, gates
        self.dtype = table.mean.dtype
        self.table = table
        self.n, self.c = ops.shape(table.mean)[0], table.mean.shape[1]
        self.groups = area.groups(self.c)
        self.width = self.c // self.groups
        self.chunked = area.rows in ("chunks", "parts")
        count = table.count
        if count is None and self.chunked:
            count = ops.ones((self.n, 1), self.dtype)
        if count is not None:
            count = ops.broadcast_to(count, (self.n, self.c))
        self.count = count
        # Each instance is a part of its own: nothing to average.
        one = area.rows == "each" or (area.rows == "all" and self.n_is(1))
        plain = count is None and not area.synchronized
        self.alone = one and plain and self.width == 1
        base, self._weighed = self._base(), None
        # Do other replicas see entries of the same parts?
        self.shared = area.synchronized and replica_count() > 1
        if self.shared:
            weight = ops.broadcast_to(
                self.weight, (ops.shape(self.weight)[0], self.groups)
            )
            # A replica without entries knows no value of the data.
            some = ops.sum(weight, axis=0, keepdims=True) > 0
            some = ops.cast(some, self.dtype)
            # One collective for all: their order must be the same everywhere.
            sent = ops.concatenate([some * base, some, weight], axis=0)
            sent = replica_sum(sent)
            base = sent[:1] / ops.maximum(sent[1:2], 1.0)
            self._weighed = sent[2:]
        self.base = base if self.alone else settled(base)

    @property
    def weight(self):
        """How much each part saw; formed when first asked for."""
        if self._weighed is None:
            self._weighed = self._weight()
        return self._weighed

    def n_is(self, number):
        """True where the number of instances is known to be that."""
        return isinstance(self.n, int) and self.n == number

    @property
    def seen(self):
        """Which rows of the state saw anything; True where all surely did."""
        n, positions = self.n, self.table.positions
        static = isinstance(n, int) and isinstance(positions, float)
        gated = self.gates is not None
        if self.count is None and static and n and positions and not gated:
            return True
        return self.merged_weight() > 0

    @property
    def entries(self):
        """Number of entries (or their weight) behind each part."""
        if self.table.count is None:
            return self.weight * self.table.positions
        return self.weight

    @property
    def single(self):
        """True where each part is one entry."""
        each = self.area.rows == "each" and self.width == 1
        return each and not self.table.axes

    @property
    def relative_means(self):
        """Means of the instances relative to the base."""
        if self.alone:
            return self.table.mean
        return self.relative_pivot + self.table.mean

    @property
    def relative_pivot(self):
        """The pivot relative to the base, (N or 1, C)."""
        return self.table.pivot - widen(self.base, self.groups, self.c)

    def _base(self):
        """A value of the data for every group, the same for a whole part.

        It has only to be near: what counts is that pivot - base is a
        difference of data and carries no rounding of its own.
        """
        pivot = self.table.pivot
        if not self.table.centred:
            return ops.zeros((1, self.groups), self.dtype)
        if self.area.rows == "each":
            if self.width == 1 or pivot.shape[0] == 1:
                return pivot[:, :: self.width]
            seen = self._seen()
        elif pivot.shape[0] == 1:
            return pivot[:, :: self.width]
        else:
            seen = self._seen()
            pivot = ops.sum(pivot * seen, axis=0, keepdims=True)
            seen = ops.sum(seen, axis=0, keepdims=True)
            pivot = pivot / ops.maximum(seen, 1.0)
            seen = ops.cast(seen > 0, self.dtype)
        if self.width == 1:
            return pivot
        pivot = self._grouped(pivot * seen)
        return pivot / ops.maximum(self._grouped(seen), 1.0)

    def _seen(self):
        if self.table.count is None:
            return ops.ones((self.n, self.c), self.dtype)
        return ops.cast(self.count > 0, self.dtype)

    def _grouped(self, t):
        """(., C) -> sums over the columns of each group (., groups)."""
        return ops.sum(ops.reshape(t, (-1, self.groups, self.width)), axis=-1)

    def rows_of_part(self):
        """Samples of a chunk: an int, or a tensor where the batch decides."""
        if self.area.rows == "chunks":
            return self.area.size
        size = self.area.size
        return at_least_one((self.n + size - 1) // size)

    def cut(self, t, fill=0.0):
        """(N, C) -> (parts, rows, groups, columns); short parts are filled."""
        rows = {"each": 1, "all": -1}.get(self.area.rows)
        parts = 1 if self.area.rows == "all" else -1
        if self.chunked:
            rows = self.rows_of_part()
            if self.area.rows == "parts":
                parts, missing = self.area.size, rows * self.area.size - self.n
            else:
                missing = (-self.n) % rows
            extra = ops.full((missing, self.c), fill, t.dtype)
            t = ops.concatenate([t, extra])
            if self.area.rows == "parts":
                rows = -1
        return ops.reshape(t, (parts, rows, self.groups, self.width))

    def total(self, t):
        """(N, C) -> compact (parts, groups)."""
        if self.area.rows == "gates":
            total = ops.matmul(ops.transpose(self.gates), t)
            return self._grouped(total) if self.width > 1 else total
        if self.width > 1 or self.chunked:
            return ops.sum(self.cut(t), axis=(1, 3))
        if self.area.rows == "all":
            return ops.sum(t, axis=0, keepdims=True)
        return t

    def _weight(self):
        if self.count is not None:
            return self.total(self.count)
        # Instances without entries weigh nothing.
        some = ops.cast(ops.greater(self.table.positions, 0), self.dtype)
        if self.area.rows == "gates":
            total = ops.sum(self.gates, axis=0)
            return ops.expand_dims(total, -1) * (self.width * some)
        n = self.n if self.area.rows == "all" else 1
        n = ops.cast(n * self.width, self.dtype)
        return ops.reshape(n * some, (1, 1))

    def mean(self, t):
        """Average of an (N, C) table: compact (parts, groups)."""
        if self.alone or (self.area.rows == "each" and self.width == 1):
            return t
        if self.count is not None:
            t = self.count * t
        else:
            t = ops.broadcast_to(t, (self.n, self.c))
        total = self.total(t)
        if self.area.synchronized:
            total = replica_sum(total)
        return total / ops.maximum(self.weight, TINY)

    def variance(self, relative, mean):
        """Biased variance of the parts: never from raw second moments.

        Args:
            relative: means of the instances relative to the base, (N, C).
            mean: those of the parts, compact.
        """
        if self.alone:
            return self.table.variance
        if self.area.rows != "gates":
            deviation = relative - self.spread(mean)
            return self.mean(self.table.variance + ops.square(deviation))
        # A sample has one deviation from every part: (N, parts, C).
        parts = ops.expand_dims(widen(mean, self.groups, self.c), 0)
        deviation = ops.expand_dims(relative, 1) - parts
        within = ops.expand_dims(self.table.variance, 1)
        t = ops.expand_dims(self.gates, -1) * (within + ops.square(deviation))
        if self.count is not None:
            t = t * ops.expand_dims(self.count, 1)
        total = ops.sum(t, axis=0)
        total = self._grouped(total) if self.width > 1 else total
        if self.area.synchronized:
            total = replica_sum(total)
        return total / ops.maximum(self.weight, TINY)

    def maximum(self, t):
        """Largest entry of an (N, C) table of what is not negative."""
        if self.area.rows == "gates":
            raise errors.received(
                "`operation` needs a maximum, which soft assignments of "
                "samples do not have.",
                area=self.area,
            )
        if self.area.rows == "all":
            # A row of zeros changes nothing and serves the empty batch.
            zero = ops.zeros((1, self.c), t.dtype)
            t = ops.concatenate([t, zero])
            t = ops.reshape(t, (1, -1, self.groups, self.width))
            largest = ops.max(t, axis=(1, 3))
            if self.shared:
                each = replica_gather(ops.expand_dims(largest, -1))
                largest = ops.max(each, axis=-1)
            return largest
        return ops.max(self.cut(t), axis=(1, 3))

    def spread(self, compact):
        """Compact statistics -> what broadcasts to (N, C)."""
        compact = widen(compact, self.groups, self.c)
        if self.area.rows == "gates":
            return ops.matmul(self.gates, compact)
        if not self.chunked:
            return compact
        rows = self.rows_of_part()
        index = ops.arange(self.n, dtype="int32") // rows
        return ops.take(compact, index, axis=0)

    def merged(self, compact):
        """Parts averaged to one row, as the state of chunks keeps them."""
        if not self.chunked:
            return compact
        total = ops.sum(self.weight * compact, axis=0, keepdims=True)
        return total / ops.maximum(self.merged_weight(), TINY)

    def merged_weight(self):
        """What the state's rows saw."""
        if not self.chunked:
            return self.weight
        return ops.sum(self.weight, axis=0, keepdims=True)
