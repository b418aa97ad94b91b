"""gamma and beta of each sample as affine maps of its features."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.core.recoveries import Nothing


@keras.saving.register_keras_serializable("keras_norm")
class FromFeatures(Nothing):
    """gamma = h G + g and beta = h B + b, h the features (N, D) of a sample.

    Args:
        kernel_initializer: initializer of G and B; g and b have the layer's of
            gamma and beta.
    """

    def __init__(self, kernel_initializer="zeros"):
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def add(self, layer, name, shape, initializer, **options):
        """Create a weight on the layer."""
        weight = layer.add_weight(
            shape=shape,
            name=name,
            initializer=initializer,
            autocast=False,
            **options,
        )
        setattr(layer, name, weight)

    def add_maps(self, layer, features, channels):
        """Kernels (D, C) and biases (C,), gamma's first."""
        for name, wanted in (("gamma", layer.scale), ("beta", layer.center)):
            if not wanted:
                continue
            kernel = (features, channels), self.kernel_initializer.clone()
            self.add(layer, f"{name}_kernel", *kernel)
            self.add(
                layer,
                f"{name}_bias",
                (channels,),
                getattr(layer, f"{name}_initializer"),
                regularizer=getattr(layer, f"{name}_regularizer"),
                constraint=getattr(layer, f"{name}_constraint"),
            )

    def features(self, layer, condition, dtype):
        """The features of a condition."""
        return ops.cast(condition, dtype)

    def fold(self, layer, scale, offset, condition=None):
        """Gamma and beta of each sample."""
        h = self.features(layer, condition, scale.dtype)

        def mapped(kernel, bias):
            kernel = ops.cast(kernel, h.dtype)
            return ops.matmul(h, kernel) + ops.cast(bias, h.dtype)

        if layer.scale:
            gamma = mapped(layer.gamma_kernel, layer.gamma_bias)
            scale, offset = scale * gamma, offset * gamma
        if layer.center:
            offset = offset + mapped(layer.beta_kernel, layer.beta_bias)
        return scale, offset


@keras.saving.register_keras_serializable("keras_norm")
class FromLatent(FromFeatures):
    """The same with h = relu(z W + w) of a latent z, or h = z.

    Args:
        hidden_units: columns of W; 0 or None: h = z.
        kernel_initializer: initializer of all kernels.
    """

    condition = "latents (N, D)"

    def __init__(self, hidden_units=32, kernel_initializer="zeros"):
        if hidden_units is not None:
            positive("hidden_units", hidden_units, 0)
        super().__init__(kernel_initializer)
        self.hidden_units = hidden_units

    def build(self, layer, channels, condition_shape=None) -> None:
        """W and w, then the maps."""
        if len(condition_shape) != 2 or condition_shape[-1] is None:
            raise errors.received(
                "`condition` must be latents of shape (N, D), D a static size.",
                condition_shape=condition_shape,
            )
        features = condition_shape[-1]
        if self.hidden_units:
            kernel = (features, self.hidden_units)
            initializer = self.kernel_initializer.clone()
            self.add(layer, "hidden_kernel", kernel, initializer)
            features = self.hidden_units
            self.add(layer, "hidden_bias", (features,), "zeros")
        self.add_maps(layer, features, channels)

    def features(self, layer, condition, dtype):
        """The hidden layer."""
        z = ops.cast(condition, dtype)
        if not self.hidden_units:
            return z
        h = ops.matmul(z, ops.cast(layer.hidden_kernel, dtype))
        return ops.relu(h + ops.cast(layer.hidden_bias, dtype))
