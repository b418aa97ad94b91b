"""Error messages: the argument, the rule, what was received, the fix."""

import inspect
import re

import numpy as np
import pytest

from contract.methods import METHODS
from contract.methods import first_of_each
from keras_norm import layers
from keras_norm.areas import Area
from keras_norm.core import configuration


def takes_axis(method):
    return "axis" in configuration.arguments(method.cls)


# What refuses is Python that looks at arguments and static shapes.
pytestmark = pytest.mark.once
EACH = first_of_each()
# These take several axes of statistics; the others one channel axis.
SEVERAL = (
    "AdaNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "UnitNormalization",
)
WITH_AXIS = [m for m in EACH if takes_axis(m)]
ONE_AXIS = [m for m in WITH_AXIS if m.layer not in SEVERAL]


def refuses(call, *texts):
    """`call()` must raise a ValueError with all the texts."""
    with pytest.raises(ValueError, match="(?i)received") as caught:
        call()
    for text in texts:
        assert text in str(caught.value)


def takes(method, name):
    return name in inspect.signature(method.cls.__init__).parameters


# Axes and sizes --------------------------------------------------------------


@pytest.mark.parametrize("axis", [4, -5])
@pytest.mark.parametrize("method", WITH_AXIS, ids=str)
def test_axis_out_of_range(method, axis):
    layer = method.make(axis=axis)
    refuses(
        lambda: layer.build(some_shapes(method)),
        "`axis`",
        f"axis={axis}",
        "from -4 to 3",
    )


def some_shapes(method):
    shape = (6, 4, 3, 8)
    rest = [a.shape for a in method.conditions_for(shape)]
    return [shape, *rest] if method.conditions else shape


@pytest.mark.parametrize("method", WITH_AXIS, ids=str)
def test_batch_axis(method):
    layer = method.make(axis=0)
    refuses(lambda: layer.build(some_shapes(method)), "`axis`", "batch axis")


@pytest.mark.parametrize("axis", [(1, 2), [3], 1.0, "channels", None, True])
@pytest.mark.parametrize("method", ONE_AXIS, ids=str)
def test_one_axis_must_be_an_integer(method, axis):
    refuses(lambda: method.make(axis=axis), "`axis`", "one integer")


@pytest.mark.parametrize("axis", [(-1, 3), (0, 1), (), (1, 7)])
@pytest.mark.parametrize("layer", SEVERAL)
def test_several_axes_must_be_distinct_and_in_range(layer, axis):
    layer = getattr(layers, layer)(axis=axis)
    refuses(lambda: layer.build((6, 4, 3, 8)), "`axis`")


@pytest.mark.parametrize(
    "method",
    [m for m in WITH_AXIS if m.layer != "UnitNormalization"],
    ids=str,
)
def test_channels_must_be_known(method):
    shapes = some_shapes(method)
    unknown = (None, 4, 3, None)
    shapes = [unknown, *shapes[1:]] if method.conditions else unknown
    layer = method.make()
    refuses(lambda: layer.build(shapes), "`axis`")


# The moment shortcut takes what broadcasts.
@pytest.mark.parametrize(
    "method", [m for m in EACH if m.layer != "MomentShortcut"], ids=str
)
def test_rank_one_is_refused(method):
    shapes = [(6,), *(s for s in some_shapes(method)[1:])]
    layer = method.make()
    refuses(lambda: layer.build(shapes if method.conditions else (6,)))


@pytest.mark.parametrize(
    "method", [m for m in EACH if 2 not in m.ranks], ids=str
)
def test_layers_over_positions_need_them(method):
    layer = method.make()
    refuses(lambda: layer.build((6, 8)), "input")


# Groups ----------------------------------------------------------------------

GROUPED = [
    (layers.GroupNormalization, {"groups": 3}, "groups"),
    (layers.ComposedNormalization, {"area": Area("each", 3)}, "groups"),
    (getattr(layers, "BatchGroupNormalization", None), {"groups": 3}, "groups"),
    (
        getattr(layers, "EvoNorm", None),
        {"variant": "S0", "groups": 3},
        "groups",
    ),
    (
        getattr(layers, "LocalContextNormalization", None),
        {"channels_per_group": 3},
        "channels_per_group",
    ),
]
GROUPED = [case for case in GROUPED if case[0]]


