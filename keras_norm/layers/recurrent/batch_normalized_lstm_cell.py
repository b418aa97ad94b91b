"""The cell of `BatchNormalizedLSTM`: its weights, and the step they make."""

import keras
from keras import ops

from keras_norm.core.recurrent import NormalizedCell

# What is normalized: products with the inputs, products with the states, and
# the cell state.
SITES = ("input", "recurrent", "state")


class BatchNormalizedLSTMCell(NormalizedCell, keras.layers.LSTMCell):
    """Weights of the cell; the layer brings the time steps.

    See `BatchNormalizedLSTM` for the arguments.
    """

    # Of how many there are moving averages: the layer knows when it is built.
    time_steps: int

    gates = 4
    own = (
        "gamma_initializer",
        "beta_initializer",
        "gamma_regularizer",
        "beta_regularizer",
        "gamma_constraint",
        "beta_constraint",
    )

    def __init__(
        self,
        units,
        *args,
        gamma_initializer,
        beta_initializer="zeros",
        gamma_regularizer=None,
        beta_regularizer=None,
        gamma_constraint=None,
        beta_constraint=None,
        **kwargs,
    ):
        super().__init__(units, *args, **kwargs)
        self.take(
            gamma_initializer=gamma_initializer,
            beta_initializer=beta_initializer,
            gamma_regularizer=gamma_regularizer,
            beta_regularizer=beta_regularizer,
            gamma_constraint=gamma_constraint,
            beta_constraint=beta_constraint,
        )

    def features(self, site):
        """How many numbers are normalized at a site."""
        return self.units if site == "state" else 4 * self.units

    def build(self, input_shape):
        """Create Keras' weights, gains, the state's offset, then averages."""
        super().build(input_shape)
        for site in SITES:
            self._add_affine(f"{site}_gamma", self.features(site))
        self._add_affine("state_beta", self.units)
        for site in SITES:
            self._add_moving(f"{site}_moving_mean", site, "zeros")
            self._add_moving(f"{site}_moving_variance", site, "ones")

    def _add_affine(self, name, size):
        kind = name.split("_")[1]
        weight = self.add_weight(
            name=name,
            shape=(size,),
            initializer=getattr(self, f"{kind}_initializer"),
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
            autocast=False,
        )
        setattr(self, name, weight)

    def _add_moving(self, name, site, initializer):
        half = self.variable_dtype in ("float16", "bfloat16")
        weight = self.add_weight(
            name=name,
            shape=(self.time_steps, self.features(site)),
            initializer=initializer,
            dtype="float32" if half else None,
            trainable=False,
            autocast=False,
        )
        setattr(self, name, weight)

    def moving(self, site) -> list:
        """[mean, variance] of a site, each (time steps, features)."""
        kinds = ("mean", "variance")
        return [getattr(self, f"{site}_moving_{k}") for k in kinds]

    def affine(self, dtype):
        """{site: (gain, offset)}, each (1, features).

        The bias of the gates is the offset of what comes from the inputs.
        """
        zeros = ops.zeros((4 * self.units,), dtype)
        offsets = {
            "input": self.bias if self.use_bias else zeros,
            "recurrent": zeros,
            "state": self.state_beta,
        }
        return {
            site: tuple(
                ops.expand_dims(ops.cast(ops.convert_to_tensor(t), dtype), 0)
                for t in (getattr(self, f"{site}_gamma"), offset)
            )
            for site, offset in offsets.items()
        }

    def advance(self, projected, states, training, normalize):
        """One step; `normalize(site, x)` is in the dtype of `projected`."""
        h, c = states
        products = self.recurrent_products(h, training)
        products = ops.cast(products, projected.dtype)
        z = projected + normalize("recurrent", products)
        i, f, g, o = ops.split(z, 4, axis=-1)
        gate = self.recurrent_activation
        c = gate(f) * ops.cast(c, z.dtype) + gate(i) * self.activation(g)
        h = gate(o) * self.activation(normalize("state", c))
        return h, c

    def call(self, inputs, states, training=False):
        """Refused."""
        raise NotImplementedError(
            "The cell of a BatchNormalizedLSTM works within its layer only, "
            "which knows the time step."
        )
