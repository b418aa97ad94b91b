"""What may be wrapped, and what wrapped layers must not go through.

One wrapper owns a layer. Quantization and LoRA replace the kernel: after them
a wrapper would normalize what the layer no longer computes with, on some
backends without an error.
"""

import weakref

import keras

from keras_norm import errors
from keras_norm.core import configuration

# The wrapper of each wrapped layer.
_WRAPPERS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_METHODS = {"quantize": "Quantization", "enable_lora": "LoRA"}


def refuse(what):
    """Raise the error of something that is not for wrapped layers."""
    raise ValueError(
        f"{what} needs the kernel itself, but this layer's kernel is computed "
        "by a parametrization. Call `remove()` of the wrapper, or "
        "`keras_norm.tools.remove_parametrizations(model)`, first."
    )


class Refusal:
    """In the place of a method of a wrapped layer.

    Keras puts some methods on the layer itself, so that the class does not
    have the one that is replaced.
    """

    def __init__(self, what, original):
        self.what, self.original = what, original

    def __call__(self, *args, **kwargs):
        """Refuse."""
        refuse(self.what)


def parts(layer):
    """The layer and all layers within it."""
    return list(layer._flatten_layers())


def refuse_layer(layer):
    """Refuse what cannot be wrapped."""
    if not isinstance(layer, keras.layers.Layer):
        raise errors.received("`layer` must be a Keras layer.", layer=layer)
    if isinstance(layer, keras.Model):
        raise errors.received(
            "`layer` must be one layer, not a model.",
            "`keras_norm.tools.reparameterize(model, ...)` wraps the layers of "
            "a model.",
            layer=layer.name,
        )
    if hasattr(layer, "state_size") and not isinstance(layer, keras.layers.RNN):
        raise errors.received(
            "`layer` must not be a recurrent cell: its kernels would be "
            "computed again at every time step.",
            "Wrap the RNN layer that runs it.",
            layer=layer.name,
        )
    for part in parts(layer):
        refuse_remat(part)
        lora = getattr(part, "lora_enabled", False)
        if lora or getattr(part, "quantization_mode", None):
            what = "adapted by LoRA" if lora else "quantized"
            raise errors.received(
                f"`layer` must not be {what}: the parametrization would not "
                "act on the kernel it computes with.",
                "Wrap a plain layer.",
                layer=part.name,
            )


def claim(layer, wrapper):
    """Make `wrapper` the one that has this layer."""
    if getattr(wrapper, "_removed", False):
        raise ValueError(
            f"{wrapper.name!r} has given its layer back by `remove()`. Use the "
            "layer that it returned, or `keras_norm.tools."
            "remove_parametrizations(model)` for a whole model."
        )
    reference = _WRAPPERS.get(layer)
    other = reference() if reference else None
    if other is not None and other is wrapper and wrapper.built:
        return
    if other is not None and other is not wrapper and finished(other):
        raise errors.received(
            "`layer` must not be wrapped by another parametrization already.",
            "Wrap the wrapper to apply both, one after the other.",
            layer=layer.name,
            wrapped_by=other.name,
        )
    _WRAPPERS[layer] = weakref.ref(wrapper)
    for part in parts(layer):
        for name, what in _METHODS.items():
            original = vars(part).get(name)
            if hasattr(part, name) and not isinstance(original, Refusal):
                object.__setattr__(part, name, Refusal(what, original))


def finished(wrapper):
    """False for a wrapper whose arguments were refused."""
    names = configuration.arguments(type(wrapper))
    return all(hasattr(wrapper, name) for name in names)


def refuse_remat(layer):
    """Refuse rematerialization: the kernel would be the plain one again."""
    mode = getattr(layer, "_remat_mode", None)
    if mode is not None and mode.mode != "activations":
        raise errors.received(
            "A wrapped layer must not be rematerialized: it is called again "
            "for the gradient, when its kernel is no longer in place.",
            "Make it and its wrapper outside of `keras.RematScope`.",
            layer=layer.name,
        )


def release(wrapper):
    """Give the layer back: it may be wrapped, quantized and adapted again."""
    layer = wrapper.layer
    wrapper._removed = True
    _WRAPPERS.pop(layer, None)
    for part in parts(layer):
        for name in _METHODS:
            refusal = vars(part).get(name)
            if not isinstance(refusal, Refusal):
                continue
            if refusal.original is None:
                object.__delattr__(part, name)
            else:
                object.__setattr__(part, name, refusal.original)
