"""What ci/benchmark measures. Standard library only.

Imported by the command, which runs on the interpreter of the machine, and by
the processes that measure.
"""

import collections

Mode = collections.namedtuple("Mode", "backend title")

# The layers as Keras would run them in `fit(jit_compile=True)`, and PyTorch
# also as it runs by default. One process each.
MODES = {
    "tensorflow": Mode("tensorflow", "TensorFlow (XLA)"),
    "jax": Mode("jax", "JAX (jit)"),
    "torch-eager": Mode("torch", "PyTorch eager"),
    "torch-compiled": Mode("torch", "PyTorch compiled"),
}
LAYERS = ("batch", "layer", "group", "instance", "rms")
SHAPES = ((32, 56, 56, 64), (8, 1024, 512), (64, 1024))
# A training step is forward and backward.
DIRECTIONS = ("forward", "step")

# Whitening: channels, channels of a group, and how the matrices are found.
WHITENED = tuple((32, 28, 28, d) for d in (16, 64, 256, 512))
SIZES = (16, 64)
METHODS = ("newton", "cholesky", "zca")
# The decompositions of these groups only: they take the time they take.
DECOMPOSED = 64

# Weight parametrizations, of a dense layer and of a convolution.
PARAMETRIZED = ((256, 1024), (16, 28, 28, 64))

# Several normalizations in one, with their default arguments.
MIXED = ((32, 56, 56, 64),)
MIXTURES = (
    "SwitchableNormalization",
    "SparseSwitchableNormalization",
    "ExemplarNormalization",
    "DynamicNormalization",
    "BatchInstanceNormalization",
    "LayerInstanceNormalization",
    "InstanceBatchNormalization",
    "BatchChannelNormalization",
    "TaskNormalization",
    "ModeNormalization",
    "MixtureNormalization",
)

GROUPS = 32
# The same for all competitors, so that they compute the same.
EPSILON = 1e-3
# A step makes 7 passes over the tensor, a copy 2.
FLOOR = 3.5


def chosen(mode, names):
    """Tells whether values of --backend, modes or backends, name `mode`."""
    return mode in names or MODES[mode].backend in names


def applies(layer, shape):
    """Tells whether there is something to normalize.

    An instance of one position is its own mean, and the output `beta`.
    """
    return not (layer == "instance" and len(shape) == 2)


def whitenings(channels, methods):
    """Returns pairs of a method and the size of the groups it whitens."""
    sizes = sorted({min(size, channels) for size in (*SIZES, channels)})
    return [
        (method, size)
        for method in methods
        for size in sizes
        if method == "newton" or size == DECOMPOSED
    ]


def parametrizations(shape):
    """Returns the methods for a layer on inputs of that shape.

    PyTorch's orthogonal parametrization is for matrices.
    """
    methods = ("weight", "spectral", "newton", "cayley")
    return methods if len(shape) == 2 else methods[:3]


def written(shape):
    """Returns a shape as it is written on the command line."""
    return "x".join(str(size) for size in shape)


def shape(text):
    """Returns the shape that `written` made the text of."""
    sizes = tuple(int(size) for size in text.split("x"))
    if not (2 <= len(sizes) <= 5 and min(sizes) > 0):
        raise ValueError(text)
    return sizes
