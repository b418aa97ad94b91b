"""Layer-normalized LSTM.

Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450
"""

import keras

from keras_norm.core.recurrent import NormalizedRecurrentLayer
from keras_norm.layers.recurrent.layer_normalized_lstm_cell import (
    LayerNormalizedLSTMCell,
)


@keras.saving.register_keras_serializable("keras_norm")
class LayerNormalizedLSTM(NormalizedRecurrentLayer, keras.layers.LSTM):
    """(i, f, g, o) = LN(W x) + LN(U h) + b; c = s(f) c + s(i) tanh(g).

    h = s(o) tanh(LN(c)), with LN(z) = gamma (z - mean) / sqrt(variance +
    epsilon) over the features of a sample at a time step, and s the sigmoid.
    Nothing depends on other samples or time steps.

    Area: layer. Operation: standardize. Recovery: affine. Statistics: the
    input itself.

    Args:
        units: size of the state.
        *args: further arguments of `keras.layers.LSTM`, in its order.
        placement: "separate" as above: all four gates of W x together, and of
            U h. "sum": LN(W x + U h) + b.
        norm_per_gate: one mean and variance for each gate, not for all four.
        normalize_carry: hand LN(c) on to the next step, not c.
        epsilon: added to the variance, inside the root.
        gamma_initializer: initializer of the gains, or a number.
        beta_initializer: the same of the offset of the cell state. Those of
            the gates are the bias.
        gamma_regularizer: regularizer of the gains.
        beta_regularizer: regularizer of the offset of the cell state.
        gamma_constraint: constraint of the gains.
        beta_constraint: constraint of the offset of the cell state.
        **kwargs: keywords of `keras.layers.LSTM`.

    Call arguments:
        sequences: (batch, time, features).
        initial_state: [h, c], each (batch, units); None: zeros.
        mask: (batch, time); where False, the states stay as they are.
        training: True drops out, where that is asked for.

    Raises:
        ValueError: unknown `placement`; `use_cudnn=True`; arguments that Keras
            refuses.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LayerNormalizedLSTM(8, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 8)

    Weights of a plain LSTM are its first:

    >>> plain = keras.layers.LSTM(8)
    >>> plain.build((None, 5, 3))
    >>> layer.set_weights(plain.get_weights())

    Reference:

    - Ba et al., Layer Normalization, 2016, https://arxiv.org/abs/1607.06450

    Note:
        Published programs differ: the paper's is the default here (PyTorch's
        benchmark cell is the same); TensorFlow Addons' adds
        `normalize_carry=True, epsilon=1e-3`; that of TensorFlow 1's contrib
        is `placement="sum", norm_per_gate=True, normalize_carry=True,
        epsilon=1e-12`. The offsets that some of them learn for W x and U h
        only repeat the bias: add them to it.
    """

    plain = keras.layers.LSTM
    plain_cell = keras.layers.LSTMCell
    cell_class = LayerNormalizedLSTMCell

    def __init__(
        self,
        units,
        *args,
        placement="separate",
        norm_per_gate=False,
        normalize_carry=False,
        epsilon=1e-5,
        gamma_initializer="ones",
        beta_initializer="zeros",
        gamma_regularizer=None,
        beta_regularizer=None,
        gamma_constraint=None,
        beta_constraint=None,
        **kwargs,
    ):
        own = {
            "placement": placement,
            "norm_per_gate": norm_per_gate,
            "normalize_carry": normalize_carry,
            "epsilon": epsilon,
            "gamma_initializer": gamma_initializer,
            "beta_initializer": beta_initializer,
            "gamma_regularizer": gamma_regularizer,
            "beta_regularizer": beta_regularizer,
            "gamma_constraint": gamma_constraint,
            "beta_constraint": beta_constraint,
        }
        super().__init__(own, units, *args, **kwargs)
