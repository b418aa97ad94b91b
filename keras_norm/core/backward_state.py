"""State that the backward pass moves: the mechanism.

A backward pass cannot assign: on JAX it is a pure function, and a compiled
step drops what it leaves behind. What it can do is return gradients. So the
state is a weight with `trainable=True` and Keras' `overwrite_with_gradient`;
it goes through a custom gradient as an argument, and its "gradient" is its new
value, which a Keras optimizer assigns. No learning rate, clipping or weight
decay touches it.

Others do touch it. A layer that is called twice, or a loop that calls
`backward()` twice, adds up two new values; optimizers of other libraries take
a step along them; JAX sends zeros where a layer took no part. So each layer
has one more such weight, the *witness*. Its new value is always -1, and what
happens to the state happens to it:

| witness | what happened | the state is |
|---|---|---|
| -1 | one new value, or the average over replicas | as it is |
| -k | k new values were added up | divided by k |
| above -1 | a step, an average with zeros, a maximum, zeros | 0, the start |

What cannot be repaired that way is refused: Keras accumulates such gradients
by their maximum, and some backends cannot average weights that have them.

Scaled losses need nothing. These backward passes are linear in the gradient
that arrives and the state together, and Keras does not unscale what it assigns:
state and gradient carry the same factor, and the results are those without it.
When the factor changes the state is off by that ratio until it has moved on.
"""

from typing import Any

import keras
from keras import ops

from keras_norm.core.projections import calling_optimizer

WITNESS = "backward_witness"
# Of -1, for averages over replicas that round.
TOLERANCE = 1e-4
_classes: dict[type, type] = {}


def add(layer, shapes: dict) -> None:
    """Create the backward state of a layer, zeros, and its witness.

    Args:
        layer: a `NormalizationLayer`.
        shapes: {name: shape}; the names become attributes.
    """
    half = layer.variable_dtype in ("float16", "bfloat16")
    for name, shape in {**shapes, WITNESS: ()}.items():
        start = -1.0 if name == WITNESS else 0.0
        weight = layer.add_weight(
            shape=shape,
            name=name,
            initializer=keras.initializers.Constant(start),
            dtype="float32" if half else None,
            trainable=True,
            autocast=False,
            # Each replica assigns its own new value.
            aggregation="mean",
        )
        # Keras reads `overwrite_with_gradient` off the variable: the only
        # place where it meets its optimizer.
        weight.__class__ = _overwritten(type(weight))
        setattr(layer, name, weight)


def tensors(layer, names: tuple, dtype) -> list:
    """The state and the witness as arguments of a custom gradient."""
    # A product: never the variable itself, which PyTorch would lose.
    weights = [getattr(layer, name) for name in (*names, WITNESS)]
    return [ops.multiply(ops.cast(w, dtype), 1) for w in weights]


def without(shapes: dict, dtype) -> list:
    """In the place of `tensors`: a state that is never kept."""
    return [ops.zeros(s, dtype) for s in shapes.values()] + [
        ops.zeros((), dtype)
    ]


def usable(witness):
    """Is the state what backward passes have made it? A boolean tensor."""
    return witness <= TOLERANCE - 1.0


def held(state, witness):
    """The state as the backward pass is to use it."""
    passes = ops.maximum(-witness, ops.ones_like(witness))
    return ops.where(usable(witness), state / passes, ops.zeros_like(state))


def witnessed(witness):
    """The "gradient" of the witness."""
    return -ops.ones_like(witness)


def _overwritten(cls: type) -> type:
    """The class of a variable that is overwritten with its gradient."""
    if cls not in _classes:

        def overwrite_with_gradient(self):
            optimizer = calling_optimizer()
            if optimizer is not None:
                check_optimizer(optimizer, self)
            return True

        _classes[cls] = type(
            "BackwardState",
            (cls,),
            {"overwrite_with_gradient": property(overwrite_with_gradient)},
        )
    return _classes[cls]


def check_optimizer(optimizer: Any, variable) -> None:
    """Refuse what would leave a wrong state behind."""
    steps = optimizer.gradient_accumulation_steps
    if steps:
        raise ValueError(
            f"{variable.path} is state that the backward pass computes, and "
            "Keras would accumulate it by its maximum. Received: "
            f"gradient_accumulation_steps={steps}. Accumulate no gradients "
            "with this layer; larger batches, or another normalization."
        )
    if optimizer.use_ema:
        raise ValueError(
            f"{variable.path} is state that the backward pass computes, of "
            "which Keras keeps no average. Received: use_ema=True. Average the "
            "weights by `keras.callbacks` of your own, or not at all."
        )
