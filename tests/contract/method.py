"""One row of the table: how to make a layer and what it promises.

A row says how to make the layer for inputs of eight channels, which inputs a
call takes, which weights it has, and what it promises beyond the common
contract. Mask behaviour comes from the catalog, by number.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_norm import catalog
from keras_norm import layers
from keras_norm.core import configuration

# One shape for each rank: few shapes keep eager JAX from compiling for ever.
SHAPES = {
    2: (6, 8),
    3: (6, 5, 8),
    4: (6, 4, 3, 8),
    5: (4, 3, 2, 2, 8),
}

AFFINE = ("gamma", "beta")
MOMENTS = ("moving_mean", "moving_variance")
# What a second input may be, as a function of the shape of the first.
CONDITIONS = {
    "features": lambda shape, axis: (shape[0], 4),
    "labels": lambda shape, axis: (shape[0],),
    "two labels": lambda shape, axis: (shape[0],),
    "soft labels": lambda shape, axis: (shape[0], 3),
    "style": lambda shape, axis: shape,
    "per channel": lambda shape, axis: (shape[0], shape[axis]),
    # Maps of another size than the input's.
    "layout": lambda shape, axis: tuple(
        shape[0] if i == 0 else 3 if i == axis % len(shape) else 7
        for i in range(len(shape))
    ),
    "region": lambda shape, axis: (shape[0], 7, *(2,) * (len(shape) - 3)),
    "moments": lambda shape, axis: tuple(
        1 if i == axis % len(shape) else n for i, n in enumerate(shape)
    ),
}
# Weights that neither training nor the data move.
CONSTANTS = ("sigma",)
# Says that the state of a backward pass is what it seems; training brings it
# back to the value that it has.
WITNESS = "backward_witness"
# State that holds means of the data: it follows a shift of them.
MEANS = (
    "context_mean",
    "mean",
    "memory_mean",
    "mixture_mean",
    "moving_center",
    "moving_mean",
    "moving_rest_mean",
    "renorm_mean",
    "samples",
    "training_mean",
    "window_mean",
)
# Weights that are fractions.
FRACTIONS = ("alpha", "keep", "moving_momentum", "training_momentum")
# Choices that training makes, once: not made yet.
CHOICES = ("mean_chosen", "variance_chosen")

# State that holds matrices of groups of channels, (..., groups, d, d).
MATRICES = ("moving_matrix", "moving_covariance", "whitening_matrix")

# Layers that whiten without state.
WHITEN_SAMPLES = (
    "GroupWhitening",
    "GroupwiseWhiteningColoring",
    "SwitchableWhitening",
    "WhiteningColoringTransform",
)


def unchanged(shape):
    """The result has the shape of the input."""
    return tuple(shape)


def mapped(units):
    """The result has that many channels."""
    return lambda shape: (*shape[:-1], units)


def convolved(options):
    """The result of a convolution with these options of Keras' Conv2D."""

    def result(shape):
        found = []
        for i, size in enumerate(shape[1:-1]):
            if size is None:
                found.append(None)
                continue
            kernel, stride, dilation = (
                np.broadcast_to(options.get(name, 1), 2)[i]
                for name in ("kernel_size", "strides", "dilation_rate")
            )
            if options.get("padding", "valid") == "valid":
                size = size - (kernel - 1) * dilation
            found.append(int(-(-size // stride)))
        return (shape[0], *found, options["filters"])

    return result


# Layers that tests share: building costs as much as calling.
_SHARED: dict = {}


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to construct one layer.

    Args:
        layer: name in `keras_norm.layers`.
        number: row of the catalog.
        label: tells the rows of a layer apart.
        options: constructor arguments, for inputs of eight channels.
        conditions: kinds of the further inputs, keys of `CONDITIONS`.
        optional: inference does without the further inputs.
        spared: training does too.
        weights: names of the trainable weights in order.
        state: names of the weights that move in training, in order.
        held: names of the state before these, which users move, not training.
        constants: names of weights that never move.
        ranks: ranks of the input that make sense.
        centres: subtracts a mean: a constant input gives beta, a shift of the
            input changes nothing but the state.
        scales: divides by a deviation of the data.
        mixes: in training a sample's output depends on the others.
        source: what normalizes in training: the "batch"; the "state" as it
            was before the step; the state as "moved" by it, or as it is then
            "stored", rounded. No gradient comes but of the batch.
        mask: what a mask does; None: as the catalog says.
        sees_order: cuts the batch or the entries into consecutive parts, so
            that leaving some out is not the same as masking them.
        counts: where weight 2 is the same as the entry twice: for whole
            "samples", for "steps" within them.
        sees_padding: weights that masked entries move, as the authors' program
            has it: the state of a backward pass.
        lone_channel: works on inputs of one channel.
        keeping: a channel whose entries move the state, for inputs of eight.
        draws: training draws random numbers, which are others where
            TensorFlow compiles them.
        outputs: number of outputs.
        result: shape of the input -> shape of the first output.
        twin: Keras' layer that it replaces.
        whole: the sizes of the positions must be known for all exports.
        own_path: differs from the first row of its layer by more than a
            formula; expensive tests run on these and the first rows.
        oracle: (name, config) of the reference implementation, None: the
            layer's own name with these options; False: there is none.
        decomposes: factors matrices in inference, which some exports do not
            survive.
        amplifies: error, in units of what is promised, where an outlier makes
            the condition number of a covariance 1e6. Eigenvectors in float32
            are then as exact as the program behind ops.eigh is careful.
    """

    layer: str
    number: int
    label: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    conditions: tuple = ()
    optional: bool = False
    spared: bool = False
    weights: tuple = AFFINE
    state: tuple = ()
    held: tuple = ()
    constants: tuple = ()
    ranks: tuple = (2, 3, 4, 5)
    centres: bool = True
    scales: bool = True
    mixes: bool = False
    source: str = "batch"
    mask: str | None = None
    sees_order: bool = False
    counts: tuple = ("samples", "steps")
    sees_padding: tuple = ()
    lone_channel: bool = True
    keeping: int = 0
    draws: bool = False
    outputs: int = 1
    result: Callable = unchanged
    twin: str | None = None
    whole: bool = False
    own_path: bool = False
    oracle: tuple | bool | None = None
    decomposes: bool = False
    amplifies: float = 1.0

    def __str__(self):
        return f"{self.layer} {self.label}".strip().replace(" ", "-")

    # Layers -----------------------------------------------------------------

    @property
    def exists(self):
        """Does the package have the layer?"""
        return hasattr(layers, self.layer)

    @property
    def cls(self):
        return getattr(layers, self.layer)

    def make(self, **options):
        """The layer, not built."""
        return self.cls(**{**self.options, **options})

    def shared(self, rank=None):
        """As `built`, but the same layer for every test of this row.

        It comes with the weights it was built with. A test that needs two at
        a time, or changes more than weights, takes `built`.
        """
        key = str(self), rank or self.rank
        if key not in _SHARED:
            layer = self.built(rank)
            # Copies: an array of PyTorch's is the variable's own memory.
            initial = [numpy(v).copy() for v in layer.variables]
            _SHARED[key] = layer, initial
        layer, initial = _SHARED[key]
        for variable, value in zip(layer.variables, initial, strict=True):
            variable.assign(value)
        return layer

    def built(self, rank=None, seed=0, **options):
        """The layer, built for the shape of that rank, weights scrambled."""
        layer = self.make(**options)
        shape = self.shape(rank)
        axis = options.get("axis", -1)
        self.build(layer, channels_first(shape) if axis == 1 else shape, axis)
        scramble(layer, seed)
        return layer

    def build(self, layer, shape, axis=-1):
        """Build for inputs of that shape; a list where there are several."""
        shapes = [shape] + [
            CONDITIONS[kind](shape, axis) for kind in self.conditions
        ]
        layer.build(shapes if self.conditions else shape)

    # Inputs -----------------------------------------------------------------

    @property
    def rank(self):
        """The rank that stands for all: 4 where it makes sense."""
        return 4 if 4 in self.ranks else max(self.ranks)

    def shape(self, rank=None):
        return SHAPES[rank or self.rank]

    def inputs(self, rank=None, seed=1, shape=None, shift=0.5):
        """float32 inputs, the first of them first."""
        shape = shape or self.shape(rank)
        rng = np.random.default_rng(seed)
        first = rng.normal(shift, 1.0, shape).astype("float32")
        return [first, *self.conditions_for(shape, seed)]

    def conditions_for(self, shape, seed=1, axis=-1):
        """float32 (or integer) further inputs for a first of that shape."""
        rng = np.random.default_rng(seed + 1000)
        made = []
        for kind in self.conditions:
            size = CONDITIONS[kind](shape, axis)
            if kind == "labels":
                made.append(rng.integers(0, 3, size).astype("int32"))
            elif kind == "two labels":
                # Both, however few samples there are.
                made.append(np.arange(size[0], dtype="int32") % 2)
            elif kind == "region":
                hole = rng.uniform(size=size) < 0.4
                made.append(hole.astype("int32"))
            elif kind == "soft labels":
                soft = rng.dirichlet(np.ones(3), size[0])
                made.append(soft.astype("float32"))
            elif kind == "moments" and made:
                # The standard deviation.
                made.append(rng.uniform(0.5, 2.0, size).astype("float32"))
            else:
                made.append(rng.normal(0.5, 1.0, size).astype("float32"))
        return made

    def given(self, inputs):
        """What the layer is called with."""
        return list(inputs) if self.conditions else inputs[0]

    # Behaviour --------------------------------------------------------------

    @property
    def mask_behaviour(self):
        """ "statistics", "passes" or "refuses"."""
        row = {m.number: m for m in catalog.METHODS}[self.number]
        return self.mask or row.mask

    @property
    def takes_axis(self):
        """Has it one channel axis that the user may choose?"""
        given = "axis" in self.options or self.layer == "MomentShortcut"
        return not given and "axis" in configuration.arguments(self.cls)

    @property
    def whitens(self):
        """Are channels mixed, so that all of them share one mask?"""
        per_sample = self.layer in WHITEN_SAMPLES
        named = (*self.held, *self.state)
        matrices = any(name in named for name in MATRICES)
        return per_sample or matrices or not self.keeps_shape

    @property
    def any_size(self):
        """Are all axes but the channels free to have any size?"""
        several = isinstance(self.options.get("axis"), tuple)
        return not (several and self.weights) or "param_axis" in self.options

    @property
    def keeps_shape(self):
        """Has the result the shape of the input?"""
        return self.result is unchanged

    def reference(self):
        """The oracle and its config, or None."""
        from oracles import ORACLES

        if self.oracle is False:
            return None
        name, config = self.oracle or (self.layer, self.options)
        return ORACLES[name], config


def scramble(layer, seed=0):
    """Give a built layer weights and state that no test can confuse."""
    rng = np.random.default_rng(seed + 2000)
    for variable in layer.weights:
        old = keras.ops.convert_to_numpy(variable)
        noise = rng.normal(size=old.shape)
        if variable.name == WITNESS or variable.name in CHOICES:
            new = old
        elif variable.name in FRACTIONS:
            new = 0.5 * old + 0.3
        elif len(old.shape) == 2 and variable.trainable:
            # Kernels: their initializers may be random.
            new = 0.3 * noise + np.eye(*old.shape)
        elif variable.trainable and variable.name in ("kernel", "color_basis"):
            new = 0.3 * noise
        elif variable.trainable:
            new = old + 0.2 * noise
        elif variable.name in CONSTANTS:
            new = old
        elif variable.name in ("step", "count"):
            new = old + 2
        elif variable.name in MEANS:
            new = old + 0.5 + 0.3 * noise
        elif variable.name in MATRICES:
            # Symmetric, and the identity where the last group is filled up.
            real = matrix_entries(layer, old)
            symmetric = 0.1 * (noise + np.swapaxes(noise, -1, -2))
            if variable.name == "moving_covariance":
                # Positive definite.
                symmetric = 0.1 * noise @ np.swapaxes(noise, -1, -2)
            new = old + real * symmetric
        else:
            new = old + 0.4 * np.abs(noise)
        variable.assign(new.astype(old.dtype))


def matrix_entries(layer, matrices):
    """1 where a matrix of the state has real channels on both sides."""
    if len(matrices.shape) == 2:
        return np.ones(matrices.shape)
    groups, size, _ = matrices.shape[-3:]
    channels = layer.moving_mean.shape[-1]
    real = (np.arange(groups * size) < channels).reshape(groups, size)
    return real[:, :, None] & real[:, None, :]


def channels_first(shape):
    """A channels-last shape with the channels after the batch."""
    return (shape[0], shape[-1], *shape[1:-1])


def name_of(layer, variable):
    """`gamma`, or `hidden_kernel` for the weights of an inner layer."""
    if any(variable is own for own in own_weights(layer)):
        return variable.name
    inner = variable.path.split("/")[-2]
    if inner == "projection":
        return inner
    return f"{inner}_{variable.name}"


def own_weights(layer):
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def values(layer):
    """(weights, state) by name, as NumPy float64."""
    state = [v for v in layer.non_trainable_weights if v.name not in CONSTANTS]
    return [
        {name_of(layer, v): numpy(v).astype("float64") for v in variables}
        for variables in (layer.trainable_weights, state)
    ]


def numpy(tensor):
    """Any tensor or variable as a NumPy array, bfloat16 as float32."""
    if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
        tensor = keras.ops.cast(tensor, "float32")
    return keras.ops.convert_to_numpy(tensor)


def outputs(y):
    """One or several outputs as a list of NumPy arrays."""
    return [numpy(t) for t in (y if isinstance(y, (list, tuple)) else [y])]


# The table --------------------------------------------------------------------
