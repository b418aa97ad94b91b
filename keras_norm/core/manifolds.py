"""Manifolds of matrices with orthonormal or unit rows: tangents, retractions.

Points and directions are matrices (count, outputs, fan-in) with a row for each
output neuron: the transposes of the literature's X, whose columns they are.
"""

from concurrent.futures import ThreadPoolExecutor

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import matrix_projections
from keras_norm.core.orthogonal import gram
from keras_norm.ops.matrix_roots import identity
from keras_norm.ops.matrix_roots import widened
from keras_norm.ops.spectra import symmetric
from keras_norm.ops.spectra import transposed

# Least length of a direction and of a row, as squares.
_LEAST = 1e-30


def lengths(m):
    """Lengths of the rows, (count, outputs, 1), positive."""
    # In units of the largest: squares of entries over 1e19 are infinite.
    largest = ops.maximum(ops.max(ops.abs(m), -1, keepdims=True), 1.0)
    square = ops.sum(ops.square(m / largest), axis=-1, keepdims=True)
    return largest * ops.sqrt(ops.maximum(square, _LEAST))


def unit_rows(m):
    """Rows of length 1; a row of zeros becomes one of equal entries."""
    # Twice: squares of small entries vanish in float32.
    m = m / ops.maximum(ops.max(ops.abs(m), -1, keepdims=True), _LEAST)
    m = ops.where(ops.any(m != 0.0, -1, keepdims=True), m, ops.ones_like(m))
    return m / lengths(m)


def along_geodesic(x, direction):
    """x cos|h| + h sin|h| / |h| for each row x of length 1 and its h."""
    angle = lengths(direction)
    moved = x * ops.cos(angle) + direction * (ops.sin(angle) / angle)
    # Of length 1 but for rounding, which would add up.
    return unit_rows(moved)


class Manifold:
    """A manifold of rows.

    `retractions` gives, by name, what takes a point and a tangent direction to
    a point; the first is the default. `place` is the nearest point, or one
    near. `rule` says what a kernel must be like.
    """

    retractions: dict = {}
    rule = "must have output neurons of at least two weights."

    def contains_kernels_of(self, outputs, fan_in) -> bool:
        """Are there points of this shape?"""
        return fan_in >= 2

    def parts(self, outputs) -> int:
        """Points that the rows of a matrix are cut into."""
        return 1

    def tangent(self, x, direction):
        """The part of a direction that is tangent at x."""
        raise NotImplementedError


class Stiefel(Manifold):
    """X X^T = I: orthonormal rows, with the metric of the space around."""

    retractions = {
        "qr": lambda x, d: matrix_projections.orthonormalized(x + d),
        "polar": lambda x, d: matrix_projections.nearest_orthonormal(x + d),
    }
    rule = (
        "must have no more output neurons (of a gate or group) than each has "
        "weights, and these at least two: otherwise no neurons are orthonormal."
    )

    def contains_kernels_of(self, outputs, fan_in):
        return 2 <= fan_in and outputs <= fan_in

    def tangent(self, x, direction):
        product = symmetric(ops.matmul(direction, transposed(x)))
        return direction - ops.matmul(product, x)


class Oblique(Manifold):
    """|x| = 1 for each row."""

    retractions = {
        "normalize": lambda x, d: unit_rows(x + d),
        "geodesic": along_geodesic,
    }

    def tangent(self, x, direction):
        inner = ops.sum(x * direction, axis=-1, keepdims=True)
        return direction - inner * x


class Grassmann(Stiefel):
    """The subspaces that rows span, each kept as orthonormal rows.

    Args:
        dimension: rows of a subspace.
    """

    def __init__(self, dimension=1):
        self.dimension = dimension
        if dimension == 1:
            self.retractions = {
                "geodesic": along_geodesic,
                **Stiefel.retractions,
            }
        self.rule = (
            f"must have a multiple of {dimension} output neurons (in a gate or "
            f"group) of more than {dimension} weights: otherwise there are "
            "not two such subspaces."
        )

    def contains_kernels_of(self, outputs, fan_in):
        return outputs % self.dimension == 0 and self.dimension < fan_in

    def parts(self, outputs):
        return outputs // self.dimension

    def tangent(self, x, direction):
        product = ops.matmul(direction, transposed(x))
        return direction - ops.matmul(product, x)


def polished(x):
    """A Newton step to orthonormal rows: (3 I - X X^T) X / 2."""
    g = gram(x)
    return ops.matmul(1.5 * identity(g.shape[-1], g.dtype) - 0.5 * g, x)


def put_on(manifold, choice, variables) -> None:
    """Choose kernels of `variables` that lie on the manifold.

    Without `where` those that cannot are left out.

    Args:
        manifold: a `Manifold`.
        choice: a `KernelChoice`, which gets its readings.
        variables: of an optimizer.

    Raises:
        ValueError: a chosen kernel cannot lie there; there is none.
    """
    choice.readings = {}
    readings = choice.find(variables)
    for index, reading in readings.items():
        _, outputs, fan_in = reading.shape
        if not manifold.contains_kernels_of(outputs, fan_in):
            if choice.where is not None:
                raise reading.refused(manifold.rule)
            continue
        if reading.kernel.value.constraint is not None:
            raise errors.received(
                f"The kernel {reading.kernel.path!r} must have no constraint: "
                "it would take it off the manifold after each step.",
                "Leave out the constraint, or the kernel.",
                constraint=reading.kernel.value.constraint,
            )
        choice.readings[index] = reading.cut(manifold.parts(outputs))
    if not choice.readings:
        raise next(iter(readings.values())).refused(manifold.rule)


def place(readings, project) -> None:
    """Put kernels on the manifold, before the step that is being traced."""

    def now():
        for reading in readings.values():
            w = reading.kernel.value
            m = project(reading.matrices(widened(ops.convert_to_tensor(w))))
            w.assign(ops.cast(reading.of_matrices(m), w.dtype))

    if not _traced():
        now()
        return
    # TensorFlow's `fit` builds the optimizer within the function it traces,
    # and runs another trace later, without what building has done. What is
    # traced belongs to a thread; in another one all runs at once.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(now).result()


def _traced():
    """Is TensorFlow tracing a function?"""
    if keras.backend.backend() != "tensorflow":
        return False
    return not hasattr(ops.convert_to_tensor(0.0), "numpy")


def refuse_overwriting(optimizer):
    """Averages in place of the weights are not on the manifold."""
    if optimizer.use_ema and optimizer.ema_overwrite_frequency:
        raise errors.received(
            "`ema_overwrite_frequency` must be None: averages of points are "
            "not on the manifold.",
            "The averages become the weights at the end of training.",
            ema_overwrite_frequency=optimizer.ema_overwrite_frequency,
        )
