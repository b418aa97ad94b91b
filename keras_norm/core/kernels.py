"""The kernels of Keras' layers, and which of their axes are output neurons."""

import keras
from keras import layers

from keras_norm import errors
from keras_norm.core.kernel import Kernel
from keras_norm.core.layer import one_integer

# Output axes of a kernel by what the layer does.
OUTPUT_AXES: dict[str, tuple] = {
    "dense": (-1,),
    "convolution": (-1,),
    "transposed_convolution": (-2,),
    "depthwise_convolution": (-2, -1),
    "recurrent": (-1,),
    # One vector for each token.
    "embedding": (0,),
}

_TABLE = (
    ("dense", ("kernel",), (layers.Dense,)),
    (
        "transposed_convolution",
        ("kernel",),
        (
            layers.Conv1DTranspose,
            layers.Conv2DTranspose,
            layers.Conv3DTranspose,
        ),
    ),
    ("convolution", ("kernel",), (layers.Conv1D, layers.Conv2D, layers.Conv3D)),
    (
        "depthwise_convolution",
        ("kernel",),
        (layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    ),
    ("embedding", ("embeddings",), (layers.Embedding,)),
)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention)
_CELLS = (layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell)
_CONVOLUTIONAL = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
_PARTS_OF_ATTENTION = ("query", "key", "value", "output")


def holder(owner, name):
    """The attribute of `owner` that holds its kernel `name`, or None."""
    attributes = vars(owner)
    for candidate in (f"_{name}", name):
        if attributes.get(candidate) is not None:
            return candidate
    return None


def of(layer, axis=None, targets=None) -> list[Kernel]:
    """The kernels of a built layer.

    Args:
        layer: a layer, or one that runs layers: RNN, Bidirectional,
            TimeDistributed, attention.
        axis: output axes instead of the table's; () takes the whole kernel
            for one neuron.
        targets: names of the kernels that are wanted; None: all.

    Raises:
        ValueError: a layer that the table does not know, without `axis`.
    """
    found = _found(layer, "", axis)
    if not found:
        raise errors.received(
            "The layer has no kernel to parametrize.",
            "Wrap a dense, convolutional, recurrent, embedding or attention "
            "layer.",
            layer=type(layer).__name__,
        )
    if targets is not None:
        names = [k.path for k in found]
        for target in targets:
            if not any(_ends(name, target) for name in names):
                raise errors.unknown_name("targets", target, names)
        wanted = [any(_ends(n, t) for t in targets) for n in names]
        found = [k for k, w in zip(found, wanted, strict=True) if w]
    return found


def known(layer) -> bool:
    """True for the layers of the table."""
    if isinstance(layer, (*_ATTENTION, *_CONVOLUTIONAL)):
        return True
    inner = _inner(layer)
    if inner:
        return all(known(part) for part in inner.values())
    kinds = tuple(c for _, _, classes in _TABLE for c in classes)
    more = (layers.EinsumDense, *_SEPARABLE, *_CELLS)
    return isinstance(layer, (*kinds, *more))


def _ends(path, target):
    return path == target or path.endswith(f"/{target}")


def _inner(layer):
    """{name: layer} of the layers that this one runs."""
    if isinstance(layer, layers.Bidirectional):
        return {
            "forward": layer.forward_layer,
            "backward": layer.backward_layer,
        }
    if isinstance(layer, layers.TimeDistributed):
        return {"": layer.layer}
    if isinstance(layer, layers.StackedRNNCells):
        return {str(i): cell for i, cell in enumerate(layer.cells)}
    if isinstance(layer, layers.RNN):
        return {"": layer.cell}
    if isinstance(layer, _ATTENTION):
        held = {
            n: getattr(layer, f"_{n}_dense", None) for n in _PARTS_OF_ATTENTION
        }
        return {n: sublayer for n, sublayer in held.items() if sublayer}
    return {}


def _found(layer, prefix, axis):
    inner = _inner(layer)
    if inner:
        found = []
        for name, sublayer in inner.items():
            path = f"{prefix}{name}/" if name else prefix
            found += _found(sublayer, path, axis)
        return found
    return [_kernel(layer, prefix, axis, *entry) for entry in _entries(layer)]


def _entries(layer):
    """(name, kind, options) of the kernels of one layer."""
    if isinstance(layer, _SEPARABLE):
        return [
            ("depthwise_kernel", "depthwise_convolution", {}),
            ("pointwise_kernel", "convolution", {}),
        ]
    if isinstance(layer, layers.EinsumDense):
        return [("kernel", "einsum", {"equation": layer.equation})]
    for kind, names, classes in _TABLE:
        if isinstance(layer, classes):
            return [(name, kind, {}) for name in names]
    if holder(layer, "recurrent_kernel"):
        recurrent = layer.recurrent_kernel.shape
        gates = {"gates": recurrent[-1] // recurrent[-2]}
        return [
            (name, "recurrent", gates)
            for name in ("kernel", "recurrent_kernel")
            if holder(layer, name)
        ]
    return [
        (name, "", {})
        for name in ("kernel", "embeddings")
        if holder(layer, name)
    ]


def _kernel(layer, prefix, axis, name, kind, options):
    attribute = holder(layer, name)
    value = getattr(layer, attribute)
    rank = len(value.shape)
    blocks: tuple = ()
    if axis is not None:
        axes = output_axes(axis, rank)
    elif kind == "einsum":
        axes, blocks = _of_equation(options["equation"], rank)
    elif kind:
        axes = tuple(a % rank for a in OUTPUT_AXES[kind])
    else:
        raise errors.received(
            "`axis` must say which axes of the kernel are output neurons, "
            "since the layer is none of Keras' own.",
            "For a kernel (inputs, outputs) that is axis=-1.",
            layer=type(layer).__name__,
            kernel_shape=tuple(value.shape),
        )
    groups = getattr(layer, "groups", 1)
    if kind == "depthwise_convolution":
        groups = value.shape[-2]
    return Kernel(
        f"{prefix}{name}",
        layer,
        attribute,
        value,
        kind,
        axes,
        blocks,
        options.get("gates", 1),
        groups,
    )


def output_axes(axis, rank: int) -> tuple:
    """`axis` (an int, several, or a name of the table) as sorted axes."""
    if isinstance(axis, str):
        if axis not in OUTPUT_AXES:
            raise errors.unknown_name("axis", axis, list(OUTPUT_AXES))
        axis = OUTPUT_AXES[axis]
    several = isinstance(axis, (list, tuple))
    axes = [one_integer("axis", a) for a in (axis if several else [axis])]
    found = sorted(a % rank for a in axes if -rank <= a < rank)
    if len(set(found)) != len(axes):
        raise errors.received(
            "`axis` must name distinct axes of the kernel.",
            axis=axis,
            kernel_rank=rank,
        )
    return tuple(found)


def _of_equation(equation, rank):
    """(output axes, blocks) of the kernel of an einsum."""
    inputs, rest = equation.replace("...", "").split(",")
    kernel, outputs = rest.split("->")
    kept = [i for i, label in enumerate(kernel) if label in outputs]
    blocks = tuple(i for i in kept if kernel[i] in inputs)
    return tuple(i for i in kept if i not in blocks), blocks


def innermost(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer that holds the kernel, for a layer that runs one other."""
    inner = _inner(layer)
    return innermost(next(iter(inner.values()))) if len(inner) == 1 else layer
