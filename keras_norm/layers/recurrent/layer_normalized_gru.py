"""Layer-normalized GRU.

Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450
"""

import keras

from keras_norm.core.recurrent import NormalizedRecurrentLayer
from keras_norm.layers.recurrent.layer_normalized_gru_cell import (
    LayerNormalizedGRUCell,
)


@keras.saving.register_keras_serializable("keras_norm")
class LayerNormalizedGRU(NormalizedRecurrentLayer, keras.layers.GRU):
    """(z, r) = s(LN(W x) + LN(U h) + b); n = tanh(LN(V x) + r LN(T h) + b).

    h = z h + (1 - z) n, with LN(y) = gamma (y - mean) / sqrt(variance +
    epsilon) over the features of a sample at a time step, and s the sigmoid.
    Nothing depends on other samples or time steps.

    Area: layer. Operation: standardize. Recovery: affine. Statistics: the
    input itself.

    Args:
        units: size of the state.
        *args: further arguments of `keras.layers.GRU`, in its order. Its
            second bias, that of T h, is added to the normalized: r (LN(T h)
            + b'), and r b' where the sum is normalized. With
            `reset_after=False` there is none, and r acts before the product:
            LN(T (r h)).
        placement: "separate" as above: both gates together, the candidate by
            itself. "sum": (z, r) = s(LN(W x + U h) + b) and
            n = tanh(LN(V x + r T h) + b).
        norm_per_gate: one mean and variance for each of z and r, not for both.
        epsilon: added to the variance, inside the root.
        gamma_initializer: initializer of the gains, or a number. The offsets
            are the bias.
        gamma_regularizer: regularizer of the gains.
        gamma_constraint: constraint of the gains.
        **kwargs: keywords of `keras.layers.GRU`.

    Call arguments:
        sequences: (batch, time, features).
        initial_state: (batch, units); None: zeros.
        mask: (batch, time); where False, the state stays as it is.
        training: True drops out, where that is asked for.

    Raises:
        ValueError: unknown `placement`; `use_cudnn=True`; arguments that Keras
            refuses.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LayerNormalizedGRU(8, return_sequences=True)
    >>> tuple(layer(np.ones((2, 5, 3), "float32")).shape)
    (2, 5, 8)

    Reference:

    - Ba et al., Layer Normalization, 2016, https://arxiv.org/abs/1607.06450

    Note:
        The paper's GRU is the default. The placement "sum" is that of LSTM
        programs carried over: the candidate is normalized with the reset gate
        already in it.
    """

    plain = keras.layers.GRU
    plain_cell = keras.layers.GRUCell
    cell_class = LayerNormalizedGRUCell

    def __init__(
        self,
        units,
        *args,
        placement="separate",
        norm_per_gate=False,
        epsilon=1e-5,
        gamma_initializer="ones",
        gamma_regularizer=None,
        gamma_constraint=None,
        **kwargs,
    ):
        own = {
            "placement": placement,
            "norm_per_gate": norm_per_gate,
            "epsilon": epsilon,
            "gamma_initializer": gamma_initializer,
            "gamma_regularizer": gamma_regularizer,
            "gamma_constraint": gamma_constraint,
        }
        super().__init__(own, units, *args, **kwargs)