@pytest.mark.parametrize(
    "cls,options,name", GROUPED, ids=lambda v: getattr(v, "__name__", "")
)
def test_groups_must_divide_the_channels(cls, options, name):
    layer = cls(**options)
    refuses(
        lambda: layer.build((6, 4, 3, 8)), f"`{name}`", "channels=8", "Use 2"
    )


@pytest.mark.parametrize(
    "cls,options,name", GROUPED, ids=lambda v: getattr(v, "__name__", "")
)
def test_no_more_groups_than_channels(cls, options, name):
    area = {"area": Area("each", 16)}
    layer = cls(**(area if "area" in options else {**options, name: 16}))
    refuses(lambda: layer.build((6, 4, 3, 8)), "8")


@pytest.mark.parametrize("groups", [0, -2, 2.0, "2", None, (2,), True])
@pytest.mark.parametrize(
    "cls,options",
    [(c, options) for c, options, _ in GROUPED if "groups" in options],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_groups_must_be_a_positive_integer(cls, options, groups):
    options = {**options, "groups": groups}
    refuses(lambda: cls(**options), "`groups`", "positive integer")


# Masks -----------------------------------------------------------------------

MASKED = [m for m in EACH if m.mask_behaviour == "statistics"]


@pytest.mark.parametrize("method", MASKED, ids=str)
@pytest.mark.parametrize(
    "shape", [(6, 5), (5,), (6, 4, 3, 8, 1), (6, 4, 8)], ids=str
)
def test_mask_must_fit(method, shape):
    mask = np.ones(shape, bool)
    layer = method.shared()
    inputs = method.given(method.inputs())
    refuses(
        lambda: layer(inputs, training=True, mask=mask),
        "`mask`",
        f"mask.shape={shape}",
        "inputs.shape=(6, 4, 3, 8)",
    )


@pytest.mark.parametrize(
    "method", [m for m in EACH if m.mask_behaviour == "refuses"], ids=str
)
def test_mask_is_refused(method):
    layer = method.shared()
    inputs = method.given(method.inputs())
    refuses(lambda: layer(inputs, mask=np.ones(6, bool)), "`mask`")


# Conditions ------------------------------------------------------------------

CONDITIONED = [m for m in METHODS if m.conditions]


@pytest.mark.parametrize(
    "method", [m for m in CONDITIONED if not m.spared], ids=str
)
def test_condition_is_missing(method):
    x = method.inputs()[0]
    given = {"training": True} if method.optional else {}
    layer = method.make()
    name = [n for n in layer.call_names if n not in ("training", "mask")][0]
    refuses(lambda: layer(x, **given), method.layer, "[x, ", name)
    layer = method.built()
    refuses(lambda: layer(x, **given), method.layer, "[x, ")


@pytest.mark.parametrize("method", CONDITIONED, ids=str)
def test_condition_of_another_batch(method):
    x, *others = method.inputs()
    layer = method.built()
    fewer = [np.concatenate([a, a])[:9] for a in others]
    # By us or by the backend, but not silently.
    with pytest.raises(Exception):  # noqa: B017
        layer([x, *fewer])


@pytest.mark.parametrize(
    "method", [m for m in CONDITIONED if "style" in m.conditions], ids=str
)
def test_style_needs_the_same_channels(method):
    layer = method.make()
    refuses(lambda: layer.build([(6, 4, 3, 8), (6, 4, 3, 5)]), "channels", "5")


# Values ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "momentum, method",
    [
        (momentum, m)
        for momentum in (-0.1, 1.5, "0.9", None)
        for m in EACH
        # None is what full normalization has instead: its own schedule.
        if takes(m, "momentum")
        and not (momentum is None and m.layer == "FullNormalization")
    ],
    ids=str,
)
def test_momentum_is_a_fraction(method, momentum):
    refuses(
        lambda: method.make(momentum=momentum),
        "`momentum`",
        "fraction kept",
        f"momentum={momentum!r}",
    )


