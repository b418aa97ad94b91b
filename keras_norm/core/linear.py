"""Layers with the kernel and bias of Keras' Dense and convolutions.

Their options, written once. Kernel and bias come first among the weights and
have Keras' names, order and shapes, so that those of a Keras layer load.
"""

from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.areas import Area
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import positive


def as_one_part(x, mask=None, synchronized=False):
    """All leading axes as the positions of one instance.

    What is measured are statistics of the last axis; a table with a row for
    each sample is not needed.

    Args:
        x: (..., C), of the statistics dtype.
        mask: weights aligned to the leading axes, or None.
        synchronized: add up the statistics of all replicas.

    Returns:
        (table, averages) of the data as (1, M, C).
    """
    if mask is not None:
        mask = moments.aligned(mask, x)
        shape = (*ops.shape(x)[:-1], mask.shape[-1])
        mask = ops.reshape(
            ops.broadcast_to(mask, shape), (1, -1, mask.shape[-1])
        )
    x = ops.reshape(x, (1, -1, x.shape[-1]))
    table = moments.measure(x, -1, mask)
    if synchronized and table.count is None:
        # Replicas may hold different numbers of samples.
        n = ops.cast(ops.shape(x)[1], x.dtype)
        table = table._replace(count=ops.reshape(n, (1, 1)))
    return table, Area(synchronized=synchronized).over(table)


class KernelLayer(NormalizationLayer):
    """Base of layers that are linear in a kernel and have Keras' options.

    Args:
        activation: applied to the result, as in `keras.layers.Dense`.
        use_bias: add a learned `bias`.
        kernel_initializer: initializer of `kernel`.
        bias_initializer: initializer of `bias`.
        kernel_regularizer: regularizer of `kernel`.
        bias_regularizer: regularizer of `bias`.
        activity_regularizer: regularizer of the result.
        kernel_constraint: constraint of `kernel`.
        bias_constraint: constraint of `bias`.
        **kwargs: `epsilon`; `name`, `dtype`, `trainable` of
            `keras.layers.Layer`.
    """

    fixed: tuple = ("axis", *AFFINE)

    def __init__(
        self,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        # Bases of layers that normalize as well ask for gamma and beta.
        affine = {"center": False, "scale": False}
        super().__init__(
            activity_regularizer=activity_regularizer, **{**affine, **kwargs}
        )
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.kernel: Any = None
        self.bias: Any = None

    def add_kernel(self, shape: tuple) -> None:
        """Create kernel and bias, in Keras' order."""
        self.add_option("kernel", shape)
        if self.use_bias:
            self.add_option("bias", (shape[-1],))

    def finish(self, y):
        """Bias, activation, compute dtype; the output index of y is last."""
        if self.use_bias:
            y = y + ops.cast(self.bias, y.dtype)
        return self.narrowed(self.activation(y))

    def load_own_variables(self, store):
        """Load a layer of this kind, or kernel and bias of Keras' layer."""
        learned = self._trainable_variables
        if self._non_trainable_variables and len(store.keys()) == len(learned):
            for i, variable in enumerate(learned):
                variable.assign(store[str(i)])
        else:
            super().load_own_variables(store)


class DenseLayer(KernelLayer):
    """Base of layers with the kernel of `keras.layers.Dense`.

    Args:
        units: number of outputs.
        **kwargs: see `KernelLayer`.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        positive("units", units)
        self.units = units

    def build(self, inputs_shape):
        """Create kernel and bias, then the state."""
        if len(inputs_shape) < 2:
            raise errors.received(
                "The input must have at least rank 2, (batch, features).",
                input_shape=inputs_shape,
            )
        features = inputs_shape[-1]
        if features is None:
            raise errors.undefined_dimension(-1, inputs_shape)
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={-1: features}
        )
        self.add_kernel((features, self.units))
        self.build_state(features)
        self.built = True

    def build_state(self, features):
        """Create what is kept besides kernel and bias."""

    def compute_output_shape(self, inputs_shape):
        """The last axis has `units` entries."""
        return (*inputs_shape[:-1], self.units)
