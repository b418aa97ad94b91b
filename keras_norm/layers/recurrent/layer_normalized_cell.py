"""What layer-normalized LSTM and GRU cells share: where, and over what.

Every normalization in a cell is a layer of this package over vectors, and its
gain is that layer's `gamma`. Offsets of the gates would only be added to the
biases of the cell, which so are the offsets.
"""

from keras import ops

from keras_norm import errors
from keras_norm.core.recurrent import NormalizedCell
from keras_norm.layers.area.group_normalization import GroupNormalization
from keras_norm.layers.area.layer_normalization import LayerNormalization

PLACEMENTS = ("separate", "sum")


class LayerNormalizedCell(NormalizedCell):
    """Base of the cells; see `LayerNormalizedLSTM` for the arguments."""

    own: tuple = (
        "placement",
        "norm_per_gate",
        "epsilon",
        "gamma_initializer",
        "gamma_regularizer",
        "gamma_constraint",
    )

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
        super().__init__(units, *args, **kwargs)
        if placement not in PLACEMENTS:
            raise errors.unknown_name("placement", placement, list(PLACEMENTS))
        self.placement = placement
        self.norm_per_gate = norm_per_gate
        self.take(
            epsilon,
            gamma_initializer=gamma_initializer,
            gamma_regularizer=gamma_regularizer,
            gamma_constraint=gamma_constraint,
        )

    @property
    def separate(self):
        """Are W x and U h normalized before they are added?"""
        return self.placement == "separate"

    def normalization(self, name, gates=1, **options):
        """A normalization of this many gates, built."""
        together = gates == 1 or not self.norm_per_gate
        made = LayerNormalization if together else GroupNormalization
        layer = made(
            **({} if together else {"groups": gates}),
            **{"center": False, **options},
            epsilon=self.epsilon,
            gamma_initializer=self.gamma_initializer,
            gamma_regularizer=self.gamma_regularizer,
            gamma_constraint=self.gamma_constraint,
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, gates * self.units))
        return layer


def normalized(layer, x):
    """`x` normalized over its last axis, each vector by itself.

    Without Keras' `__call__`, whose bookkeeping would cost as much as the
    computation at every time step.
    """
    if len(x.shape) == 2:
        return layer.call(x)
    shape = ops.shape(x)
    return ops.reshape(layer.call(ops.reshape(x, (-1, shape[-1]))), shape)
