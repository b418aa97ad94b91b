"""Recurrent layers and cells that normalize inside their time loop.

They are Keras' LSTM and GRU with another cell, which keeps Keras' weights
under their names and in their order, and adds its own. What does not depend on
the states, the products with the inputs, is computed for all time steps
together, before the loop.
"""

import inspect
from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core import time_loop
from keras_norm.core.layer import check_epsilon

# Both bases are for classes that are Keras' own as well.
_BesideKeras: Any = object


class NormalizedCell(_BesideKeras):
    """Base of cells; the class beside it is Keras' cell.

    A subclass says what happens to the products with the inputs (`project`)
    and what one step does with them (`advance`).
    """

    # Gates of the cell: how many blocks its kernels have.
    gates: int
    # The constructor arguments that Keras' cell does not have.
    own: tuple = ()

    def take(self, epsilon=None, **options):
        """Keep the arguments of the normalizations: gamma_..., beta_..."""
        if epsilon is not None:
            self.epsilon = check_epsilon(epsilon)
        for name, value in options.items():
            number = isinstance(value, (int, float))
            if name.endswith("initializer"):
                get = (
                    keras.initializers.Constant
                    if number
                    else keras.initializers.get
                )
            elif name.endswith("regularizer"):
                get = keras.regularizers.get
            else:
                get = keras.constraints.get
            setattr(self, name, get(value))

    def get_config(self):
        """All constructor arguments."""
        own = {
            n: configuration.serialize(n, getattr(self, n)) for n in self.own
        }
        return {**super().get_config(), **own}

    def project(self, inputs, training=False):
        """What the inputs contribute to the gates, (..., gates * units)."""
        raise NotImplementedError

    def advance(self, projected, states, training=False):
        """One step: (output, new states)."""
        raise NotImplementedError

    def call(self, inputs, states, training=False):
        """One step from the inputs; see the class."""
        nested = isinstance(states, (list, tuple))
        states = list(states) if nested else [states]
        projected = self.project(inputs, training)
        output, states = self.advance(projected, states, training)
        return output, states if nested else states[0]

    def input_products(self, x, training):
        """Inputs times kernel, with dropout; of a step or of all of them."""
        mask = None
        if training and 0 < self.dropout < 1:
            mask = self.get_dropout_mask(x if len(x.shape) == 2 else x[:, 0])
        return self._products(x, ops.convert_to_tensor(self.kernel), mask)

    def recurrent_products(self, h, training, blocks=slice(None)):
        """States times the recurrent kernel, or times some of its blocks."""
        mask = None
        if training and 0 < self.recurrent_dropout < 1:
            mask = self.get_recurrent_dropout_mask(h)
        kernel = ops.convert_to_tensor(self.recurrent_kernel)
        start, stop, _ = blocks.indices(self.gates)
        if (start, stop) != (0, self.gates):
            kernel = kernel[:, start * self.units : stop * self.units]
            mask = mask[blocks] if isinstance(mask, list) else mask
        return self._products(h, kernel, mask)

    def _products(self, x, kernel, mask):
        # A bare `stateless_call` casts nothing by itself.
        x = ops.cast(x, self.compute_dtype)
        kernel = ops.cast(kernel, self.compute_dtype)

        def dropped(m):
            # The same at every time step.
            return x * (m if len(x.shape) == 2 else ops.expand_dims(m, 1))

        if mask is None:
            return ops.matmul(x, kernel)
        if not isinstance(mask, list):
            return ops.matmul(dropped(mask), kernel)
        # One for each gate, as Keras has it.
        parts = ops.split(kernel, len(mask), axis=-1)
        products = [
            ops.matmul(dropped(m), part)
            for m, part in zip(mask, parts, strict=True)
        ]
        return ops.concatenate(products, axis=-1)

    # Weights of Keras' layer --------------------------------------------------

    @property
    def plain_weights(self):
        """Those that Keras' cell has too."""
        found = [self.kernel, self.recurrent_kernel]
        return found if self.bias is None else [*found, self.bias]


class NormalizedRecurrentLayer(_BesideKeras):
    """Base of layers; the class beside it is Keras' LSTM or GRU.

    Args:
        own: arguments of the cell that Keras' does not have.
        *args: of Keras' layer.
        **kwargs: of Keras' layer.
    """

    # Keras' layer, its cell, and the cell in its place.
    plain: type
    plain_cell: type
    cell_class: type

    def __init__(self, own, *args, **kwargs):
        signature = _signature(self.plain)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        del given["self"]
        given |= given.pop("kwargs")
        if given.pop("use_cudnn") not in ("auto", False):
            raise errors.received(
                '`use_cudnn` must be "auto" or False: there is no such kernel '
                "for a layer that normalizes inside its time loop.",
                use_cudnn=True,
            )
        # Not by the constructor of Keras' layer, whose cell would stay a part
        # of the layer, never to be built.
        known = _signature(self.plain_cell).parameters
        of_cell = {n: given.pop(n) for n in list(given) if n in known}
        shared = {n: given[n] for n in ("dtype", "trainable") if n in given}
        of_cell["implementation"] = given.pop("implementation", 2)
        name = f"{self.plain.__name__.lower()}_cell"
        cell = self.cell_class(**of_cell, **shared, **own, name=name)
        keras.layers.RNN.__init__(self, cell, **given)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        # Keras' Bidirectional would hand a plain layer's weights to a fused
        # kernel otherwise.
        self.use_cudnn = False
        for name in cell.own:
            setattr(self, name, getattr(cell, name))

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Project all inputs, then run over time."""
        if isinstance(mask, (list, tuple)):
            mask = mask[0]

        def step(projected, states):
            return self.cell.advance(projected, list(states), training)

        return time_loop.run(
            step,
            self.cell.project(sequences, training),
            initial_state,
            mask,
            self,
        )

    def get_config(self):
        """All constructor arguments."""
        cell = self.cell.get_config()
        return {**super().get_config(), **{n: cell[n] for n in self.cell.own}}

    def set_weights(self, weights):
        """Take all weights, or those of Keras' layer, which come first.

        Args:
            weights: arrays as of `get_weights()` of this layer, or of
                `keras.layers.LSTM` or `GRU` of the same shapes: what only
                this layer has then stays as it is.
        """
        plain = self.cell.plain_weights if self.built else []
        if len(weights) == len(plain) != len(self.weights):
            shapes = [tuple(w.shape) for w in weights]
            wanted = [tuple(w.shape) for w in plain]
            if shapes != wanted:
                raise errors.received(
                    "`weights` must have the shapes of this layer's weights.",
                    shapes=shapes,
                    expected=wanted,
                )
            for variable, value in zip(plain, weights, strict=True):
                variable.assign(value)
        else:
            super().set_weights(weights)


def _signature(cls: Any):
    return inspect.signature(cls.__init__)
