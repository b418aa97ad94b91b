"""Statistics of other batches, layers or parts, brought up to date."""

import keras

import keras_norm as kn
from golden.adapters.area import MOVING
from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan

# Name of a layer inside another one.
INNER = "normalization"


def kalman(row):
    """The rows have the statistics of one part of the batch."""
    if row.config.get("split_num", 1) != 1:
        raise NotImplementedError(f"{row}: parts of the batch")
    arguments = {"keep": row.config["p_rate"], "epsilon": row.epsilon}
    outputs = ("y", "out_mean", "out_var")
    return Plan({**arguments, **momentum(row)}, outputs=outputs)


def cross_iteration(row):
    """y = CBN(conv(x, W)), the kernel W an input of each call."""
    config = row.config
    if config.get("rho", 1.0) != 1.0:
        raise NotImplementedError(f"{row}: a share of the compensation")
    options = {
        "strides": config["conv_stride"],
        "padding": "same" if config["conv_padding"] else "valid",
    }

    class Convolved(keras.layers.Layer):
        def __init__(self, axis, **keywords):
            super().__init__(**keywords)
            self.axis, self.autocast = axis, False
            self.normalization = kn.layers.CrossIterationBatchNormalization(
                window_size=config["buffer_num"] + 1,
                burn_in=config["burnin"],
                axis=axis,
                epsilon=row.epsilon,
                epsilon_placement="inside" if config["out_p"] else "outside",
                name=INNER,
                **momentum(row),
                **keywords,
            )

        def kernel(self, w):
            """The row's OIHW, its second axis moved with that of the data."""
            w = keras.ops.moveaxis(w, 0, -1)
            return w if self.axis == -1 else keras.ops.moveaxis(w, 0, 2)

        def build(self, x_shape, w_shape):
            outputs, spatial = w_shape[0], list(x_shape)
            spatial[self.axis] = outputs
            kernel = keras.KerasTensor(w_shape, "float32")
            kernel = self.kernel(kernel).shape
            self.normalization.build(spatial, x_shape, kernel)
            self.built = True

        def call(self, x, w, training=None):
            kernel = self.kernel(w)
            first = self.axis == 1
            data = keras.ops.moveaxis(x, 1, -1) if first else x
            h = keras.ops.conv(
                data, kernel, data_format="channels_last", **options
            )
            h = keras.ops.moveaxis(h, -1, 1) if first else h
            return self.normalization(
                h, training=training, layer_input=x, kernel=kernel, **options
            )

    def make(axis, **keywords):
        return Convolved(axis, **keywords)

    links = {"gamma": "gamma", "beta": "beta", **MOVING}
    links = {role: Link(f"{INNER}/{name}") for role, name in links.items()}
    return Plan(links=links, affine=False, make=make)


ADAPTERS = {
    "KalmanNormalization": kalman,
    "CrossIterationBatchNormalization": cross_iteration,
}
