"""Frozen batch normalization: four constants, for fine-tuning."""

import keras

from keras_norm.core.areas import Area
from keras_norm.core.frozen import Frozen
from keras_norm.core.frozen import FrozenAffine
from keras_norm.core.normalization import ComposedNormalization


@keras.saving.register_keras_serializable("keras_norm")
class FrozenBatchNormalization(ComposedNormalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, all constant.

    What a trained batch normalization infers, in training too: no weight is
    trainable, no state moves, and no setting of `trainable` changes that.
    Batches of one or two images, as in detection, do not spoil the statistics
    of the trained network.

    Area: batch. Operation: standardize. Recovery: frozen affine. Statistics:
    none, frozen.

    It takes the weights of a `BatchNormalization` as they are, by
    `set_weights` and, addressed alike, from `.weights.h5` files.

    Args:
        axis: channel axis.
        epsilon: added to the variance, inside the root. That of the layer
            whose weights are loaded; Keras' own has 1e-3 unless told.
        **kwargs: `center`, `scale`, `beta_initializer`, `gamma_initializer`,
            `name`, `dtype`: see `ComposedNormalization`.

    Call arguments:
        inputs: tensor of rank at least 2.
        training: changes nothing.
        mask: changes nothing and goes on.

    Raises:
        ValueError: an axis outside the input.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> trained = keras.layers.BatchNormalization()
    >>> trained.build((None, 8))
    >>> layer = kn.layers.FrozenBatchNormalization(epsilon=trained.epsilon)
    >>> layer.build((None, 8))
    >>> layer.set_weights(trained.get_weights())
    >>> len(layer.trainable_weights)
    0

    Reference:

    - Ioffe & Szegedy, Batch Normalization, ICML 2015,
      https://arxiv.org/abs/1502.03167, whose inference it is; frozen in
      fine-tuning by practice, as in detectors with few images per batch.

    Note: in files, Keras addresses the layers of a model by their class, and
    those within a layer by the name of their attribute. Files load as they
    are in the second case; in the first, load them into the model that they
    are of and hand the weights over from layer to layer as above.
    """

    def __init__(self, axis=-1, epsilon=1e-5, **kwargs):
        super().__init__(
            area=Area(),
            statistics=Frozen(),
            recovery=FrozenAffine(),
            axis=axis,
            epsilon=epsilon,
            **kwargs,
        )
