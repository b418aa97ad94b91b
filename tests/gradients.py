"""Outputs and gradients of a layer on the backend of this process.

Keras has no gradients, so this file speaks to the backends; a test that needs
a gradient calls `gradients` and is the same on all three.
"""

import inspect
from collections import namedtuple

import keras
import numpy as np
from keras import tree

Gradients = namedtuple("Gradients", "outputs inputs weights")


def inference(layer, inputs, training=False, mask=None, dtype=None):
    """Outputs of a built layer as NumPy arrays, without moving its state.

    On JAX the call is compiled: one program instead of one for every
    operation and shape, of which eager JAX takes seconds to make.
    """
    dtype = dtype or keras.config.floatx()
    tensors = tree.map_structure(lambda a: _tensor(a, dtype), inputs)
    keywords = _keywords(layer, training, mask)
    if keras.backend.backend() == "jax":
        import jax

        def call(weights, state, tensors):
            return layer.stateless_call(weights, state, *tensors, **keywords)[0]

        outputs = jax.jit(call)(
            [w.value for w in layer.trainable_variables],
            [v.value for v in layer.non_trainable_variables],
            tensors,
        )
    else:
        before = [keras.ops.copy(v) for v in layer.non_trainable_variables]
        outputs = layer(*tensors, **keywords)
        for v, value in zip(layer.non_trainable_variables, before, strict=True):
            v.assign(value)
    return tree.map_structure(_array, outputs)


def gradients(
    layer,
    inputs,
    upstream,
    training=True,
    mask=None,
    jit=False,
    dtype=None,
):
    """One call of `layer` and the derivatives of sum(outputs * upstream).

    The state of the layer moves as in any other call, that of its backward
    pass as in a training step. Regularization and `add_loss` take no part.

    Args:
        layer: the layer; one that is not built is built by its first call.
        inputs: list of the call's positional arguments: arrays, or lists of
            arrays as in `layer([x, condition])`.
        upstream: array of the shape of the output; with several outputs a
            list that has `None` where there is nothing to differentiate, and
            may be shorter than the outputs.
        training: argument of the call, if the layer takes it.
        mask: argument of the call, if it is not `None`.
        jit: compile the step: `tf.function(jit_compile=True)`, `jax.jit`,
            `torch.compile(backend="aot_eager")`.
        dtype: dtype of floating-point inputs, by default `floatx()`.

    Returns:
        `outputs`: as the layer returned them, as NumPy arrays. `inputs`: a
        gradient for every input, in the structure of `inputs`; `None` for
        integers and booleans. `weights`: {name: gradient} of the trainable
        weights, the names being those of `weight_name`.
    """
    dtype = dtype or keras.config.floatx()
    flat = [_tensor(a, dtype) for a in tree.flatten(inputs)]
    moving = [_is_float(t) for t in flat]
    keywords = _keywords(layer, training, mask)
    if not layer.built:
        build(layer, inputs)

    def arguments(differentiable):
        given = iter(differentiable)
        chosen = [
            next(given) if m else t for t, m in zip(flat, moving, strict=True)
        ]
        return tree.pack_sequence_as(inputs, chosen), keywords

    several = isinstance(upstream, list | tuple)
    upstream = [
        u if u is None else _tensor(u, dtype)
        for u in (upstream if several else [upstream])
    ]
    differentiable = [t for t, m in zip(flat, moving, strict=True) if m]
    step = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[
        keras.backend.backend()
    ]
    outputs, found = step(layer, arguments, differentiable, upstream, jit)
    found = [_array(g) for g in found]
    count = len(differentiable)
    overwrite(layer, found[count:])
    given = iter(found[:count])
    of_inputs = [next(given) if m else None for m in moving]
    return Gradients(
        tree.map_structure(_array, outputs),
        _packed_like(inputs, of_inputs),
        {
            weight_name(layer, w): g
            for w, g in zip(
                layer.trainable_variables, found[count:], strict=True
            )
        },
    )


def overwrite(layer, found):
    """Move the state that is its "gradient", as Keras' optimizers do."""
    for weight, gradient in zip(layer.trainable_variables, found, strict=True):
        if weight.overwrite_with_gradient:
            weight.assign(gradient)


def build(layer, inputs):
    """Build a layer by a symbolic call, which moves no state."""
    symbols = tree.map_structure(
        lambda a: keras.KerasTensor(
            np.shape(a),
            keras.config.floatx()
            if np.asarray(a).dtype.kind == "f"
            else str(np.asarray(a).dtype),
        ),
        inputs,
    )
    layer(*symbols)


