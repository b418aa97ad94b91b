"""What nothing moves: neither training nor a schedule."""

import keras

from keras_norm.core.recoveries import Affine
from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class Frozen(Batch):
    """Moments that are kept as they were loaded, in training too."""

    # The weights and what they say are those of moving averages.
    initializers: dict = {}
    weights = MovingAverage.weights
    state = MovingAverage.state

    def measures(self, training) -> bool:
        """The batch is never looked at."""
        return False


@keras.saving.register_keras_serializable("keras_norm")
class FrozenAffine(Affine):
    """Gamma and beta that are not trainable."""

    def build(self, layer, channels, condition_shape=None) -> None:
        """Create gamma and beta, in Keras' order."""
        for name, wanted in (("gamma", layer.scale), ("beta", layer.center)):
            if wanted:
                initializer = getattr(layer, f"{name}_initializer")
                layer.add_state(name, (channels,), initializer)
