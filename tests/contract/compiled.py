"""Calls of several layers in one function that the backend compiles."""

import inspect

import keras

from contract.method import outputs


def compiled(methods, layers):
    """A function (inputs of each, mask) -> outputs of each, in training.

    The state of the layers moves. XLA compiles it on TensorFlow and JAX;
    PyTorch, whose compiler takes much longer, runs it as it is.
    """
    known = [inspect.signature(layer.call).parameters for layer in layers]

    def arguments(i, inputs, mask):
        keywords = {"training": True} if "training" in known[i] else {}
        if mask is not None and methods[i].mask_behaviour == "statistics":
            keywords["mask"] = mask
        return methods[i].given(inputs), keywords

    def step(inputs, mask):
        found = []
        for i, layer in enumerate(layers):
            given, keywords = arguments(i, inputs[i], mask)
            found.append(layer(given, **keywords))
        return found

    def pure(state, inputs, mask):
        found, moved = [], []
        for i, layer in enumerate(layers):
            given, keywords = arguments(i, inputs[i], mask)
            y, new = layer.stateless_call(*state[i], given, **keywords)
            found.append(y)
            moved.append(new)
        return found, moved

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        step = tf.function(step, jit_compile=True)
    elif backend == "jax":
        import jax

        # As for users, whatever the rest of the suite is compiled with.
        options = {"xla_backend_optimization_level": "2"}
        pure = jax.jit(pure, compiler_options=options)

    def run(inputs, mask=None):
        inputs = [[keras.ops.convert_to_tensor(a) for a in x] for x in inputs]
        if mask is not None:
            mask = keras.ops.convert_to_tensor(mask)
        if backend != "jax":
            return [outputs(y) for y in step(inputs, mask)]
        state = [
            (
                [v.value for v in layer.trainable_variables],
                [v.value for v in layer.non_trainable_variables],
            )
            for layer in layers
        ]
        found, moved = pure(state, inputs, mask)
        for layer, new in zip(layers, moved, strict=True):
            for variable, value in zip(
                layer.non_trainable_variables, new, strict=True
            ):
                variable.assign(value)
        return [outputs(y) for y in found]

    return run
