"""Data-dependent start of weight-normalized layers.

One eager call of the model: each wrapper, when it is called, is given its
gains and its bias from what comes in, and then computes with them.
"""

import contextlib

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.substitution import substituted

_EPSILON = 1e-10
_waiting: dict = {}


def initialize(model, x, init_scale, kind):
    """Initialize all wrappers of a class in a model; see the class."""
    found = [w for w in layers_of(model) if isinstance(w, kind)]
    if not found:
        raise errors.received(
            f"`model` must contain a {kind.__name__}.", model=model.name
        )
    for wrapper in found:
        _check(wrapper)
    done: list[str] = []
    with _initializing({id(w): (w, init_scale, done) for w in found}):
        model(x, training=False)
    return done


@contextlib.contextmanager
def _initializing(waiting):
    _waiting.update(waiting)
    try:
        yield
    finally:
        _waiting.clear()


def layers_of(model):
    """The model or layer and all layers within."""
    return list(model._flatten_layers())


def _check(wrapper):
    plain = wrapper.plain_layer()
    kernels = wrapper.kernels() if wrapper.built else []
    if len(kernels) != 1 or kernels[0].owner is not plain:
        raise errors.received(
            "The start from data needs built layers with one kernel, whose "
            "result is the activation of kernel and bias.",
            "Initialize the layers of the model that have one.",
            layer=wrapper.name,
            kernels=[k.path for k in kernels],
        )


def start(wrapper, inputs, args, kwargs):
    """Initialize the wrapper if it waits for that, with these inputs."""
    entry = _waiting.pop(id(wrapper), None)
    if entry is None:
        return
    _, init_scale, done = entry
    plain = wrapper.plain_layer()
    kernel = wrapper.kernels()[0]
    scale = wrapper.scale_of(kernel)
    scale.assign(ops.ones_like(scale))
    bias = getattr(plain, "bias", None)
    places = []
    if hasattr(plain, "activation"):
        places.append((plain, "activation", keras.activations.linear))
    if bias is not None:
        places.append((plain, "bias", ops.zeros_like(bias)))
    with substituted(places):
        t = wrapper.run(lambda: plain(inputs, *args, **kwargs))
    t = ops.cast(t, "float32")
    channels = -1
    if getattr(plain, "data_format", None) == "channels_first":
        channels = 1
    axes = [a for a in range(len(t.shape)) if a != channels % len(t.shape)]
    mean = ops.mean(t, axis=axes)
    variance = ops.mean(ops.square(t - _spread(mean, t, channels)), axis=axes)
    rate = init_scale * ops.rsqrt(variance + _EPSILON)
    scale.assign(ops.reshape(rate, scale.shape))
    if bias is not None:
        bias.assign(ops.reshape(-mean * rate, bias.shape))
    done.append(wrapper.name)


def _spread(values, t, channels):
    shape = [1] * len(t.shape)
    shape[channels] = -1
    return ops.reshape(values, shape)
