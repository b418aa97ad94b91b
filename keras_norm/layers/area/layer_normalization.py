"""Layer normalization: statistics per sample, over chosen axes.

Ba, Kiros & Hinton, 2016, https://arxiv.org/abs/1607.06450
"""

import keras

from keras_norm.core.layer import axes_of
from keras_norm.core.layer import check_axes
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.operations import Standardize
from keras_norm.core.positions import AxesAffine
from keras_norm.core.positions import Position


@keras.saving.register_keras_serializable("keras_norm")
class LayerNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta over `axis`.

    Area: position for one axis, layer for all but the batch axis. Operation:
    standardize. Recovery: affine. Statistics: the input itself.

    A drop-in for `keras.layers.LayerNormalization`.

    Args:
        axis: axis or axes of the statistics.
        epsilon: added to the variance, inside the root.
        center: add `beta`.
        scale: multiply by `gamma`.
        beta_initializer: initializer of `beta`.
        gamma_initializer: initializer of `gamma`.
        beta_regularizer: regularizer of `beta`.
        gamma_regularizer: regularizer of `gamma`.
        beta_constraint: constraint of `beta`.
        gamma_constraint: constraint of `gamma`.
        param_axis: axis or axes of gamma and beta; None: those of `axis`, as
            Keras and PyTorch do. `axis=(1, 2, 3), param_axis=-1` is the layer
            normalization of the survey: one gamma and beta per channel.
        rms_scaling: deprecated in Keras: scale by the deviation without
            centering. Use `VarianceOnlyLayerNormalization`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: tensor of rank at least 2.
        mask: weights aligned to the leading axes; matters where the statistics
            run over masked axes.

    Raises:
        ValueError: axes outside the input, repeated, or of unknown size where
            gamma and beta need one.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.LayerNormalization()
    >>> tuple(layer(np.random.rand(2, 5, 8).astype("float32")).shape)
    (2, 5, 8)

    Reference:

    - Ba et al., Layer Normalization, 2016, https://arxiv.org/abs/1607.06450
    """

    beyond_keras = ("param_axis", "rms_scaling")

    def __init__(
        self,
        axis=-1,
        epsilon=1e-3,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        param_axis=None,
        rms_scaling=False,
        **kwargs,
    ):
        axes = check_axes("axis", axis)
        params = (
            axes if param_axis is None else check_axes("param_axis", param_axis)
        )
        super().__init__(
            area=Position(axes),
            operation=ScaleByDeviation() if rms_scaling else Standardize(),
            recovery=AxesAffine(params),
            axis=axis,
            epsilon=epsilon,
            center=center and not rms_scaling,
            scale=scale or rms_scaling,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        self.param_axis = param_axis
        self.rms_scaling = rms_scaling

    def check_axis(self, axis):
        """One axis or several."""
        check_axes("axis", axis)
        return axis

    def build(self, inputs_shape):
        """Create gamma and beta over the parameters' axes."""
        axes_of("axis", self.area.axes, inputs_shape, static=False)
        params = self.recovery.axes
        axes = axes_of(
            "axis", params, inputs_shape, static=self.scale or self.center
        )
        self.add_affine(tuple(inputs_shape[a] for a in axes))
        self.built = True
