"""Forward and training step of a layer as programs of each backend.

A program is a function without arguments that returns when its results are
there, a call in training unless said otherwise. The step returns the output,
which the next layer needs, as well as the gradients with respect to the input,
gamma and beta for a given gradient `dy` of the output: those of sum(y * dy).
Batch normalization follows its moving statistics in both.
"""

import collections
import gc
import inspect

import numpy as np

# forward, step: the programs. results: (y, dx, dgamma, ...) of one step as
# NumPy arrays. kept: what the backward pass needs, in units of the input's
# size, None if it is not known.
Programs = collections.namedtuple("Programs", "forward step results kept")


def build(layer, x, training):
    """Builds `layer`; returns the keywords of a call."""
    layer.build(x.shape)
    # Not all of Keras' layers have the argument.
    parameters = inspect.signature(layer.call).parameters
    return {"training": training} if "training" in parameters else {}


def of_tensorflow(layer, x, dy, training=True):
    """A Keras layer under XLA."""
    import tensorflow as tf

    keywords = build(layer, x, training)
    x, dy = tf.constant(x), tf.constant(dy)
    weights = [v.value for v in layer.trainable_variables]

    @tf.function(jit_compile=True)
    def forward(x):
        return layer(x, **keywords)

    @tf.function(jit_compile=True)
    def step(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **keywords)
        return [y, *tape.gradient(y, [x, *weights], dy)]

    def results():
        return [t.numpy() for t in step(x, dy)]

    # .numpy() waits, and copies nothing on the CPU.
    return Programs(
        lambda: forward(x).numpy(),
        lambda: step(x, dy)[-1].numpy(),
        results,
        lambda: None,
    )


def of_jax(layer, x, dy, training=True):
    """A Keras layer under jit, its state going in and out as in `fit`."""
    import jax

    keywords = build(layer, x, training)
    x, dy = jax.numpy.asarray(x), jax.numpy.asarray(dy)
    weights = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]

    @jax.jit
    def forward(weights, state, x):
        return layer.stateless_call(weights, state, x, **keywords)

    @jax.jit
    def step(weights, state, x, dy):
        y, backward, state = jax.vjp(
            lambda w, x: layer.stateless_call(w, state, x, **keywords),
            weights,
            x,
            has_aux=True,
        )
        dweights, dx = backward(dy)
        return [y, dx, *dweights], state

    def run_forward():
        nonlocal state
        y, state = forward(weights, state, x)
        jax.block_until_ready((y, state))

    def run_step():
        nonlocal state
        results, state = step(weights, state, x, dy)
        jax.block_until_ready((results, state))

    def results():
        return [np.asarray(t) for t in step(weights, state, x, dy)[0]]

    @jax.jit
    def backward_of(weights, state, x):
        return jax.vjp(
            lambda w, x: layer.stateless_call(w, state, x, **keywords)[0],
            weights,
            x,
        )

    def kept():
        # The residuals are the leaves of the function that jax.vjp returns.
        _, backward = backward_of(weights, state, x)
        sizes = {
            leaf.unsafe_buffer_pointer(): leaf.nbytes
            for leaf in jax.tree.leaves(backward)
            if isinstance(leaf, jax.Array)
        }
        return sum(sizes.values()) / x.nbytes

    return Programs(run_forward, run_step, results, kept)


def of_torch(layer, x, dy, compiled=False, training=True):
    """A Keras layer on PyTorch."""
    keywords = build(layer, x, training)
    weights = [v.value for v in layer.trainable_variables]

    def call(x):
        return layer(x, **keywords)

    return of_module(call, weights, x, dy, compiled)


def of_torch_nn(layer, x, dy, channels_first):
    """A layer of torch.nn, eager, on data laid out as it wants them."""

    def results():
        y, dx, *dweights = programs.results()
        if channels_first:
            y, dx = np.moveaxis(y, 1, -1), np.moveaxis(dx, 1, -1)
        return [y, dx, *dweights]

    if channels_first:
        x, dy = (np.ascontiguousarray(np.moveaxis(t, -1, 1)) for t in (x, dy))
    programs = of_module(layer, list(layer.parameters()), x, dy)
    return programs._replace(results=results)


def of_module(call, weights, x, dy, compiled=False):
    """A function of PyTorch."""
    import torch

    if compiled:
        call = torch.compile(call)
    x = torch.tensor(x, requires_grad=True)
    dy = torch.tensor(dy)

    def step():
        y = call(x)
        return [y, *torch.autograd.grad(y, [x, *weights], dy)]

    def results():
        return [t.detach().numpy() for t in step()]

    def kept():
        return kept_by_torch(lambda: call(x), [x, *weights], compiled)

    return Programs(lambda: call(x), step, results, kept)


def kept_by_torch(forward, inputs, compiled):
    """Returns the bytes kept for the backward pass over those of inputs[0]."""
    import torch

    sizes = {}

    def count(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    def tensors():
        # Not isinstance, which would look into the lazy modules around.
        kinds = (torch.Tensor, torch.nn.Parameter)
        return [t for t in gc.get_objects() if type(t) in kinds]

    gc.collect()
    before = {id(t) for t in tensors()}
    if compiled:
        # Hooks would change what is compiled.
        y = forward()
        count_saved(y.grad_fn, count)
    else:
        hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda t: t)
        with hooks:
            y = forward()
    # The hooks do not see what the closures of custom gradients hold.
    gc.collect()
    for tensor in tensors():
        if id(tensor) not in before and tensor is not y:
            count(tensor)
    # Weights are there anyway. The input counts: without the backward pass it
    # could go.
    for weight in inputs[1:]:
        sizes.pop(weight.untyped_storage().data_ptr(), None)
    return sum(sizes.values()) / inputs[0].nbytes


def count_saved(node, count):
    """Counts what a graph of PyTorch saved; for compiled functions."""
    import torch

    seen, nodes = set(), [node]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        saved = list(getattr(node, "saved_tensors", ()))
        for name in dir(node):
            if name.startswith("_saved_"):
                saved.append(getattr(node, name))
        for tensor in saved:
            if isinstance(tensor, torch.Tensor):
                count(tensor)
