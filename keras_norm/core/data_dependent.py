"""Data-dependent start of weight-normalized layers.

One eager call of the model: each wrapper, when it is called, is given its
gains and its bias from what comes in, and then computes with them.
"""

import contextlib
import math

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import kernels
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
    found = wrapper.kernels() if wrapper.built else []
    alone = len(found) == 1 and found[0].owner is plain
    if alone and kernels.known(plain):
        (kernel,) = kernels.of(plain, None, wrapper.targets)
        alone = kernel.kept == found[0].kept and kernel.kind != "embedding"
    if not alone:
        raise errors.received(
            "The start from data needs built layers with one kernel, whose "
            "result is the activation of kernel and bias, and a scale for each "
            "channel of the result.",
            "Initialize the layers of the model that have one.",
            layer=wrapper.name,
            kernels=[k.path for k in found],
        )


def start(wrapper, inputs, args, kwargs):
    """Initialize the wrapper if it waits for that, with these inputs."""
    entry = _waiting.pop(id(wrapper), None)
    if entry is None:
        return
    _, init_scale, done = entry
    plain = wrapper.plain_layer()
    kernel = wrapper.kernels()[0]
    if not isinstance(kernel.value, keras.Variable):
        raise errors.received(
            "The start from data must be that of the outermost wrapper of a "
            "layer.",
            layer=wrapper.name,
        )
    scale = wrapper.scale_of(kernel)
    bias = getattr(plain, "bias", None)
    places = []
    if hasattr(plain, "activation"):
        places.append((plain, "activation", keras.activations.linear))
    if bias is not None:
        zeros = ops.zeros(bias.shape, plain.compute_dtype)
        places.append((plain, "bias", zeros))
    before = ops.copy(ops.convert_to_tensor(scale))
    scale.assign(ops.ones(scale.shape, scale.dtype))
    with substituted(places):
        t = wrapper.run(lambda: plain(inputs, *args, **kwargs))
    t = ops.cast(t, "float32")
    axes = _neurons(plain, kernel, len(t.shape))
    count = math.prod(t.shape[a] for a in axes)
    if count != math.prod(scale.shape) or (
        bias is not None and count != math.prod(bias.shape)
    ):
        scale.assign(before)
        raise errors.received(
            "The start from data needs a scale and a bias for each channel of "
            "the result.",
            layer=wrapper.name,
            channels=count,
            scale_shape=tuple(scale.shape),
            bias_shape=None if bias is None else tuple(bias.shape),
        )
    others = [a for a in range(len(t.shape)) if a not in axes]
    mean = ops.mean(t, axis=others, keepdims=True)
    variance = ops.mean(ops.square(t - mean), axis=others, keepdims=True)
    rate = init_scale * ops.rsqrt(variance + _EPSILON)
    # The kernel's order of neurons; the bias has the result's.
    gains = ops.reshape(ops.transpose(rate, [*axes, *others]), scale.shape)
    scale.assign(ops.cast(gains, scale.dtype))
    if bias is not None:
        shift = ops.reshape(-mean * rate, bias.shape)
        bias.assign(ops.cast(shift, bias.dtype))
    done.append(wrapper.name)


def _neurons(plain, kernel, rank):
    """Axes of the result that count neurons, in the kernel's order."""
    if kernel.kind != "einsum":
        first = getattr(plain, "data_format", None) == "channels_first"
        return [1 if first else rank - 1]
    inputs, outputs = plain.equation.split("->")
    labels = inputs.split(",")[1]
    before, _, after = outputs.partition("...")
    places = {label: i for i, label in enumerate(before)}
    places |= {label: rank - i for i, label in enumerate(after[::-1], 1)}
    return [places[labels[a]] for a in kernel.kept]
