"""Callbacks that act on all layers with a certain kind of statistics."""

import keras

from keras_norm import errors


class LayerCallback(keras.callbacks.Callback):
    """Finds the layers of the model that it acts on.

    Attributes:
        statistics: class of the statistics of those layers.
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
                f"{type(self).__name__} acts on layers with the statistics "
                f"{self.statistics.__name__}, and the model has none.",
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


def find(model, statistics) -> list:
    """Layers whose statistics are of a class, each once."""
    found = {
        id(layer): layer
        for layer in model._flatten_layers()
        if isinstance(getattr(layer, "statistics", None), statistics)
    }
    return list(found.values())