@pytest.mark.parametrize(
    "method", [m for m in EACH if takes(m, "epsilon")], ids=str
)
def test_epsilon_is_not_negative(method):
    refuses(lambda: method.make(epsilon=-1e-5), "`epsilon`", "-1e-05")


UNKNOWN = [
    ("ComposedNormalization", "area", "bach", "batch"),
    ("ComposedNormalization", "operation", "standardise", "standardize"),
    ("ComposedNormalization", "statistics", "movin", "moving"),
    ("ComposedNormalization", "recovery", "afine", "affine"),
    ("BatchGroupNormalization", "mode", "groupped", "grouped"),
    ("LocalContrastNormalization", "kernel", "gausian", "gaussian"),
    ("LocalContrastNormalization", "border", "renormalise", "renormalize"),
    ("DivisiveNormalization", "border", "zeros", "zero"),
    ("GeneralizedDivisiveNormalization", "variant", "gdn2", "gdn"),
    ("RangeBatchNormalization", "scale_fix", "codes", "code"),
    ("GeneralizedBatchNormalization", "deviation", "rdsd", "rsd"),
    ("EvoNorm", "variant", "B3", "B"),
    ("IterativeNormalization", "running", "matrx", "matrix"),
    ("DecorrelatedBatchNormalization", "whitening", "zac", "zca"),
    ("DecorrelatedBatchNormalization", "running", "covarianc", "covariance"),
    ("WhiteningColoringBatchNormalization", "whitening", "pca", "zca"),
    ("AdaptiveInstanceNormalization", "variant", "styles", "style"),
    ("SwitchableNormalization", "normalizers", ("instanc",), "instance"),
    ("SwitchableWhitening", "normalizers", ("instanc",), "instance"),
    ("SwitchableWhitening", "whitening", "cholesky", "zca"),
    ("GroupWhitening", "whitening", "iterativ", "iterative"),
    ("DomainWhitening", "whitening", "pca", "zca"),
    ("WhitenedDense", "position", "pree", "pre"),
    ("WhitenedDense", "whitening", "zcaa", "zca"),
    ("DeconvolutionConv2D", "padding", "sames", "same"),
    ("DeconvolutionConv2D", "data_format", "channel_last", "channels_last"),
    ("PopulationBatchNormalization", "gradient", "batc", "batch"),
    ("PopulationBatchNormalization", "bias_correction", "din", "dinh"),
    ("GhostBatchNormalization", "update", "means", "mean"),
    ("StochasticBatchNormalization", "inference", "samples", "sample"),
]
WRONG = [
    ("BatchNormalization", "renorm_clipping", {"rmax": 1.0, "rmin": 2.0}),
    ("BatchNormalization", "renorm_clipping", {"max": 1.0}),
    ("BatchNormalization", "renorm_clipping", {"dmax": -1.0}),
    ("BatchGroupNormalization", "batch_groups", 0),
    ("LocalContrastNormalization", "kernel_size", 0),
    ("LocalContrastNormalization", "sigma", -1.0),
    ("LocalContrastNormalization", "floor", "median"),
    ("LocalResponseNormalization", "size", 0),
    ("DivisiveNormalization", "sum_window", 0),
    ("DivisiveNormalization", "sup_window", -3),
    ("GeneralizedDivisiveNormalization", "beta_min", -1.0),
    ("LocalContextNormalization", "window_size", 0),
    ("LocalContextNormalization", "channels_per_group", 0),
    ("RMSNormalization", "partial", 0.0),
    ("RMSNormalization", "partial", 1.5),
    ("LpBatchNormalization", "p", 0),
    ("LpBatchNormalization", "p", "max"),
    ("LpBatchNormalization", "top_k", 0),
    ("RangeBatchNormalization", "num_chunks", 0),
    ("GeneralizedBatchNormalization", "alpha", 1.0),
    ("GroupWhitening", "iterations", -1),
    ("SwitchableWhitening", "normalizers", ()),
    ("SwitchableWhitening", "normalizers", ("layer", "layer")),
    ("SwitchableWhitening", "group_size", 0),
    ("DomainWhitening", "num_domains", 0),
    ("DomainWhitening", "group_size", 0),
    ("DomainWhitening", "inference_domain", 2),
    ("DeconvolutionConv2D", "filters", 0),
    ("DeconvolutionConv2D", "kernel_size", (3, 0)),
    ("DeconvolutionConv2D", "kernel_size", (3, 3, 3)),
    ("DeconvolutionConv2D", "strides", 0),
    ("DeconvolutionConv2D", "dilation_rate", -1),
    ("DeconvolutionConv2D", "groups", 5),
    ("DeconvolutionConv2D", "block", 0),
    ("DeconvolutionConv2D", "sampling_stride", 0),
    ("DeconvolutionDense", "units", 0),
    ("DeconvolutionDense", "block", 1.5),
    ("DeconvolutionDense", "iterations", -1),
    ("ChannelDeconvolution", "block", 0),
    ("ChannelDeconvolution", "sampling_stride", 0),
    ("MeanNormalizedDense", "units", "5"),
    ("WhitenedDense", "units", True),
    ("WhitenedDense", "update_every", 0),
    ("WhitenedDense", "num_samples", 0),
    ("IterativeNormalization", "group_size", 0),
    ("IterativeNormalization", "iterations", -1),
    ("DecorrelatedBatchNormalization", "group_size", 0),
    ("DecorrelatedBatchNormalization", "iterations", -1),
    ("WhiteningColoringBatchNormalization", "num_classes", 0),
    # Of no classes.
    ("WhiteningColoringBatchNormalization", "num_bases", 2),
    ("ConditionalBatchNormalization", "num_classes", 0),
    ("ConditionalBatchNormalization", "hidden_units", -2),
    ("PopulationBatchNormalization", "weight", 1.5),
    ("SwitchableNormalization", "normalizers", ()),
    ("GhostBatchNormalization", "virtual_batch_size", 0),
    ("BatchRenormalization", "rmax", 0.5),
    ("BatchRenormalization", "dmax", -1.0),
    ("FullNormalization", "power", -0.5),
    ("MemorizedBatchNormalization", "memory_size", 0),
    ("MemorizedBatchNormalization", "decay", 0.0),
    ("SwitchableBatchNormalization", "widths", (4, 4)),
    ("SwitchableBatchNormalization", "widths", ()),
    ("SwitchableBatchNormalization", "widths", 8),
]


