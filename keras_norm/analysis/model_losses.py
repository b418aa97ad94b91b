"""The loss of a model on a batch as a function of its weights.

The weights are given as tensors in a stateless scope: statistics, seeds and
metrics stay as they are, and each evaluation drops out the same units.
"""

import inspect

import keras
from keras import ops
from keras import tree

from keras_norm import errors
from keras_norm.core.model_kernels import trained
from keras_norm.models.kept_state import kept_counts


class ModelLoss:
    """A function of a list of tensors, one for each of `variables`.

    Args:
        model: a built model.
        x: one batch of inputs.
        y: its targets.
        loss: a Keras loss, its name, or a function of (targets, outputs);
            None: what the model is compiled with.
        training: as in a training step, or as at inference.
        variables: weights to be given; None: all that gradients train.
        penalties: add those of regularizers and layers (`model.losses`).

    Attributes:
        variables: the weights.
        values: their present values, as tensors.
    """

    def __init__(
        self,
        model,
        x,
        y=None,
        loss=None,
        training=True,
        variables=None,
        penalties=False,
    ):
        if not model.built:
            raise errors.received(
                "`model` must be built.",
                "Call it on a batch of data, or `model.build(input_shape)`.",
                model=model.name,
            )
        self.model, self.training, self.penalties = model, training, penalties
        self.x = tree.map_structure(ops.convert_to_tensor, x)
        if y is not None:
            y = tree.map_structure(ops.convert_to_tensor, y)
        self.y = y
        self.loss = loss_function(model, loss)
        known = trained(model)
        self.variables = known if variables is None else list(variables)
        ids = {id(v) for v in known}
        strange = [v.path for v in self.variables if id(v) not in ids]
        if strange or not self.variables:
            raise errors.received(
                "`variables` must be weights of `model` that gradients train.",
                variables=strange,
            )

    @property
    def values(self) -> list:
        """Copies of the weights, so that they may change."""
        return [ops.stop_gradient(ops.copy(v)) for v in self.variables]

    def outputs(self, tensors):
        """What the model computes with these weights."""
        with self._scope(tensors):
            return self._call()

    def of_outputs(self, outputs):
        """The loss of the model's outputs, without penalties."""
        if self.loss is not None:
            return self.loss(self.y, outputs)
        with self._scope(self.values):
            total = self.model.compute_loss(
                x=self.x, y=self.y, y_pred=outputs, training=self.training
            )
            return total - sum(self.model.losses)

    def __call__(self, tensors):
        with self._scope(tensors):
            outputs = self._call()
            if self.loss is not None:
                total = self.loss(self.y, outputs)
                return total + self._penalty() if self.penalties else total
            total = self.model.compute_loss(
                x=self.x, y=self.y, y_pred=outputs, training=self.training
            )
            return total if self.penalties else total - self._penalty()

    def _penalty(self):
        return sum(ops.sum(loss) for loss in self.model.losses)

    def _scope(self, tensors):
        # Regularizers look their weights up, all of them; the last one counts.
        mapping = [(v, ops.copy(v)) for v in self.model.trainable_variables]
        mapping += zip(self.variables, tensors, strict=True)
        return keras.StatelessScope(mapping, collect_losses=True)

    def _call(self):
        takes = inspect.signature(self.model.call).parameters
        options = {"training": self.training} if "training" in takes else {}
        with kept_counts(self.model):
            return self.model(self.x, **options)


class FunctionLoss(keras.losses.Loss):
    """A function of targets and outputs, averaged as Keras does."""

    def __init__(self, function):
        super().__init__(name="function")
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def loss_function(model, loss):
    """(targets, outputs) -> scalar; None: the model's own `compute_loss`."""
    if loss is None:
        loss = getattr(model, "loss", None)
        own = type(model).compute_loss is not keras.Model.compute_loss
        if own or isinstance(loss, (list, tuple, dict)):
            return None
        if loss is None:
            raise errors.received(
                "`loss` must be given where the model is not compiled with "
                "one.",
                "Use a loss of Keras, its name, or a function.",
                loss=None,
            )
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else FunctionLoss(loss)
