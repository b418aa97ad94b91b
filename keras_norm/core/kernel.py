"""A kernel, read as weight vectors of output neurons or as matrices.

A kernel is linear in its inputs. What a method calls the weight vector of an
output neuron are the entries that share an index on the *output axes*; the
others are reduced, their number is the fan-in. Axes on which the entries are
independent maps (labels that an einsum keeps in input and output) are blocks.
"""

import dataclasses
import math
from typing import Any

from keras import ops

from keras_norm import errors


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of a layer: where it is and how it is to be read.

    Args:
        path: its name within the layer, as in "recurrent_kernel".
        owner: the layer, or part of a layer, that holds it.
        attribute: attribute of `owner` that holds the variable.
        value: the variable, or what stands in its place.
        kind: what the owner does, as in `OUTPUT_AXES`.
        axes: the output axes.
        blocks: axes of independent maps.
        gates: matrices side by side on the output axes (recurrent layers).
        groups: groups of a convolution.
    """

    path: str
    owner: Any
    attribute: str
    value: Any
    kind: str
    axes: tuple
    blocks: tuple = ()
    gates: int = 1
    groups: int = 1

    @property
    def shape(self) -> tuple:
        """The shape of the kernel."""
        return tuple(self.value.shape)

    @property
    def kept(self) -> tuple:
        """Axes with one entry for each output neuron."""
        return tuple(sorted({*self.axes, *self.blocks}))

    @property
    def reduced(self) -> tuple:
        """Axes over which the entries of a neuron run."""
        return tuple(a for a in range(len(self.shape)) if a not in self.kept)

    @property
    def fan_in(self) -> int:
        """Entries of an output neuron."""
        return math.prod(self.shape[a] for a in self.reduced)

    @property
    def units(self) -> tuple:
        """Shape of what has one entry for each output neuron."""
        return tuple(self.shape[a] for a in self.kept)

    def spread(self, t):
        """One entry for each neuron -> broadcasts against the kernel."""
        kept = self.kept
        shape = [n if a in kept else 1 for a, n in enumerate(self.shape)]
        return ops.reshape(t, shape)

    def matrices_shape(self, parts: int = 1) -> tuple:
        """(matrices, outputs, fan-in) that `matrices` gives."""
        blocks = math.prod(self.shape[a] for a in self.blocks)
        outputs = math.prod(self.units) // blocks
        if outputs % parts:
            raise errors.received(
                f"The {outputs} outputs of {self.path!r} cannot be cut into "
                "parts of equal size.",
                parts=parts,
            )
        return (blocks * parts, outputs // parts, self.fan_in)

    def _order(self) -> tuple:
        alone = tuple(a for a in self.axes if a not in self.blocks)
        return (*self.blocks, *alone, *self.reduced)

    def matrices(self, t, parts: int = 1):
        """Kernel -> (matrices, outputs, fan-in).

        Args:
            t: a tensor of the kernel's shape.
            parts: matrices that the outputs are cut into, one after the other.
        """
        shape = self.matrices_shape(parts)
        return ops.reshape(ops.transpose(t, self._order()), shape)

    def columns(self, t, parts: int = 1):
        """Kernel -> (matrices, fan-in, outputs), the transposes of `matrices`.

        Where the output axes are the last, as in most kernels, nothing is
        moved.
        """
        count, outputs, fan_in = self.matrices_shape(parts)
        rank = len(self.shape)
        last = tuple(range(rank - len(self.axes), rank))
        if count == 1 and not self.blocks and self.axes == last:
            return ops.reshape(t, (1, fan_in, outputs))
        return ops.swapaxes(self.matrices(t, parts), -1, -2)

    def of_matrices(self, m):
        """The inverse of `matrices`."""
        order = self._order()
        m = ops.reshape(m, [self.shape[a] for a in order])
        back = sorted(range(len(order)), key=order.__getitem__)
        return ops.transpose(m, back)