# Arguments without which there is no layer.
REQUIRED = {
    "GhostBatchNormalization": {"virtual_batch_size": 4},
    "DeconvolutionConv2D": {"filters": 6, "kernel_size": 3},
    "DeconvolutionDense": {"units": 5},
    "MeanNormalizedDense": {"units": 5},
    "WhitenedDense": {"units": 5},
}


@pytest.mark.parametrize("layer,name,wrong,right", UNKNOWN, ids=str)
def test_unknown_names(layer, name, wrong, right):
    cls = getattr(layers, layer)
    renorm = {"renorm": True} if name.startswith("renorm") else {}
    options = {**REQUIRED.get(layer, {}), **renorm, name: wrong}
    refuses(lambda: cls(**options), f"`{name}`", right)


@pytest.mark.parametrize("layer,name,wrong", WRONG, ids=str)
def test_values_that_make_no_sense(layer, name, wrong):
    cls = getattr(layers, layer)
    renorm = {"renorm": True} if name.startswith("renorm") else {}
    options = {**REQUIRED.get(layer, {}), **renorm, name: wrong}
    if layer == "RMSNormalization":
        options = {name: wrong}
    refuses(lambda: cls(**options), f"`{name}`")


def test_messages_print_what_they_talk_about():
    # Keras 3.15 prints the literal "{rmax}" here.
    with pytest.raises(ValueError) as caught:
        layers.BatchNormalization(
            renorm=True, renorm_clipping={"rmax": 0.5, "rmin": 0.8}
        )
    assert not re.search(r"\{r(max|min)\}", str(caught.value))
    assert "0.5" in str(caught.value)
