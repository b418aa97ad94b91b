"""Layer-normalized GRU cell.

Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450
"""

import keras
from keras import ops

from keras_norm.layers.recurrent.layer_normalized_cell import (
    LayerNormalizedCell,
)
from keras_norm.layers.recurrent.layer_normalized_cell import normalized


@keras.saving.register_keras_serializable("keras_norm")
class LayerNormalizedGRUCell(LayerNormalizedCell, keras.layers.GRUCell):
    """(z, r) = s(LN(W x) + LN(U h) + b); n = tanh(LN(V x) + r LN(T h) + b).

    h = z h + (1 - z) n: one step of `LayerNormalizedGRU`, for
    `keras.layers.RNN` and stacks of cells.

    Area: layer. Operation: standardize. Recovery: affine. Statistics: the
    input itself.

    Args:
        units: size of the state.
        *args: further arguments of `keras.layers.GRUCell`, in its order.
        placement: "separate" as above, or "sum": (z, r) = s(LN(W x + U h) + b)
            and n = tanh(LN(V x + r T h) + b).
        norm_per_gate: one mean and variance for each of z and r, not for both.
        epsilon: added to the variance, inside the root.
        gamma_initializer: initializer of the gains, or a number.
        gamma_regularizer: regularizer of the gains.
        gamma_constraint: constraint of the gains.
        **kwargs: keywords of `keras.layers.GRUCell`.

    Call arguments:
        inputs: (batch, features).
        states: h, (batch, units), or a list of it.
        training: True drops out, where that is asked for.

    Raises:
        ValueError: unknown `placement`; arguments that Keras refuses.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = keras.layers.RNN(kn.layers.LayerNormalizedGRUCell(8))
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 8)

    Reference:

    - Ba et al., Layer Normalization, 2016, https://arxiv.org/abs/1607.06450
    """

    gates = 3

    def build(self, input_shape):
        """Create Keras' weights, then gains."""
        super().build(input_shape)
        if self.separate:
            self.input_gates_norm = self.normalization("input_gates_norm", 2)
            self.input_candidate_norm = self.normalization(
                "input_candidate_norm"
            )
        prefix = "recurrent_" if self.separate else ""
        self.gates_norm = self.normalization(f"{prefix}gates_norm", 2)
        self.candidate_norm = self.normalization(f"{prefix}candidate_norm")

    def _bias(self, which):
        """The bias of the inputs (0) or of the states (1); 0 if there is none.

        Keras has the second only where the reset comes after the product.
        """
        if not self.use_bias or (which and not self.reset_after):
            return ops.zeros((3 * self.units,), self.compute_dtype)
        bias = self.bias[which] if self.reset_after else self.bias
        return ops.cast(bias, self.compute_dtype)

    def project(self, inputs, training=False):
        """LN(W x) + b of gates and candidate, or W x."""
        z = self.input_products(inputs, training)
        if not self.separate:
            return z
        gates = normalized(self.input_gates_norm, z[..., : 2 * self.units])
        candidate = z[..., 2 * self.units :]
        candidate = normalized(self.input_candidate_norm, candidate)
        z = ops.concatenate([gates, candidate], axis=-1)
        return z + self._bias(0)

    def advance(self, projected, states, training=False):
        """One step."""
        (h,), n = states, 2 * self.units
        bias = self._bias(1)
        blocks = slice(None) if self.reset_after else slice(0, 2)
        products = self.recurrent_products(h, training, blocks)
        gates = products[:, :n]
        if self.separate:
            gates = projected[:, :n] + normalized(self.gates_norm, gates)
        else:
            gates = normalized(self.gates_norm, projected[:, :n] + gates)
            gates = gates + self._bias(0)[:n]
        gates = self.recurrent_activation(gates + bias[:n])
        z, r = ops.split(gates, 2, axis=-1)

        if self.reset_after:
            candidate = products[:, n:]
        else:
            candidate = self.recurrent_products(r * h, training, slice(2, 3))
            # What the reset gate is to act on, it has acted on.
            r = ops.ones_like(r)
        if self.separate:
            candidate = normalized(self.candidate_norm, candidate) + bias[n:]
            candidate = projected[:, n:] + r * candidate
        else:
            candidate = projected[:, n:] + r * candidate
            candidate = normalized(self.candidate_norm, candidate)
            candidate = candidate + self._bias(0)[n:] + r * bias[n:]
        h = z * h + (1 - z) * self.activation(candidate)
        return h, [h]
