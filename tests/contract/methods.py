"""The table of methods that the contract is tested on.

Adding a method = adding one row to `TABLE`. A row says how to make the layer
for inputs of eight channels, which inputs a call takes, which weights it has,
and what it promises beyond the common contract. Mask behaviour comes from the
catalog, by number. Rows of layers that the package does not have yet are left
out for as long as the catalog calls them planned.
"""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from keras_norm import areas
from keras_norm import catalog
from keras_norm import layers
from keras_norm import operations

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
    "soft labels": lambda shape, axis: (shape[0], 3),
    "style": lambda shape, axis: shape,
    "per channel": lambda shape, axis: (shape[0], shape[axis]),
    "moments": lambda shape, axis: tuple(
        1 if i == axis % len(shape) else n for i, n in enumerate(shape)
    ),
}
# Weights that neither training nor the data move.
CONSTANTS = ("sigma",)
# State that holds means of the data: it follows a shift of them.
MEANS = ("moving_mean", "moving_center", "renorm_mean")

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
        weights: names of the trainable weights in order.
        state: names of the weights that move in training, in order.
        constants: names of weights that never move.
        ranks: ranks of the input that make sense.
        centres: subtracts a mean: a constant input gives beta, a shift of the
            input changes nothing but the state.
        scales: divides by a deviation of the data.
        mixes: in training a sample's output depends on the others.
        mask: what a mask does; None: as the catalog says.
        sees_order: cuts the batch or the entries into consecutive parts, so
            that leaving some out is not the same as masking them.
        counts: where weight 2 is the same as the entry twice: for whole
            "samples", for "steps" within them.
        lone_channel: works on inputs of one channel.
        outputs: number of outputs.
        twin: Keras' layer that it replaces.
        own_path: differs from the first row of its layer by more than a
            formula; expensive tests run on these and the first rows.
        oracle: (name, config) of the reference implementation, None: the
            layer's own name with these options; False: there is none.
    """

    layer: str
    number: int
    label: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    conditions: tuple = ()
    weights: tuple = AFFINE
    state: tuple = ()
    constants: tuple = ()
    ranks: tuple = (2, 3, 4, 5)
    centres: bool = True
    scales: bool = True
    mixes: bool = False
    mask: str | None = None
    sees_order: bool = False
    counts: tuple = ("samples", "steps")
    lone_channel: bool = True
    outputs: int = 1
    twin: str | None = None
    own_path: bool = False
    oracle: tuple | bool | None = None

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
            _SHARED[key] = layer, [numpy(v) for v in layer.variables]
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
        return not given

    @property
    def any_size(self):
        """Are all axes but the channels free to have any size?"""
        several = isinstance(self.options.get("axis"), tuple)
        return not (several and self.weights) or "param_axis" in self.options

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
        if len(old.shape) == 2 and variable.trainable:
            # Kernels: their initializers may be random.
            new = 0.3 * noise + np.eye(*old.shape)
        elif variable.trainable:
            new = old + 0.2 * noise
        elif variable.name in CONSTANTS:
            new = old
        elif variable.name == "step":
            new = old + 2
        elif variable.name in MEANS:
            new = old + 0.5 + 0.3 * noise
        elif variable.name == "moving_matrix":
            # Symmetric, and the identity where the last group is filled up.
            real = matrix_entries(layer, old)
            symmetric = 0.1 * (noise + np.swapaxes(noise, -1, -2))
            new = old + real * symmetric
        else:
            new = old + 0.4 * np.abs(noise)
        variable.assign(new.astype(old.dtype))


def matrix_entries(layer, matrices):
    """1 where a moving matrix has real channels on both sides."""
    groups, size, _ = matrices.shape
    channels = layer.moving_mean.shape[0]
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


def batch_normalization():
    row = functools.partial(
        Method, "BatchNormalization", 1, state=MOMENTS, mixes=True
    )
    renormed = (*MOMENTS, "moving_stddev", "renorm_mean", "renorm_stddev")
    clipping = {"rmin": 0.6, "rmax": 1.5, "dmax": 0.3}
    return [
        row(twin="BatchNormalization"),
        row("unbiased", {"unbiased_moving_variance": True, "momentum": 0.5}),
        row("plain", {"center": False, "scale": False}, weights=()),
        row("synchronized", {"synchronized": True}),
        row(
            "renorm",
            {"renorm": True, "renorm_momentum": 0.8},
            state=renormed,
            centres=False,
            own_path=True,
        ),
        row(
            "renorm clipped",
            {"renorm": True, "renorm_clipping": clipping},
            state=renormed,
            centres=False,
        ),
    ]


def layer_normalization():
    row = functools.partial(Method, "LayerNormalization", 2)
    return [
        row(twin="LayerNormalization"),
        row("two axes", {"axis": (-2, -1)}, ranks=(3, 4)),
        row(
            "all axes",
            {"axis": (1, 2, 3), "param_axis": -1},
            ranks=(4,),
            own_path=True,
        ),
        row("plain", {"center": False, "scale": False}, weights=()),
        row(
            "rms scaling",
            {"rms_scaling": True},
            weights=("gamma",),
            centres=False,
            mask="passes",
            oracle=(
                "VarianceOnlyLayerNormalization",
                {"epsilon": 1e-3, "scale": True},
            ),
        ),
    ]


def instance_and_group_normalization():
    group = functools.partial(Method, "GroupNormalization", 4)
    return [
        Method("InstanceNormalization", 3),
        Method(
            "InstanceNormalization",
            3,
            "plain",
            {"center": False, "scale": False},
            weights=(),
        ),
        group(
            "2", {"groups": 2}, twin="GroupNormalization", lone_channel=False
        ),
        group("each", {"groups": -1}),
        group("one", {"groups": 1}),
    ]


def positional_normalization():
    row = functools.partial(Method, "PositionalNormalization", 5)
    return [
        row(weights=()),
        row(
            "affine",
            {"center": True, "scale": True, "unbiased": False},
        ),
        row("moments", {"return_moments": True}, weights=(), outputs=3),
        Method(
            "MomentShortcut",
            5,
            conditions=("moments", "moments"),
            weights=(),
            centres=False,
        ),
    ]


def batch_group_normalization():
    row = functools.partial(
        Method,
        "BatchGroupNormalization",
        6,
        state=MOMENTS,
        mixes=True,
        lone_channel=False,
    )
    return [
        row("2", {"groups": 2}),
        row(
            "2 of 2",
            {"groups": 2, "batch_groups": 2},
            sees_order=True,
            own_path=True,
        ),
        # Parts of two samples, the last of none.
        row("4 of 4", {"groups": 4, "batch_groups": 4}, sees_order=True),
        row("flat", {"groups": 2, "mode": "flat"}, own_path=True),
        row(
            "flat 2 of 2",
            {"groups": 2, "batch_groups": 2, "mode": "flat"},
            sees_order=True,
        ),
        row(
            "unbiased",
            {
                "groups": 2,
                "batch_groups": 2,
                "unbiased_moving_variance": True,
            },
            sees_order=True,
        ),
    ]


def windows():
    contrast = functools.partial(
        Method,
        "LocalContrastNormalization",
        8,
        weights=(),
        ranks=(3, 4, 5),
        counts=(),
    )
    size = {"kernel_size": 3}
    response = functools.partial(
        Method,
        "LocalResponseNormalization",
        9,
        weights=(),
        centres=False,
    )
    divisive = functools.partial(
        Method,
        "DivisiveNormalization",
        10,
        weights=(*AFFINE, "sigma"),
        ranks=(2, 3, 4),
        counts=(),
    )
    fields = {"sum_window": 3, "sup_window": 3}
    context = functools.partial(
        Method,
        "LocalContextNormalization",
        12,
        ranks=(2, 3, 4),
        counts=(),
        lone_channel=False,
    )
    window = {"channels_per_group": 4, "window_size": 3}
    return [
        contrast("", size),
        contrast("box", {**size, "kernel": "box"}),
        contrast("each channel", {**size, "across_channels": False}),
        contrast("floor", {**size, "floor": 0.5}),
        contrast("floor value", {**size, "floor": 0.8, "floor_value": 1.0}),
        # Zeros outside the image: the mean of a constant is not the constant.
        contrast(
            "zero", {**size, "border": "zero"}, centres=False, own_path=True
        ),
        contrast("torch7", {**size, "border": "torch7"}),
        response(),
        response("each", {"alpha_per_element": True, "alpha": 0.5}),
        response("even", {"size": 4, "alpha": 0.3}),
        divisive("", fields, centres=False),
        divisive(
            "renormalize", {**fields, "border": "renormalize"}, own_path=True
        ),
        divisive(
            "channel window",
            {**fields, "channel_window": 3},
            centres=False,
            ranks=(3, 4),
        ),
        divisive(
            "fixed sigma",
            {**fields, "learn_sigma": False, "sigma_initializer": 0.75},
            weights=AFFINE,
            constants=("sigma",),
            centres=False,
        ),
        divisive("l1", {**fields, "l1": 0.01}, centres=False),
        context("", window),
        context("whole image", {"channels_per_group": 4}),
        context("compat", {**window, "compat": True}, ranks=(4,)),
    ]


def generalized_divisive_normalization():
    row = functools.partial(
        Method,
        "GeneralizedDivisiveNormalization",
        11,
        weights=("beta", "gamma"),
        centres=False,
    )
    return [
        row("gdn", {"variant": "gdn"}),
        row("inverse gdn", {"variant": "gdn", "inverse": True}),
        row("gdn1", {"variant": "gdn1"}),
        row("inverse gdn1", {"variant": "gdn1", "inverse": True}),
        row("neuroscience", {"variant": "neuroscience"}),
        row("exponent", {"variant": "neuroscience", "exponent": 1.5}),
    ]


def scaling():
    rms = functools.partial(
        Method, "RMSNormalization", 14, weights=("scale",), centres=False
    )
    response = functools.partial(
        Method, "FilterResponseNormalization", 17, centres=False
    )
    affine = {"center": True, "scale": True}
    return [
        rms(twin="RMSNormalization"),
        rms("partial", {"partial": 0.5}, lone_channel=False, own_path=True),
        rms("outside", {"epsilon_outside": True}),
        rms("center", {"center": True}, weights=("scale", "beta")),
        rms("two axes", {"axis": (-2, -1)}, ranks=(3, 4)),
        Method("PixelNormalization", 15, weights=(), centres=False),
        Method("VarianceOnlyLayerNormalization", 16, weights=(), centres=False),
        Method(
            "VarianceOnlyLayerNormalization",
            16,
            "affine",
            affine,
            centres=False,
        ),
        response(),
        response(
            "learned epsilon",
            {"learn_epsilon": True},
            weights=(*AFFINE, "learned_epsilon"),
        ),
        response(
            "TLU", {"use_tlu": True}, weights=(*AFFINE, "tau"), own_path=True
        ),
        Method("TLU", 17, weights=("tau",), centres=False, mask="passes"),
        Method(
            "UnitNormalization",
            23,
            weights=(),
            centres=False,
            twin="UnitNormalization",
        ),
        Method(
            "UnitNormalization",
            23,
            "two axes",
            {"axis": (-2, -1)},
            weights=(),
            ranks=(3, 4),
            centres=False,
        ),
    ]


def robust_batch_normalization():
    lp = functools.partial(
        Method,
        "LpBatchNormalization",
        20,
        state=("moving_mean", "moving_deviation"),
        mixes=True,
    )
    # Order statistics: an entry of weight 2 is still one entry.
    once = {"counts": ()}
    range_ = functools.partial(
        Method,
        "RangeBatchNormalization",
        21,
        state=("moving_mean", "moving_deviation"),
        mixes=True,
        **once,
    )
    generalized = functools.partial(
        Method,
        "GeneralizedBatchNormalization",
        22,
        state=("moving_center", "moving_deviation"),
        mixes=True,
    )
    return [
        Method(
            "MeanOnlyBatchNormalization",
            18,
            scales=False,
            weights=("beta",),
            state=("moving_mean",),
            mixes=True,
        ),
        Method(
            "ScaleOnlyBatchNormalization",
            19,
            state=("moving_second_moment",),
            mixes=True,
            centres=False,
        ),
        Method(
            "ScaleOnlyBatchNormalization",
            19,
            "centred",
            {"centered_variance": True},
            state=("moving_variance",),
            mixes=True,
            centres=False,
        ),
        lp("1", {"p": 1}),
        lp("2", {"p": 2}),
        lp("3", {"p": 3}),
        lp("half", {"p": 1.5, "gaussian_correction": False}),
        lp("inf", {"p": "inf"}, own_path=True, **once),
        lp("top 3", {"p": "inf", "top_k": 3}, **once),
        lp(
            "top 3 plain",
            {"p": "inf", "top_k": 3, "gaussian_correction": False},
            **once,
        ),
        range_("", {"num_chunks": 4}),
        range_("paper", {"num_chunks": 4, "scale_fix": "paper"}),
        # 72 entries in chunks of 11, the last of 6; 30 in chunks of 5.
        range_("uneven", {"num_chunks": 7}, ranks=(3, 4, 5)),
        *(
            generalized(
                kind,
                {"deviation": kind},
                **({} if kind in ("std", "rsd", "lsd") else once),
                own_path=kind == "mad",
            )
            for kind in ("std", "mad", "range", "rsd", "lsd", "sqd", "wcd")
        ),
    ]


def evonorm():
    b = functools.partial(
        Method,
        "EvoNorm",
        24,
        state=("moving_variance",),
        mixes=True,
        centres=False,
    )
    s = functools.partial(
        Method, "EvoNorm", 24, centres=False, lone_channel=False
    )
    v = {"weights": (*AFFINE, "v")}
    return [
        b("B0", {"variant": "B0"}, **v),
        b("B1", {"variant": "B1"}),
        b("B2", {"variant": "B2"}),
        b(
            "B0 unbiased",
            {"variant": "B0", "unbiased_moving_variance": True},
            **v,
        ),
        s("S0", {"variant": "S0", "groups": 2}, own_path=True, **v),
        s("S1", {"variant": "S1", "groups": 2}),
        s("S2", {"variant": "S2", "groups": 2}),
        s(
            "linear",
            {"variant": "S1", "groups": 2, "nonlinearity": False},
            mask="passes",
        ),
    ]


def whitening():
    row = functools.partial(
        Method,
        "IterativeNormalization",
        27,
        state=("moving_mean", "moving_matrix"),
        mixes=True,
    )
    return [
        row("4", {"group_size": 4}),
        # Groups of 3, 3 and 2.
        row("3", {"group_size": 3}, own_path=True),
        row("all", {"iterations": 3}),
    ]


def recovery():
    conditional = functools.partial(
        Method,
        "ConditionalBatchNormalization",
        36,
        weights=(*AFFINE, "projection"),
        state=MOMENTS,
        mixes=True,
    )
    adaptive = functools.partial(
        Method, "AdaptiveInstanceNormalization", 38, weights=()
    )
    dense = {"conditions": ("features",), "weights": ("kernel", "bias")}
    return [
        conditional(conditions=("features",)),
        conditional(
            "labels",
            {"num_classes": 3},
            conditions=("labels",),
            own_path=True,
        ),
        conditional(
            "soft labels", {"num_classes": 3}, conditions=("soft labels",)
        ),
        conditional(
            "hidden",
            {"hidden_units": 5, "unbiased_moving_variance": True},
            conditions=("features",),
            weights=(*AFFINE, "hidden_kernel", "hidden_bias", "projection"),
        ),
        adaptive(
            "style", {"variant": "style"}, conditions=("style",), centres=False
        ),
        adaptive(
            "half style",
            {"variant": "style", "alpha": 0.5, "unbiased": True},
            conditions=("style",),
            centres=False,
            # A sample of weight 2 has twice the entries, not a twin.
            counts=("steps",),
        ),
        adaptive(
            "generated",
            {"variant": "generated"},
            conditions=("per channel", "per channel"),
            centres=False,
            own_path=True,
        ),
        adaptive(
            "dense",
            {"variant": "dense"},
            centres=False,
            own_path=True,
            **dense,
        ),
        adaptive(
            "dense plain",
            {"variant": "dense", "equalized_learning_rate": False},
            centres=False,
            **dense,
        ),
    ]


def mixtures():
    row = functools.partial(
        Method,
        "SwitchableNormalization",
        48,
        weights=(*AFFINE, "mean_weight", "variance_weight"),
        state=MOMENTS,
        mixes=True,
    )
    return [
        # A sample of weight 2 has twice the entries, not a twin.
        row(counts=("steps",)),
        row("biased", {"unbiased": False}),
        row(
            "without batch",
            {"normalizers": ("instance", "layer")},
            state=(),
            mixes=False,
            counts=("steps",),
        ),
        row("two", {"normalizers": ("layer", "batch")}, counts=("steps",)),
    ]


def population():
    row = functools.partial(
        Method,
        "PopulationBatchNormalization",
        60,
        state=(*MOMENTS, "step"),
        mixes=True,
        centres=False,
    )
    return [
        row(),
        row("half", {"weight": 0.5}),
        row("diminishing", {"weight": "diminishing"}, own_path=True),
        row("dinh", {"weight": 0.3, "bias_correction": "dinh"}),
        row("constant", {"gradient": "none"}),
    ]


def compositions():
    row = functools.partial(Method, "ComposedNormalization", 111)

    def named(**parts):
        return {"oracle": ("ComposedNormalization", parts)}

    batch = {"state": MOMENTS, "mixes": True}
    whole = {"area": "layer", "operation": "scale", "recovery": "none"}
    one = {"area": "instance", "operation": "standardize", "recovery": "none"}
    middle = {"area": "batch", "operation": "center"}
    root = {"area": "batch", "operation": "scale"}
    return [
        row(**batch, **named(statistics="moving")),
        row("instance", one, weights=(), **named(**one)),
        row("layer scale", whole, weights=(), centres=False, **named(**whole)),
        row(
            "group",
            {"area": areas.Area("each", 2)},
            lone_channel=False,
            **named(area="group", groups=2),
        ),
        row(
            "batch of now",
            {"statistics": "batch"},
            mixes=True,
            **named(area="batch"),
        ),
        row(
            "center",
            middle,
            scales=False,
            state=("moving_mean",),
            mixes=True,
            **named(**middle, statistics="moving"),
        ),
        row(
            "scale",
            root,
            state=("moving_second_moment",),
            mixes=True,
            centres=False,
            **named(**root, statistics="moving"),
        ),
        row(
            "deviation",
            {"operation": "scale_by_deviation"},
            state=("moving_variance",),
            mixes=True,
            centres=False,
            oracle=("ScaleOnlyBatchNormalization", {"centered_variance": True}),
        ),
        row(
            "ghost",
            {"area": areas.Area("chunks", size=3)},
            sees_order=True,
            own_path=True,
            oracle=(
                "BatchGroupNormalization",
                {"groups": 8, "batch_groups": 2},
            ),
            ranks=(2, 3, 4),
            lone_channel=False,
            **batch,
        ),
        row(
            "ghost of groups",
            {"area": areas.Area("chunks", 2, size=4)},
            sees_order=True,
            lone_channel=False,
            oracle=False,
            **batch,
        ),
        row(
            "group of L1",
            {
                "area": areas.Area("each", 2),
                "operation": operations.LpDeviation(1),
            },
            own_path=True,
            lone_channel=False,
            oracle=False,
        ),
        row(
            "instance median",
            {
                "area": "instance",
                "operation": operations.Deviation("mad"),
            },
            own_path=True,
            oracle=False,
            counts=(),
        ),
        row(
            "position",
            {"area": "position"},
            oracle=("LayerNormalization", {"epsilon": 1e-5}),
        ),
        row(
            "position scale",
            {"area": "position", "operation": "scale", "recovery": "none"},
            weights=(),
            centres=False,
            mask="passes",
            oracle=("PixelNormalization", {"epsilon": 1e-5}),
        ),
        row(
            "newton",
            {"operation": operations.Newton(4, 3)},
            state=("moving_mean", "moving_matrix"),
            mixes=True,
            oracle=(
                "IterativeNormalization",
                {"group_size": 4, "iterations": 3},
            ),
        ),
        row(
            "population",
            {"statistics": "population"},
            state=(*MOMENTS, "step"),
            mixes=True,
            centres=False,
            oracle=("PopulationBatchNormalization", {}),
        ),
        row(
            "renorm",
            {"statistics": "renorm"},
            state=(*MOMENTS, "moving_stddev", "renorm_mean", "renorm_stddev"),
            mixes=True,
            centres=False,
            oracle=(
                "BatchNormalization",
                {"renorm": True, "epsilon": 1e-5},
            ),
        ),
        row(
            "conditional",
            {"recovery": "conditional"},
            conditions=("features",),
            weights=(*AFFINE, "projection"),
            oracle=("ConditionalBatchNormalization", {}),
            **batch,
        ),
        row(
            "style",
            {"area": "instance", "recovery": "style"},
            conditions=("style",),
            weights=(),
            centres=False,
            oracle=("AdaptiveInstanceNormalization", {}),
        ),
        row(
            "layer dense",
            {"area": "layer", "recovery": "dense"},
            conditions=("features",),
            weights=("kernel", "bias"),
            centres=False,
            oracle=False,
        ),
    ]


TABLE = [
    *batch_normalization(),
    *layer_normalization(),
    *instance_and_group_normalization(),
    *positional_normalization(),
    *batch_group_normalization(),
    *windows(),
    *generalized_divisive_normalization(),
    *scaling(),
    *robust_batch_normalization(),
    *evonorm(),
    *whitening(),
    *recovery(),
    *mixtures(),
    *population(),
    *compositions(),
]
METHODS = [method for method in TABLE if method.exists]


def first_of_each():
    """One row for every layer, for what does not depend on the options."""
    seen = {}
    for method in METHODS:
        seen.setdefault(method.layer, method)
    return list(seen.values())


def representative():
    """The rows of `first_of_each` and those with a path of their own."""
    first = first_of_each()
    return [m for m in METHODS if m.own_path or m in first]


def rows(methods):
    """The rows as parameters of a test.

    Every run takes those that are `representative`. The others differ from
    them by a formula, which tests/oracle_comparison checks in every run; here
    they belong to the long tier.
    """
    usual = representative()
    return [
        pytest.param(m, id=str(m), marks=() if m in usual else pytest.mark.all)
        for m in methods
    ]


def groups(methods, size=6):
    """Rows that share one compiled function, which takes seconds to make."""
    return [methods[i : i + size] for i in range(0, len(methods), size)]