def second_derivative(function, x, upstream, direction):
    """Derivative of <d sum(function(x) * upstream) / d x, direction>.

    Args:
        function: one tensor to one tensor.
        x: NumPy array.
        upstream: array of the shape of the result.
        direction: array of the shape of `x`.
    """
    x, upstream, direction = (
        _tensor(a, keras.config.floatx()) for a in (x, upstream, direction)
    )

    def inner(x):
        return keras.ops.sum(function(x) * upstream)

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def outer(x):
            return keras.ops.sum(jax.grad(inner)(x) * direction)

        return _array(jax.grad(outer)(x))
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                value = inner(x)
            slope = keras.ops.sum(first.gradient(value, x) * direction)
        return _array(second.gradient(slope, x))
    import torch

    x = x.detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(inner(x), x, create_graph=True)
    return _array(torch.autograd.grad(keras.ops.sum(slope * direction), x)[0])


def _packed_like(inputs, flat):
    # By hand: keras.tree may take `None` for an empty structure.
    rest = iter(flat)
    return [
        [next(rest) for _ in i] if isinstance(i, list | tuple) else next(rest)
        for i in inputs
    ]


def _keywords(layer, training, mask):
    keywords = {}
    if "training" in inspect.signature(layer.call).parameters:
        keywords["training"] = training
    if mask is not None:
        keywords["mask"] = keras.ops.convert_to_tensor(mask)
    return keywords


def _is_float(tensor):
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def _tensor(array, dtype):
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return keras.ops.convert_to_tensor(array.astype(dtype), dtype)
    return keras.ops.convert_to_tensor(array)


def _array(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


def weight_name(layer, weight):
    """Name of a weight: `gamma`; of a sub-layer's `dense/kernel`."""
    return weight.path.removeprefix(f"{layer.path}/")


def _pairs(outputs, upstream):
    """(output, its upstream gradient) where there is one."""
    outputs = tree.flatten(outputs)
    return [
        (o, keras.ops.cast(u, o.dtype))
        for o, u in zip(outputs, upstream, strict=False)
        if u is not None
    ]


def _total(outputs, upstream):
    pairs = _pairs(outputs, upstream)
    # Nothing to differentiate: a tensor all the same, for the backends.
    total = 0.0 if pairs else 0.0 * keras.ops.sum(tree.flatten(outputs)[0])
    for output, factor in pairs:
        if tuple(output.shape) != tuple(factor.shape):
            raise ValueError(
                "`upstream` must have the shape of the output. Received: "
                f"upstream {factor.shape}, output {output.shape}."
            )
        total = total + keras.ops.sum(output * factor)
    return total


def _tensorflow(layer, arguments, differentiable, upstream, jit):
    import tensorflow as tf

    weights = [w.value for w in layer.trainable_variables]

    def step(differentiable):
        with tf.GradientTape() as tape:
            tape.watch(differentiable)
            args, keywords = arguments(differentiable)
            outputs = layer(*args, **keywords)
            total = _total(outputs, upstream)
        found = tape.gradient(
            total,
            [*differentiable, *weights],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return outputs, [tf.convert_to_tensor(g) for g in found]

    return (tf.function(step, jit_compile=True) if jit else step)(
        differentiable
    )


def _jax(layer, arguments, differentiable, upstream, jit):
    import jax

    def loss(weights, differentiable, state):
        args, keywords = arguments(differentiable)
        outputs, state = layer.stateless_call(weights, state, *args, **keywords)
        return _total(outputs, upstream), (outputs, state)

    def step(weights, differentiable, state):
        found, (outputs, state) = jax.grad(loss, (0, 1), has_aux=True)(
            weights, differentiable, state
        )
        return outputs, [*found[1], *found[0]], state

    outputs, found, state = (jax.jit(step) if jit else step)(
        [w.value for w in layer.trainable_variables],
        differentiable,
        [v.value for v in layer.non_trainable_variables],
    )
    for variable, value in zip(
        layer.non_trainable_variables, state, strict=True
    ):
        variable.assign(value)
    return outputs, found


def _torch(layer, arguments, differentiable, upstream, jit):
    import torch

    weights = [w.value for w in layer.trainable_variables]
    differentiable = [t.detach().requires_grad_() for t in differentiable]

    def forward(differentiable):
        args, keywords = arguments(differentiable)
        return layer(*args, **keywords)

    if jit:
        forward = torch.compile(forward, backend="aot_eager")
    outputs = forward(differentiable)
    wanted = [*differentiable, *weights]
    found = torch.autograd.grad(
        _total(outputs, upstream), wanted, allow_unused=True
    )
    return outputs, [
        torch.zeros_like(w) if g is None else g
        for w, g in zip(wanted, found, strict=True)
    ]
