"""Weight vectors of output neurons: centring and dividing by their length."""

from keras import ops

from keras_norm import errors
from keras_norm.core.primitives import cached

PLACES = ("clamp", "inside", "outside")
# Least square of a length: the derivative of its inverse root, its power -3/2,
# is still a float32.
_LEAST = 1e-24


def check_place(place):
    """`epsilon_place`, checked."""
    if place not in PLACES:
        raise errors.unknown_name("epsilon_place", place, list(PLACES))
    return place


def check_fan_in(kernel, least=2):
    """Refuse neurons of too few inputs: centred they are 0."""
    if kernel.fan_in < least:
        raise errors.received(
            f"Each output neuron of {kernel.path!r} must have at least "
            f"{least} inputs: less are 0 when their mean is subtracted.",
            "Choose another `axis`, or `targets` without this kernel.",
            fan_in=kernel.fan_in,
            kernel_shape=kernel.shape,
        )


def centred(w, axes):
    """Each neuron minus its mean."""
    return w - ops.mean(w, axis=axes, keepdims=True)


@cached
def _squares(axes):
    @ops.custom_gradient
    def squares(w):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            # One tensor of the kernel's size; autodiff makes three.
            return w * (2.0 * upstream)

        return ops.sum(w * w, axis=axes, keepdims=True), grad

    return squares


def square(w, axes):
    """Squared length of each neuron, to be broadcast."""
    return _squares(axes if isinstance(axes, int) else tuple(axes))(w)


def reciprocal(squares, epsilon, place):
    """1 / length: of max(l^2, epsilon), l^2 + epsilon, or l + epsilon."""
    if place == "outside":
        return 1.0 / (ops.sqrt(ops.maximum(squares, _LEAST)) + epsilon)
    if place == "inside":
        squares = squares + epsilon
    else:
        squares = ops.maximum(squares, epsilon)
    return ops.rsqrt(ops.maximum(squares, _LEAST))


def unit(w, axes, epsilon=1e-12, place="clamp"):
    """Each neuron divided by its length; 0 stays 0."""
    return w * reciprocal(square(w, axes), epsilon, place)


def largest(t):
    """The largest absolute value of a tensor."""
    return ops.max(ops.abs(t))
