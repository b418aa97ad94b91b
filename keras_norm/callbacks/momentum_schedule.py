"""The schedule of momentum batch normalization.

Yong et al., 2020, https://doi.org/10.1007/978-3-030-58610-2_14
"""

from keras_norm.core.layer import positive
from keras_norm.core.momentum import MomentumAverage
from keras_norm.core.schedules import LayerCallback


class MomentumSchedule(LayerCallback):
    """Averages over more and more batches, as noisy as one of ideal size.

    With m the batch size, m0 the ideal one, K epochs and rho = min(m / m0,
    1)^(1/K), epoch k = 1 ... K trains with

    lam = rho^(K (K - k) / (K - 1)) - rho^K,  tau = tau0^(m / m0)

    lam grows from 0 (batch normalization) to 1 - m / m0; from m0 on it is 0,
    and for a single epoch too. tau0 is each layer's `momentum`.

    It sets the weights `training_momentum` (lam) and `moving_momentum` (tau)
    of every `MomentumBatchNormalization` in the model before each epoch. To
    resume, give `fit` its `initial_epoch`.

    Args:
        epochs: K, of the whole training; later epochs are as the last.
        batch_size: m, samples behind one statistic.
        ideal_batch_size: m0.

    Raises:
        ValueError: sizes that are no positive integers. When training begins:
            a model without such a layer.

    Example:

    >>> import keras_norm as kn
    >>> schedule = kn.callbacks.MomentumSchedule(epochs=3, batch_size=16)
    >>> print([round(schedule.training_momentum(k), 3) for k in (1, 2, 3)])
    [0.0, 0.25, 0.75]

    Reference:

    - Yong et al., Momentum Batch Normalization for Deep Learning with Small
      Batch Size, ECCV 2020, https://doi.org/10.1007/978-3-030-58610-2_14
    """

    statistics = MomentumAverage
    named = "MomentumBatchNormalization"

    def __init__(self, epochs, batch_size, ideal_batch_size=64):
        super().__init__()
        positive("epochs", epochs)
        positive("batch_size", batch_size)
        positive("ideal_batch_size", ideal_batch_size)
        self.epochs, self.batch_size = epochs, batch_size
        self.ideal_batch_size = ideal_batch_size

    def training_momentum(self, epoch) -> float:
        """lam of epoch k, counted from 1."""
        ratio = min(self.batch_size / self.ideal_batch_size, 1.0)
        if self.epochs == 1:
            return 0.0
        # rho^(K u) = ratio^u.
        left = max(self.epochs - epoch, 0) / (self.epochs - 1)
        return ratio**left - ratio

    def moving_momentum(self, momentum) -> float:
        """Tau of a layer whose `momentum` is tau0."""
        return momentum ** (self.batch_size / self.ideal_batch_size)

    def on_epoch_begin(self, epoch, logs=None) -> None:
        """Set both fractions of this epoch."""
        self.forget()
        lam = self.training_momentum(epoch + 1)
        for layer in self.layers:
            tau = self.moving_momentum(layer.statistics.momentum)
            self.set_weight(layer, "training_momentum", lam)
            self.set_weight(layer, "moving_momentum", tau)
            layer.statistics.told = tau
