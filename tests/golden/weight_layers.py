"""The kernel of a row, and the layer around it that a program ran."""

import re

import keras
import numpy as np

ROLE = re.compile(r"(dense|conv_transpose|conv) kernel \(?([A-Za-z,]+)\)?")


class StoredKernel:
    """How a row keeps the kernel of a layer, and how Keras does.

    Attributes:
        name: the array.
        layer: "dense", "conv" or "conv_transpose".
        order: Keras' axes, by their place in the row.
    """

    def __init__(self, row):
        for name, role in row.parameters.items():
            found = ROLE.search(role)
            if found:
                self.name, (self.layer, axes) = name, found.groups()
        self.shape = row.shapes[self.name]
        rank = len(self.shape)
        # (out,in), OI... and IO... have the two in front, ...IO at the end.
        last = axes.upper().endswith("IO") and rank > 2 or axes == "in,out"
        self.order = range(rank) if last else (*range(2, rank), 1, 0)
        self.order = tuple(self.order)

    def keras(self, array):
        """The row's order -> Keras'."""
        return np.transpose(array, self.order)

    def stored(self, array):
        """Keras' order -> the row's."""
        return np.transpose(array, np.argsort(self.order))

    def axis(self, place):
        """Axis of Keras' kernel that is axis `place` of the row's."""
        return self.order.index(place % len(self.order))

    def rows(self, vector):
        """A vector of fan-in entries in the row's order -> Keras'."""
        if self.layer == "dense":
            return vector
        shape = list(self.shape)
        del shape[0 if self.layer == "conv" else 1]
        # (in, *k) -> (*k, in)
        return np.moveaxis(np.reshape(vector, shape), 0, -1).reshape(-1)

    def stored_rows(self, vector):
        """The inverse of `rows`."""
        if self.layer == "dense":
            return vector
        shape = list(self.shape)
        del shape[0 if self.layer == "conv" else 1]
        moved = np.reshape(vector, (*shape[1:], shape[0]))
        return np.moveaxis(moved, -1, 0).reshape(-1)


class Padded(keras.layers.Layer):
    """The layer between the paddings of a program.

    Programs pad both sides alike; for a transposed convolution they cut off
    as much of the result, which their `output_padding` then adds.
    """

    def __init__(self, inner, before, cut, dtype):
        super().__init__(dtype=dtype, autocast=False)
        self.inner, self.before, self.cut = inner, before, cut

    def build(self, inputs_shape):
        if not self.inner.built:
            pads = zip(inputs_shape[1:-1], self.before, strict=True)
            sizes = [n + sum(p) for n, p in pads]
            self.inner.build((inputs_shape[0], *sizes, inputs_shape[-1]))
        self.built = True

    def call(self, inputs, training=None):
        x = keras.ops.pad(inputs, [(0, 0), *self.before, (0, 0)])
        y = self.inner(x, training=training)
        ends = zip(self.cut, y.shape[1:-1], strict=True)
        missing = [(0, max(high - n, 0)) for (_, high), n in ends]
        if any(high for _, high in missing):
            # Nothing but the bias, where the layer's own result ends before.
            bias = getattr(self.inner, "layer", self.inner).bias
            bias = 0.0 if bias is None else keras.ops.convert_to_tensor(bias)
            y = keras.ops.pad(y - bias, [(0, 0), *missing, (0, 0)]) + bias
        index = [slice(low, high) for low, high in self.cut]
        return y[(slice(None), *index)]


class KernelOf(keras.layers.Layer):
    """The effective kernel as a layer, for rows without inputs."""

    def __init__(self, inner, dtype):
        super().__init__(dtype=dtype, autocast=False)
        self.inner = inner
        self.built = True

    def call(self, inputs, training=None):
        (w,) = self.inner.effective_kernels(training).values()
        return w + keras.ops.cast(0.0 * keras.ops.sum(inputs), w.dtype)
