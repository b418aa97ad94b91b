"""Layer-normalized LSTM cell.

Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450
"""

import keras
from keras import ops

from keras_norm.layers.recurrent.layer_normalized_cell import (
    LayerNormalizedCell,
)
from keras_norm.layers.recurrent.layer_normalized_cell import normalized


@keras.saving.register_keras_serializable("keras_norm")
class LayerNormalizedLSTMCell(LayerNormalizedCell, keras.layers.LSTMCell):
    """(i, f, g, o) = LN(W x) + LN(U h) + b; c = s(f) c + s(i) tanh(g).

    h = s(o) tanh(LN(c)): one step of `LayerNormalizedLSTM`, for
    `keras.layers.RNN` and stacks of cells.

    Area: layer. Operation: standardize. Recovery: affine. Statistics: the
    input itself.

    Args:
        units: size of the state.
        *args: further arguments of `keras.layers.LSTMCell`, in its order.
        placement: "separate" as above, or "sum": LN(W x + U h) + b.
        norm_per_gate: one mean and variance for each gate, not for all four.
        normalize_carry: hand LN(c) on to the next step, not c.
        epsilon: added to the variance, inside the root.
        gamma_initializer: initializer of the gains, or a number.
        beta_initializer: the same of the offset of the cell state.
        gamma_regularizer: regularizer of the gains.
        beta_regularizer: regularizer of the offset of the cell state.
        gamma_constraint: constraint of the gains.
        beta_constraint: constraint of the offset of the cell state.
        **kwargs: keywords of `keras.layers.LSTMCell`.

    Call arguments:
        inputs: (batch, features).
        states: [h, c], each (batch, units).
        training: True drops out, where that is asked for.

    Raises:
        ValueError: unknown `placement`; arguments that Keras refuses.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> cells = [kn.layers.LayerNormalizedLSTMCell(8) for _ in range(2)]
    >>> layer = keras.layers.RNN(cells)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 8)

    Reference:

    - Ba et al., Layer Normalization, 2016, https://arxiv.org/abs/1607.06450
    """

    gates = 4
    own = (
        *LayerNormalizedCell.own,
        "normalize_carry",
        "beta_initializer",
        "beta_regularizer",
        "beta_constraint",
    )

    def __init__(
        self,
        units,
        *args,
        normalize_carry=False,
        beta_initializer="zeros",
        beta_regularizer=None,
        beta_constraint=None,
        **kwargs,
    ):
        super().__init__(units, *args, **kwargs)
        self.normalize_carry = normalize_carry
        self.take(
            beta_initializer=beta_initializer,
            beta_regularizer=beta_regularizer,
            beta_constraint=beta_constraint,
        )

    def build(self, input_shape):
        """Create Keras' weights, then gains and the state's offset."""
        super().build(input_shape)
        if self.separate:
            self.input_norm = self.normalization("input_norm", self.gates)
        name = "recurrent_norm" if self.separate else "gates_norm"
        self.gates_norm = self.normalization(name, self.gates)
        self.state_norm = self.normalization(
            "state_norm",
            center=True,
            beta_initializer=self.beta_initializer,
            beta_regularizer=self.beta_regularizer,
            beta_constraint=self.beta_constraint,
        )

    def project(self, inputs, training=False):
        """LN(W x) + b, or W x."""
        z = self.input_products(inputs, training)
        if not self.separate:
            return z
        return self._with_bias(normalized(self.input_norm, z))

    def _with_bias(self, z):
        return z + ops.cast(self.bias, z.dtype) if self.use_bias else z

    def advance(self, projected, states, training=False):
        """One step."""
        h, c = states
        z = self.recurrent_products(h, training)
        if self.separate:
            z = projected + normalized(self.gates_norm, z)
        else:
            z = self._with_bias(normalized(self.gates_norm, projected + z))
        i, f, g, o = ops.split(z, 4, axis=-1)
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(g)
        shown = normalized(self.state_norm, c)
        h = gate(o) * self.activation(shown)
        return h, [h, shown if self.normalize_carry else c]
