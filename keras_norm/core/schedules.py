"""Callbacks that act on all layers of a kind."""

import keras

from keras_norm import errors


class LayerCallback(keras.callbacks.Callback):
    """Finds the layers of the model that it acts on.

    Attributes:
        statistics: class of those layers, or of their statistics.
        named: the layer to use, for the message where there is none.
        layers: those found, when training begins.
    """

    statistics: type
    named = ""

    def on_train_begin(self, logs=None) -> None:
        """Find the layers: in models in the model and in wrappers too."""
        self.layers = find(self.model, self.statistics)
        if not self.layers:
            raise errors.received(
                f"{type(self).__name__} acts on {self.named}, and "
                "the model has none.",
                f"Put a `keras_norm.layers.{self.named}` in it, or leave the "
                "callback out.",
                model=self.model.name,
            )

    def set_weight(self, layer, name, value) -> None:
        """Give a scalar weight of a layer a value, if it is another one.

        Under JAX the weights of a model that is being fitted are in the
        trainer's hands. Asking for `self.model` brings them back, and the next
        step starts from them; a weight that is assigned without is lost.
        """
        known = self._known.setdefault((id(layer), name), None)
        if value != known:
            _ = self.model
            getattr(layer, name).assign(value)
            self._known[id(layer), name] = value

    def forget(self) -> None:
        """Assign all weights again, whatever they were."""
        self._known: dict = {}


class StepCallback(LayerCallback):
    """Sets weights before every step: `set_weights(step)` of a subclass.

    Steps are those of the optimizer, counted from 0.
    """

    def on_epoch_begin(self, epoch, logs=None) -> None:
        """Read the step: between epochs the optimizer's number is at hand."""
        optimizer = self.model.optimizer
        self._first = int(optimizer.iterations)
        # Batches between two steps of the optimizer.
        self._every = optimizer.gradient_accumulation_steps or 1
        self.forget()

    def on_train_batch_begin(self, batch, logs=None) -> None:
        """Set the weights of this step."""
        self.set_weights(self._first + batch // self._every)

    def set_weights(self, step) -> None:
        """Set them, by `set_weight`."""
        raise NotImplementedError


def find(model, kind) -> list:
    """Layers of a class, or whose statistics are of it, each once."""
    found = {
        id(layer): layer
        for layer in model._flatten_layers()
        if isinstance(layer, kind)
        or isinstance(getattr(layer, "statistics", None), kind)
    }
    return list(found.values())
