"""A wrapper that hands a layer other tensors for its kernels.

What does not depend on where they come from: building, calling, shapes, masks,
dtype, config. The wrapper behaves as its layer does.
"""

import inspect
from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core import guards
from keras_norm.core import kernels
from keras_norm.core.layer import statistics_dtype
from keras_norm.core.substitution import substituted


class KernelWrapper(keras.layers.Wrapper):
    """Base: calls `layer` with the kernels of `effective_kernels`.

    Args:
        layer: the layer to wrap.
        axis: output axes of the kernels; None: from the type of `layer`.
        targets: names of the kernels that are meant; None: all.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.
    """

    # Arguments of the bases that a subclass has settled and does not take.
    fixed: tuple = ()
    # Output axes of an embedding, where they are not one for each token.
    embedding_axis: int | None = None

    def __new__(cls, *args, **kwargs):
        """Check the keywords as the user wrote them."""
        configuration.check_keywords(cls, kwargs, configuration.LAYER_KEYWORDS)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, layer, axis=None, targets=None, **kwargs):
        guards.refuse_layer(layer)
        super().__init__(layer, **kwargs)
        guards.refuse_remat(self)
        guards.claim(layer, self)
        self.axis = axis
        self.targets = targets
        self.supports_masking = layer.supports_masking
        # The layer casts its inputs itself, and the kernel is read as it is:
        # a mixed policy would give it to the map in half precision.
        self.autocast = False
        self._given_policy: Any = self.dtype_policy
        self.dtype_policy: Any = keras.DTypePolicy(self.variable_dtype)

    def plain_layer(self):
        """The layer itself, without any wrapper of this kind."""
        inner = isinstance(self.layer, KernelWrapper)
        return self.layer.plain_layer() if inner else self.layer

    # Kernels ------------------------------------------------------------------

    def kernels(self) -> list:
        """The kernels this wrapper is about; see `core.kernels.Kernel`."""
        axis = self.axis
        plain = self.plain_layer()
        if not plain.built:
            raise errors.received(
                "The wrapper must be built.",
                "Call it, or its `build(input_shape)`, first.",
                wrapper=self.name,
            )
        if isinstance(plain, keras.layers.Embedding) and axis is None:
            axis = self.embedding_axis
        return kernels.of(plain, axis, self.targets)

    def all_kernels(self) -> dict:
        """{name: kernel} of all kernels of the layer."""
        # Where the table does not know the layer, axes do not matter here.
        axis = None if self.axis is None else ()
        return {k.path: k for k in kernels.of(self.plain_layer(), axis)}

    def effective_kernels(self, training=False) -> dict:
        """{name: kernel that the layer computes with}."""
        raise NotImplementedError

    # The layer's behaviour ----------------------------------------------------

    def build(self, input_shape=None):
        """Build the layer, then what the wrapper adds."""
        if not self.layer.built:
            shapes = required(self.layer.build)
            if len(shapes) > 1:
                raise errors.received(
                    "A layer of several inputs must be built before it is "
                    "wrapped.",
                    f"Call its `build({', '.join(shapes)})` first.",
                    layer=type(self.layer).__name__,
                )
            self.layer.build(input_shape)
            self.layer.built = True
        guards.refuse_layer(self.layer)
        guards.claim(self.layer, self)
        self.add_weights()
        self.built = True

    def add_weights(self):
        """Create the wrapper's own weights."""

    def call(self, inputs, *args, training=None, mask=None, **kwargs):
        """Call the layer with its effective kernel."""
        guards.refuse_layer(self.layer)
        guards.claim(self.layer, self)
        named = self._accepted(training=training, mask=mask)
        return self.finish(
            self.run(
                lambda: self.layer(inputs, *args, **kwargs, **named), training
            )
        )

    def _accepted(self, **named):
        """Those that the layer's call takes, and that are given."""
        takes = inspect.signature(self.layer.call).parameters
        return {n: v for n, v in named.items() if v is not None and n in takes}

    def run(self, function, training=False):
        """Run `function` with effective kernels in the variables' places."""
        found = self.all_kernels()
        if not all(isinstance(k.value, keras.Variable) for k in found.values()):
            # A wrapper around this one has put its own there already, made of
            # this one's.
            return function()
        places = []
        for path, w in self.effective_kernels(training).items():
            owner = found[path].owner
            w = ops.cast(w, owner.compute_dtype)
            places.append((owner, found[path].attribute, w))
        with substituted(places):
            return function()

    def finish(self, outputs: Any) -> Any:
        """What becomes of the layer's result."""
        return outputs

    def compute_output_spec(
        self, inputs, *args, training=None, mask=None, **kwargs
    ):
        """That of the layer."""
        return self.layer.compute_output_spec(
            inputs, *args, **kwargs, **self._accepted(mask=mask)
        )

    def compute_output_shape(self, *args, **kwargs):
        """That of the layer."""
        return self.layer.compute_output_shape(*args, **kwargs)

    def compute_mask(self, inputs, previous_mask):
        """That of the layer."""
        return self.layer.compute_mask(inputs, previous_mask)

    @property
    def variables(self):
        """The layer's own variables, then the wrapper's."""
        return distinct([*self.layer.variables, *super().variables])

    @property
    def weights(self):
        """The layer's own weights, then the wrapper's."""
        return distinct([*self.layer.weights, *super().weights])

    # Saving -------------------------------------------------------------------

    def get_config(self):
        """All constructor arguments, the same before and after build."""
        own = configuration.config(self)
        del own["layer"]
        policy = keras.dtype_policies.serialize(self._given_policy)
        config = {**super().get_config(), **own, "dtype": policy}
        if len(required(self.layer.build)) < 2:
            # The wrapper's own build does it.
            config["layer"].pop("build_config", None)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The wrapper that `get_config` described; `config` stays whole."""
        return super().from_config(dict(config), custom_objects)

    def get_build_config(self):
        """What builds the layer, which may take several inputs."""
        own = super().get_build_config() or {}
        return {
            "layer": self.layer.get_build_config(),
            "input_shape": own.get("input_shape"),
        }

    def build_from_config(self, config):
        """Build the layer, then what the wrapper adds."""
        if not self.layer.built:
            self.layer.build_from_config(config["layer"])
            self.layer.built = True
        self.build(config["input_shape"])

    def quantize(self, *args, **kwargs):
        """Refused: the kernel is not a variable."""
        guards.refuse("Quantization")

    def enable_lora(self, *args, **kwargs):
        """Refused: the kernel is not a variable."""
        guards.refuse("LoRA")


def required(function) -> list:
    """Names of the arguments that a function must be given."""
    parameters = inspect.signature(function).parameters
    return [n for n, p in parameters.items() if p.default is p.empty]


def widened(value):
    """A kernel in at least float32."""
    tensor = ops.convert_to_tensor(value)
    return ops.cast(tensor, statistics_dtype(tensor))


def distinct(variables):
    """The variables, each once."""
    return list({id(v): v for v in variables}.values())
