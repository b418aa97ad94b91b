"""Derivatives: the only place of the package that asks the backend for them.

Everything is built on one primitive, `pullback`: the value of a function and
the map u -> J^T u, which can itself be differentiated. Products with J are the
pullback of the pullback, products with a Hessian the pullback of the gradient:
reverse mode only, since layers with a backward of their own have no other.

Functions take a list of float tensors and return one tensor.
"""

import contextlib

import keras
from keras import ops

from keras_norm import errors


def pullback(function, tensors):
    """Value and map from an upstream gradient to gradients.

    Args:
        function: of a list of tensors, to one tensor.
        tensors: list of float tensors.

    Returns:
        `(value, pull)`; `pull(upstream)` is the list of gradients of
        sum(value * upstream), zeros where there is no connection. It may be
        called again and again, and differentiated by `pullback`.
    """
    backend = keras.backend.backend()
    return {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[backend](
        function, [ops.convert_to_tensor(t) for t in tensors]
    )


def gradients(function, tensors):
    """Value and gradients of a scalar function.

    Args:
        function: of a list of tensors, to a scalar.
        tensors: list of float tensors.

    Returns:
        `(value, gradients)`, one gradient for each tensor.
    """
    value, pull = pullback(function, tensors)
    if len(value.shape):
        raise errors.received(
            "`function` must return a scalar.",
            "Sum or average over its samples.",
            shape=tuple(value.shape),
        )
    return _free(value), [_free(g) for g in pull(ops.ones_like(value))]


def gradient_function(function):
    """`tensors -> (value, gradients)`, for many points of one shape."""
    return compiled(lambda tensors: gradients(function, tensors))


def jacobian_product(function, tensors, vectors):
    """The derivative J v of a function along vectors, one for each tensor."""
    value, pull = pullback(function, tensors)
    return _free(_jacobian_product(value, pull, vectors))


def hessian_product(function, tensors, vectors):
    """H v of a scalar function, one entry for each tensor.

    Of a layer whose hand-written backward is no gradient of its forward this
    is the derivative of that backward, transposed.
    """
    return hessian_operator(function, tensors)(vectors)


def hessian_operator(function, tensors):
    """`vectors -> H v`, for many products at one point."""
    tensors = [ops.convert_to_tensor(t) for t in tensors]

    def gradient(tensors):
        value, pull = pullback(function, tensors)
        return _flat(pull(ops.ones_like(value)))

    if keras.backend.backend() == "jax":

        def product(tensors, vectors):
            return pullback(gradient, tensors)[1](_flat(vectors))

        product = compiled(product)
        return lambda vectors: product(tensors, list(vectors))
    _, pull = pullback(gradient, tensors)
    return lambda vectors: [_free(g) for g in pull(_flat(vectors))]


def gauss_newton_operator(outputs, curved, tensors):
    """`vectors -> J^T C J v`: J of the outputs, C any matrix between.

    Args:
        outputs: of a list of tensors, to one tensor.
        curved: function of the outputs and of J v that gives C J v.
        tensors: list of float tensors.
    """
    tensors = [ops.convert_to_tensor(t) for t in tensors]
    if keras.backend.backend() == "jax":

        def whole(tensors, vectors):
            value, pull = pullback(outputs, tensors)
            return pull(curved(value, _jacobian_product(value, pull, vectors)))

        whole = compiled(whole)
        return lambda vectors: whole(tensors, list(vectors))
    value, pull = pullback(outputs, tensors)
    _, push = pullback(lambda u: _flat(pull(u[0])), [ops.zeros_like(value)])
    value = _free(value)

    def product(vectors):
        moved = _free(push(_flat(vectors))[0])
        return [_free(g) for g in pull(_free(curved(value, moved)))]

    return product


def _jacobian_product(value, pull, vectors):
    """Forward mode as the pullback of a linear map, at any point: 0."""
    _, push = pullback(lambda u: _flat(pull(u[0])), [ops.zeros_like(value)])
    return push(_flat(vectors))[0]


def compiled(function):
    """One program on JAX, which compiles each operation of an eager one."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def _flat(tensors):
    """All entries in one vector."""
    return ops.concatenate([ops.reshape(t, (-1,)) for t in tensors])


def _free(tensor):
    """A result, without the graph behind it."""
    return ops.stop_gradient(tensor)


# The backends -----------------------------------------------------------------


def _jax(function, tensors):
    import jax

    value, pull = jax.vjp(function, list(tensors))
    return value, lambda upstream: pull(upstream)[0]


def _tensorflow(function, tensors):
    import tensorflow as tf

    # A tensor stands for itself alone, also where it comes twice.
    tensors = [tf.identity(t) for t in tensors]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(tensors)
        value = function(tensors)

    def pull(upstream):
        found = tape.gradient(
            value,
            tensors,
            output_gradients=upstream,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        # Gradients of gathered rows are sparse.
        return [tf.convert_to_tensor(g) for g in found]

    return value, pull


# How many derivatives are being taken of the pullback that is being made.
_depth = 0


@contextlib.contextmanager
def _recorded():
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def _torch(function, tensors):
    import torch

    nested = _depth > 0
    with torch.enable_grad(), _recorded():
        tensors = [
            t.view_as(t) if nested and t.requires_grad else _leaf(t)
            for t in tensors
        ]
        value = function(tensors)

    def pull(upstream):
        if not value.requires_grad:
            return [torch.zeros_like(t) for t in tensors]
        with torch.enable_grad():
            found = torch.autograd.grad(
                value,
                tensors,
                upstream,
                retain_graph=True,
                create_graph=nested or _depth > 0,
                allow_unused=True,
            )
        return [
            torch.zeros_like(t) if g is None else g
            for t, g in zip(tensors, found, strict=True)
        ]

    return value, pull


def _leaf(tensor):
    return tensor.detach().requires_grad_()
