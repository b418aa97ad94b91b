"""Power normalization: the scaling of each token, and its own backward pass."""

from keras import ops

from keras_norm.core import backward_state
from keras_norm.core import moments
from keras_norm.core.custom_gradients import custom_gradient
from keras_norm.core.distribution import replica_sum
from keras_norm.core.primitives import at_least_one
from keras_norm.core.primitives import cached
from keras_norm.core.primitives import size_of


@cached
def _group_scaled(axis, groups, epsilon):
    @custom_gradient
    def group_scaled(x):
        shape = ops.shape(x)
        width = shape[axis] // groups
        split = (*shape[:axis], groups, width, *shape[axis + 1 :])

        def mean(t):
            """Of each group, for all its members."""
            if groups == 1:
                return ops.mean(t, axis=axis, keepdims=True)
            t = ops.mean(ops.reshape(t, split), axis + 1, keepdims=True)
            return ops.reshape(ops.broadcast_to(t, split), shape)

        rate = ops.rsqrt(mean(ops.square(x)) + epsilon)
        h = x * rate

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return rate * (upstream - h * mean(upstream * h))

        return h, grad

    return group_scaled


def group_scaled(x, axis, groups, epsilon, mask=None):
    """X / sqrt(mean(x^2) + epsilon), the mean of each token's group.

    Of a mask only what tells channels apart matters: a token is scaled alone.
    """
    axis = axis % len(x.shape)
    w = None if mask is None else moments.aligned(mask, x)
    if w is None or w.shape[axis] == 1:
        return _group_scaled(axis, groups, epsilon)(x)
    shape = ops.shape(x)
    width = shape[axis] // groups
    split = (*shape[:axis], groups, width, *shape[axis + 1 :])
    grouped = ops.reshape(x, split)
    w = ops.reshape(ops.broadcast_to(w, shape), split)
    total = ops.sum(w, axis=axis + 1, keepdims=True)
    # Where a whole group is masked all of it counts.
    w = ops.where(total > 0, w, ops.ones_like(w))
    total = ops.sum(w, axis=axis + 1, keepdims=True)
    square = ops.sum(w * ops.square(grouped), axis + 1, keepdims=True) / total
    return ops.reshape(grouped * ops.rsqrt(square + epsilon), shape)


def second_moment(h, axes, mask, synchronized):
    """(mean of h^2, its weight) of each channel, dimensions kept."""
    if mask is None:
        total = ops.sum(ops.square(h), axis=axes, keepdims=True)
        weight = size_of(h, axes) * ops.ones_like(total)
    else:
        w = ops.broadcast_to(moments.aligned(mask, h), ops.shape(h))
        total = ops.sum(w * ops.square(h), axis=axes, keepdims=True)
        weight = ops.sum(w, axis=axes, keepdims=True)
    if synchronized:
        both = replica_sum(ops.stack([total, weight]))
        total, weight = both[0], both[1]
    return total / ops.maximum(weight, moments.TINY), weight


@cached
def _powered(axes, alpha):
    rest = 1.0 - alpha

    def total(t):
        return ops.sum(t, axis=axes, keepdims=True)

    @ops.custom_gradient
    def powered(h, rates, gamma, beta, square, seen, mean_product, witness):
        forward, backward = rates[0], rates[1]

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            old = backward_state.held(mean_product, witness)
            product = ops.reshape(old, square.shape)
            along = forward * total(upstream * h)
            # E[g2 z] with g2 = gamma dy - rest product z.
            change = gamma * along / at_least_one(size_of(h, axes))
            change = change - rest * product * ops.square(forward) * square
            change = ops.reshape(seen * change, old.shape)
            drift = rest * product * forward * backward
            return (
                upstream * (gamma * backward) - h * drift,
                ops.zeros_like(rates),
                along,
                total(upstream),
                ops.zeros_like(square),
                ops.zeros_like(seen),
                old + change,
                backward_state.witnessed(witness),
            )

        return h * (forward * gamma) + beta, grad

    return powered


def powered(h, rates, gamma, beta, square, seen, state, axes, alpha):
    """Gamma h rate + beta, with the approximate gradient of power norm.

    Args:
        h: the data.
        rates: that of the result and that of the gradient, stacked.
        gamma: of the channels, broadcasting like all that follows.
        beta: likewise.
        square: mean of h^2 over all positions, masked or not.
        seen: 0 where the state is to stay, otherwise 1.
        state: the moving mean of g z (C,) and the witness.
        axes: all but the channels'.
        alpha: fraction kept of that mean.
    """
    rates, square, seen = (ops.stop_gradient(t) for t in (rates, square, seen))
    return _powered(axes, alpha)(h, rates, gamma, beta, square, seen, *state)
