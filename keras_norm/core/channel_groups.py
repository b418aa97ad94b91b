"""Groups of channels, and the matrix products over the data.

Data are channels-last here, (..., C). Each backend has one form of a product
that runs at full speed; it is chosen here, and so are the gradients.
"""

from collections import namedtuple

import keras
from keras import ops

from keras_norm.core import primitives

# Channels of one product that XLA runs at full speed.
WIDTH = 64


class ChannelGroups(namedtuple("ChannelGroups", "channels size")):
    """Consecutive groups of channels, the last one filled up if need be.

    Args:
        channels: number of channels.
        size: channels of a group, or more than there are.
    """

    @property
    def width(self):
        """Channels of a group."""
        return min(self.size, self.channels)

    @property
    def count(self):
        """Number of groups."""
        return -(-self.channels // self.width)

    @property
    def missing(self):
        """How many channels fill up the last group."""
        return self.count * self.width - self.channels

    @property
    def shape(self):
        """Of one matrix per group."""
        return self.count, self.width, self.width

    def split(self, t):
        """(..., C) -> (..., groups, width), zeros in what is filled up."""
        lead = ops.shape(t)[:-1]
        if self.missing:
            # Not ops.pad: it makes an object with a name, which PyTorch's
            # compiler refuses inside a gradient of our own.
            filling = ops.zeros((*lead, self.missing), t.dtype)
            t = ops.concatenate([t, filling], axis=-1)
        return ops.reshape(t, (*lead, self.count, self.width))

    def join(self, t):
        """(..., groups, width) -> (..., C)."""
        t = ops.reshape(t, (*ops.shape(t)[:-2], -1))
        return t[..., : self.channels] if self.missing else t

    def real(self, dtype):
        """(groups, width, width): 1 between channels that exist, else 0."""
        index = ops.arange(self.count * self.width, dtype="int32")
        real = ops.cast(index < self.channels, dtype)
        real = ops.reshape(real, (self.count, self.width))
        return ops.expand_dims(real, -1) * ops.expand_dims(real, -2)


def gram(data, groups):
    """Sums over all leading axes of x_i x_j: (groups, d, d)."""
    # Of its gradient: PyTorch's compiler may make nothing there.
    _apply(groups)
    return _gram(groups)(data)


def products_of_samples(left, right, groups):
    """Sums of left_i right_j over the positions of each sample.

    Returns:
        (N, groups, d, d).
    """
    left, right = (_samples(groups.split(t)) for t in (left, right))
    return ops.einsum("npgi,npgj->ngij", left, right)


def apply(data, blocks, groups):
    """Every group of channels times its matrix, (..., C) -> (..., C').

    Args:
        data: (..., C).
        blocks: (groups, d, e), or (N, groups, d, e) for each sample its own;
            the output index is last.
        groups: how the channels of `data` are cut.
    """
    if len(blocks.shape) == 3:
        return _apply(groups)(data, blocks)
    y = ops.einsum("npgi,ngij->npgj", _samples(groups.split(data)), blocks)
    return _joined(y, data, groups)


@primitives.cached
def _gram(groups):
    @ops.custom_gradient
    def gram_of(data):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # One product, where autodiff makes two.
            both = upstream + ops.swapaxes(upstream, -1, -2)
            return apply(data, both, groups)

        return _products(data, data, groups), grad

    return gram_of


@primitives.cached
def _apply(groups):
    @ops.custom_gradient
    def applied(data, blocks):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            outputs = ChannelGroups(upstream.shape[-1], blocks.shape[-1])
            back = apply(upstream, ops.swapaxes(blocks, -1, -2), outputs)
            return back, _cross(groups, outputs)(data, upstream)

        return _product(data, blocks, groups), grad

    return applied


@primitives.cached
def _cross(groups, others):
    @ops.custom_gradient
    def cross(left, right):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            turned = ops.swapaxes(upstream, -1, -2)
            return (
                apply(right, turned, others),
                apply(left, upstream, groups),
            )

        return _products(left, right, groups, others), grad

    return cross


def _products(left, right, groups, others=None):
    """Sums over rows of left_i right_j: (groups, d, e)."""
    others = others or groups
    if groups.count == 1:
        left, right = (ops.reshape(t, (-1, t.shape[-1])) for t in (left, right))
        return ops.matmul(ops.transpose(left), right)[None]
    left, right = _rows(groups.split(left)), _rows(others.split(right))
    if keras.backend.backend() == "torch":
        return ops.einsum("mgi,mgj->gij", left, right)
    # XLA makes slow loops of narrow products: several groups are one product,
    # of which the blocks on the diagonal are wanted.
    several = max(1, WIDTH // max(groups.width, others.width))
    found = []
    for g in range(0, groups.count, several):
        count = min(several, groups.count - g)
        a, b = (
            ops.reshape(t[:, g : g + count], (-1, count * t.shape[-1]))
            for t in (left, right)
        )
        whole = ops.matmul(ops.transpose(a), b)
        whole = ops.reshape(whole, (count, groups.width, count, others.width))
        found += [whole[i, :, i] for i in range(count)]
    return ops.stack(found)


def _product(data, blocks, groups):
    if groups.count == 1:
        y = ops.matmul(ops.reshape(data, (-1, groups.channels)), blocks[0])
        return _joined(y, data, groups)
    rows = _rows(groups.split(data))
    if keras.backend.backend() == "torch":
        return _joined(ops.einsum("mgi,gij->mgj", rows, blocks), data, groups)
    y = ops.matmul(ops.transpose(rows, (1, 0, 2)), blocks)
    return _joined(ops.transpose(y, (1, 0, 2)), data, groups)


def _joined(y, data, groups):
    """Results of all groups beside each other, in the shape of the data."""
    e = y.shape[-1]
    y = ops.reshape(y, (*ops.shape(data)[:-1], groups.count * e))
    if groups.missing and e == groups.width:
        return y[..., : groups.channels]
    return y


def _rows(t):
    """(..., groups, d) -> (M, groups, d)."""
    return ops.reshape(t, (-1, *t.shape[-2:]))


def _samples(t):
    """(N, ..., groups, d) -> (N, positions, groups, d)."""
    n = ops.shape(t)[0]
    positions = 1
    for size in ops.shape(t)[1:-2]:
        positions = positions * size
    return ops.reshape(t, (n, positions, *t.shape[-2:]))
