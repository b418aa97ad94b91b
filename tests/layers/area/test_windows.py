"""Layers whose statistics come from a window, and the window itself.

The formulas here are written with one matrix per axis that says which place
sees which; the package never forms such a matrix.
"""

import json
from functools import reduce
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import gradients as autodiff
from gradients import inference
from keras_norm.core import window_sums
from keras_norm.core.windows import Window
from keras_norm.layers import ComposedNormalization
from keras_norm.layers import DivisiveNormalization
from keras_norm.layers import GeneralizedDivisiveNormalization
from keras_norm.layers import GroupNormalization
from keras_norm.layers import LayerNormalization
from keras_norm.layers import LocalContextNormalization
from keras_norm.layers import LocalContrastNormalization
from keras_norm.layers import LocalResponseNormalization
from keras_norm.layers import PositionalNormalization

BACKEND = keras.backend.backend()
DATA = Path(__file__).parents[2] / "golden" / "data"
SHAPES = {3: (2, 7, 4), 4: (2, 5, 6, 4), 5: (2, 4, 3, 3, 4)}
LAYERS = [
    (LocalContrastNormalization, {"kernel_size": 3}),
    (LocalResponseNormalization, {"size": 3, "alpha": 0.5}),
    (DivisiveNormalization, {"sum_window": 3, "sup_window": 3}),
    (GeneralizedDivisiveNormalization, {}),
    (LocalContextNormalization, {"window_size": 3}),
]


def random(*shape, seed=0, shift=0.0):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def run(layer, x, mask=None):
    if not layer.built:
        layer.build(x.shape)
    return inference(layer, [x], mask=mask, dtype=str(x.dtype))


def gradients(layer, inputs, upstream, mask=None, jit=BACKEND == "jax"):
    # Eager JAX compiles one program for every operation and shape.
    return autodiff.gradients(layer, inputs, upstream, mask=mask, jit=jit)


def scrambled(layer, shape, seed=3):
    """The layer built, its weights drawn from [0.5, 1.5]."""
    layer.build(shape)
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return layer


def values(layer):
    return {
        w.name: ops.convert_to_numpy(w).astype("float64") for w in layer.weights
    }


def close(found, expected, tolerance=2e-5):
    scale = max(np.max(np.abs(expected), initial=0.0), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


# The formulas in float64 ----------------------------------------------------


def seen(lengths, sizes, profiles=None):
    """Matrix over flattened places: how much place i sees place j."""
    matrices = []
    for a, (length, size) in enumerate(zip(lengths, sizes, strict=True)):
        profile = np.ones(size) if profiles is None else profiles[a]
        matrix = np.zeros((length, length))
        for i in range(length):
            for p in range(size):
                j = i - (size - 1) // 2 + p
                if 0 <= j < length:
                    matrix[i, j] = profile[p]
        matrices.append(matrix)
    return reduce(np.kron, matrices, np.ones((1, 1)))


def gauss(size, sigma=None):
    sigma = sigma or 0.25 * size
    profile = np.exp(-(((np.arange(size) - size // 2) / sigma) ** 2) / 2)
    return profile / profile.sum()


def flat(x):
    """(N, *places, C) -> (N, P, C)."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def divided(a, b):
    """a / b, 0 where a window has seen nothing."""
    return a / np.maximum(b, 1e-300)


def local_contrast(x, size, kernel, across, floor, border, w):
    lengths = x.shape[1:-1]
    profile = gauss(size) if kernel == "gaussian" else np.ones(size) / size
    matrix = seen(lengths, [size] * len(lengths), [profile] * len(lengths))
    t, w = flat(x), flat(w)

    def total(values):
        found = np.einsum("ij,njc->nic", matrix, w * values)
        return found.mean(-1, keepdims=True) if across else found

    mass = total(np.ones_like(t))
    if border == "zero":
        v = t - total(t)
        deviation = np.sqrt(total(v**2))
    else:
        v = t - divided(total(t), mass)
        deviation = np.sqrt(divided(total(v**2), mass))
        if border == "torch7":
            deviation = divided(np.sqrt(total(v**2)), mass)
    if floor == "mean":
        every = np.broadcast_to(deviation, t.shape)
        axes = (1, 2) if across else 1
        floor = (w * every).sum(axes, keepdims=True) / w.sum(
            axes, keepdims=True
        )
    return (v / np.maximum(deviation, floor)).reshape(x.shape)


def local_response(x, size, bias, alpha, beta):
    c = np.arange(x.shape[-1])
    apart = c[None, :] - c[:, None]
    near = (apart >= -(size // 2)) & (apart <= (size - 1) // 2)
    return x / (bias + alpha * (x**2) @ near.T) ** beta


def divisive(x, sizes, border, channel_window, gamma, beta, sigma, w):
    lengths = x.shape[1:-1]
    t, w = flat(x), flat(w)

    def mean(values, size):
        matrix = seen(lengths, [size] * len(lengths))
        whole = size ** len(lengths)
        if channel_window:
            channels = seen([x.shape[-1]], [channel_window])
            whole *= channel_window
        else:
            channels = np.ones((x.shape[-1],) * 2)
            whole *= x.shape[-1]

        def total(a):
            return np.einsum("ij,njc,dc->nid", matrix, a, channels)

        below = whole if border == "zero" else total(w)
        return divided(total(w * values), below)

    v = t - mean(t, sizes[0])
    y = gamma * v / np.sqrt(sigma**2 + mean(v**2, sizes[1])) + beta
    return y.reshape(x.shape)


def generalized(x, variant, inverse, exponent, b, g):
    beta, gamma = b**2 - 2.0**-36, g**2 - 2.0**-36
    power = {"gdn": 2, "gdn1": 1}.get(variant, exponent)
    pool = beta + np.abs(x) ** power @ gamma.T
    if variant == "gdn":
        pool = np.sqrt(pool)
    top = np.abs(x) ** power if variant == "neuroscience" else x
    return top * pool if inverse else top / pool


def local_context(x, sizes, width, gamma, beta, epsilon, w):
    matrix = seen(x.shape[1:-1], sizes)
    groups = x.shape[-1] // width
    same = np.kron(np.eye(groups), np.ones((width, width)))
    t, w = flat(x), flat(w)

    def mean(values):
        def total(a):
            return np.einsum("ij,njc,dc->nid", matrix, a, same)

        return divided(total(w * values), total(w))

    mean_square = mean(t**2) - mean(t) ** 2
    y = gamma * (t - mean(t)) / np.sqrt(mean_square + epsilon) + beta
    return y.reshape(x.shape)


def formula(layer, x, w=None):
    """What `layer` should compute, in float64."""
    x = x.astype("float64")
    w = np.ones_like(x) if w is None else w
    at = values(layer)
    if isinstance(layer, LocalContrastNormalization):
        return local_contrast(
            x,
            layer.kernel_size,
            layer.kernel,
            layer.across_channels,
            layer.floor,
            layer.border,
            w,
        )
    if isinstance(layer, LocalResponseNormalization):
        alpha = layer.alpha
        if layer.alpha_per_element:
            alpha = alpha / layer.size
        return local_response(x, layer.size, layer.bias, alpha, layer.beta)
    if isinstance(layer, DivisiveNormalization):
        if x.ndim == 2:
            # The features are the places.
            y = divisive(
                x[..., None],
                (layer.sum_window, layer.sup_window),
                layer.border,
                None,
                at["gamma"][:, None],
                at["beta"][:, None],
                at["sigma"],
                w[..., None],
            )
            return y[..., 0]
        return divisive(
            x,
            (layer.sum_window, layer.sup_window),
            layer.border,
            layer.channel_window,
            at["gamma"],
            at["beta"],
            at["sigma"],
            w,
        )
    if isinstance(layer, GeneralizedDivisiveNormalization):
        return generalized(
            x,
            layer.variant,
            layer.inverse,
            layer.exponent,
            at["beta"],
            at["gamma"],
        )
    sizes = window_sums.per_axis("size", layer.window_size, x.ndim - 2)
    return local_context(
        x,
        sizes,
        layer.channels_per_group,
        at["gamma"],
        at["beta"],
        layer.epsilon,
        w,
    )


CASES = [
    *(
        (
            LocalContrastNormalization,
            {
                "kernel_size": size,
                "kernel": kernel,
                "across_channels": across,
                "border": border,
                "floor": floor,
            },
        )
        for size, kernel, across, border, floor in (
            (3, "gaussian", True, "renormalize", "mean"),
            (5, "gaussian", False, "zero", 0.8),
            (5, "box", True, "torch7", 0.8),
            (3, "box", False, "renormalize", "mean"),
            (15, "box", True, "zero", "mean"),
        )
    ),
    (LocalResponseNormalization, {"size": 3, "alpha": 0.5}),
    (
        LocalResponseNormalization,
        {"size": 4, "alpha": 0.5, "alpha_per_element": True, "beta": 0.5},
    ),
    (LocalResponseNormalization, {"size": 11, "alpha": 0.5, "bias": 1.0}),
    (DivisiveNormalization, {"sum_window": 3, "sup_window": 5}),
    (
        DivisiveNormalization,
        {"sum_window": 4, "sup_window": 2, "border": "renormalize"},
    ),
    (
        DivisiveNormalization,
        {"sum_window": 3, "sup_window": 3, "channel_window": 3},
    ),
    *(
        (
            GeneralizedDivisiveNormalization,
            {"variant": variant, "inverse": inverse},
        )
        for variant in ("gdn", "gdn1")
        for inverse in (False, True)
    ),
    (GeneralizedDivisiveNormalization, {"variant": "neuroscience"}),
    (
        GeneralizedDivisiveNormalization,
        {"variant": "neuroscience", "exponent": 1.5},
    ),
    (LocalContextNormalization, {"window_size": 3}),
    (LocalContextNormalization, {"window_size": 4, "channels_per_group": 4}),
    (LocalContextNormalization, {"window_size": 6, "channels_per_group": 1}),
    (LocalContextNormalization, {}),
]


PASSES = (LocalResponseNormalization, GeneralizedDivisiveNormalization)
# One case or two of each layer, for what hardly depends on the options.
FEW = [
    *LAYERS,
    (LocalContrastNormalization, {"kernel": "box", "border": "zero"}),
    (LocalContrastNormalization, {"border": "torch7", "floor": 0.5}),
    (DivisiveNormalization, {"border": "renormalize"}),
    (GeneralizedDivisiveNormalization, {"variant": "gdn1"}),
    (GeneralizedDivisiveNormalization, {"variant": "neuroscience"}),
    (LocalContextNormalization, {}),
]


def case_id(value):
    if isinstance(value, dict):
        return "-".join(map(str, value.values())) or "defaults"
    return getattr(value, "__name__", None)


# Golden vectors -------------------------------------------------------------

GOLDEN = {
    "local_contrast_norm_nn": (
        LocalContrastNormalization,
        {
            "kernel_size": 9,
            "sigma": 2.25,
            "floor": 1e-4,
            "floor_value": 1e-4,
            "border": "torch7",
        },
    ),
    "local_response_norm_tf": (LocalResponseNormalization, {"size": 5}),
    "local_response_norm_torch": (
        LocalResponseNormalization,
        {"size": 5, "alpha": 5e-4, "alpha_per_element": True},
    ),
    "divisive_norm_1d": (
        DivisiveNormalization,
        {"sum_window": 3, "sup_window": 3, "learn_sigma": False},
    ),
    "divisive_norm_2d": (
        DivisiveNormalization,
        {"sum_window": (3, 3), "sup_window": (3, 3)},
    ),
    "gdn": (GeneralizedDivisiveNormalization, {}),
    "gdn1": (GeneralizedDivisiveNormalization, {"variant": "gdn1"}),
    "local_context_norm": (
        LocalContextNormalization,
        {"window_size": (5, 3), "compat": True},
    ),
    "local_context_norm_global": (LocalContextNormalization, {"compat": True}),
}


@pytest.mark.parametrize(
    "move",
    (False, pytest.param(True, marks=pytest.mark.all)),
    ids=("as stored", "moved"),
)
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name, move):
    lines = (DATA / "manifest.jsonl").read_text().splitlines()
    row = next(r for r in map(json.loads, lines) if r["name"] == name)
    arrays = dict(np.load(DATA / f"{name}.npz"))
    axis = 1 if row["layout"] == "channels_first" else -1
    if move:
        for key in ("x", "y", "dy", "dx"):
            arrays[key] = np.moveaxis(arrays[key], axis, -axis)
        axis = -axis
    cls, options = GOLDEN[name]
    layer = cls(axis=axis, **options)
    layer.build(arrays["x"].shape)
    for weight in layer.weights:
        if f"param_{weight.name}" in arrays:
            weight.assign(np.squeeze(arrays[f"param_{weight.name}"]))
    found = gradients(layer, [arrays["x"]], arrays["dy"])
    tolerance = 2e-5 if row["dtype"] == "float64" else 5e-5

    def near(value, expected):
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(
            value, np.squeeze(expected), rtol=0, atol=tolerance * scale
        )

    near(np.squeeze(found.outputs), arrays["y"])
    near(np.squeeze(found.inputs[0]), arrays["dx"])
    for key in ("gamma", "beta"):
        if f"grad_{key}" in arrays:
            near(found.weights[key], arrays[f"grad_{key}"])


# Formulas -------------------------------------------------------------------


@pytest.mark.parametrize(
    "rank",
    (
        4,
        pytest.param(3, marks=pytest.mark.all),
        pytest.param(5, marks=pytest.mark.all),
    ),
)
@pytest.mark.parametrize("cls, options", CASES, ids=case_id)
def test_output_is_the_formula(cls, options, rank):
    shape = SHAPES[rank]
    layer = scrambled(cls(**options), shape)
    x = random(*shape)
    expected = formula(layer, x)
    close(run(layer, x), expected)
    first = scrambled(cls(axis=1, **options), (*shape[:1], 4, *shape[1:-1]))
    y = run(first, np.moveaxis(x, -1, 1))
    close(np.moveaxis(y, 1, -1), expected)


@pytest.mark.parametrize(
    "cls, options",
    [
        (LocalResponseNormalization, {"size": 4, "alpha": 0.5}),
        (DivisiveNormalization, {"sum_window": 3, "sup_window": 5}),
        (
            DivisiveNormalization,
            {"sum_window": 3, "sup_window": 2, "border": "renormalize"},
        ),
        (GeneralizedDivisiveNormalization, {}),
    ],
    ids=case_id,
)
def test_features_without_positions(cls, options):
    layer = scrambled(cls(**options), (5, 8))
    x = random(5, 8)
    close(run(layer, x), formula(layer, x))


@pytest.mark.parametrize(
    "cls, options, masked",
    [
        pytest.param(
            *case, masked, marks=[pytest.mark.all] if masked and i % 2 else []
        )
        for i, case in enumerate(CASES)
        for masked in (False, True)
        if not (masked and case[0] in PASSES)
    ],
    ids=case_id,
)
def test_gradient_is_that_of_the_formula(cls, options, masked):
    # One spatial axis that is longer than the windows and one that is not.
    shape = (2, 5, 3, 4)
    layer = scrambled(cls(**options), shape)
    x, dy = random(*shape), random(*shape, seed=1)
    mask = weights = None
    if masked:
        mask = np.random.default_rng(2).uniform(0.2, 1.0, shape[:2])
        mask[0, 1] = mask[1, 4] = 0.0
        mask = mask.astype("float32")
        weights = np.broadcast_to(mask[..., None, None], shape)
        dy = dy * (weights > 0)
    found = gradients(layer, [x], dy, mask=mask)

    def loss(moved):
        return np.sum(dy * formula(layer, moved, weights))

    x = x.astype("float64")
    expected = np.zeros(shape)
    step = 1e-6
    for index in np.ndindex(*shape):
        there = np.zeros(shape)
        there[index] = step
        expected[index] = (loss(x + there) - loss(x - there)) / (2 * step)
    close(found.inputs[0], expected, 1e-4)
    for weight in layer.trainable_weights:
        at = values(layer)[weight.name]
        for index in list(np.ndindex(*at.shape))[:6]:
            there = np.zeros(at.shape)
            there[index] = 1e-2
            change = []
            for sign in (1, -1):
                weight.assign(at + sign * there)
                change.append(loss(x))
            weight.assign(at)
            # Central differences are wrong by the third derivative.
            close(
                found.weights[weight.name][index],
                (change[0] - change[1]) / 2e-2,
                5e-3,
            )


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5},
        {"kernel_size": 5, "kernel": "box", "across_channels": False},
        {"kernel_size": 3, "border": "torch7", "floor": 0.5},
        {"kernel_size": 3, "border": "zero"},
    ],
    ids=case_id,
)
def test_masked_local_contrast_is_that_of_the_rest(options):
    check_cut(LocalContrastNormalization(**options))


@pytest.mark.parametrize("border", ("zero", "renormalize"))
@pytest.mark.parametrize("channel_window", (None, 3))
def test_masked_divisive_is_that_of_the_rest(border, channel_window):
    check_cut(
        DivisiveNormalization(
            3, 5, border=border, channel_window=channel_window
        )
    )


@pytest.mark.parametrize("size", (2, 5, 227))
@pytest.mark.parametrize("width", (1, 4))
def test_masked_local_context_is_that_of_the_rest(size, width):
    check_cut(LocalContextNormalization(width, size))


def check_cut(layer):
    """Masked margins of NaN give what the layer computes without them."""
    x = random(2, 7, 8, 4, shift=3.0)
    scrambled(layer, x.shape)
    inner = (slice(None), slice(1, 5), slice(2, 8))
    mask = np.zeros(x.shape[:3], bool)
    mask[inner] = True
    padded = np.where(mask[..., None], x, np.nan).astype("float32")
    y = run(layer, padded, mask=mask)
    assert np.all(np.isfinite(y))
    alone = type(layer).from_config(layer.get_config())
    close(y[inner], run(scrambled(alone, x[inner].shape), x[inner]))


@pytest.mark.parametrize("cls, options", LAYERS, ids=case_id)
@pytest.mark.parametrize("rank", (1, 2, 4))
def test_masks_of_every_rank(cls, options, rank):
    x = random(4, 5, 6, 4)
    layer = scrambled(cls(**options), x.shape)
    mask = np.random.default_rng(1).random(x.shape[:rank]) < 0.7
    mask.reshape(-1)[0] = True
    spread = mask.reshape(mask.shape + (1,) * (4 - rank))
    # Whatever is masked, however large.
    hidden = np.where(
        spread, x, np.nan if rank == 1 or cls in PASSES else 1e30
    ).astype("float32")
    y = run(layer, hidden, mask=mask)
    assert np.all(np.isfinite(y))
    kept = np.broadcast_to(spread, x.shape)
    x = np.where(kept, x, 0.0).astype("float32")
    np.testing.assert_allclose(run(layer, x, mask=mask)[kept], y[kept], 0, 1e-5)


def test_a_mask_of_ones_changes_nothing():
    x = random(2, 5, 6, 4)
    for cls, options in LAYERS:
        layer = scrambled(cls(**options), x.shape)
        close(run(layer, x, mask=np.ones(x.shape[:3])), run(layer, x), 1e-6)


# Identities -----------------------------------------------------------------


def test_local_response_conventions():
    x = random(2, 3, 3, 8)
    paper = LocalResponseNormalization(size=5, alpha=0.1)
    torch = LocalResponseNormalization(
        size=5, alpha=0.5, alpha_per_element=True
    )
    close(run(paper, x), run(torch, x), 1e-6)
    plain = LocalResponseNormalization(alpha=0.0, bias=3.0, beta=0.5)
    close(run(plain, x), x / np.sqrt(3.0), 1e-6)
    covering = LocalResponseNormalization(size=15, alpha=0.1)
    common = (2.0 + 0.1 * np.sum(x**2, -1, keepdims=True)) ** 0.75
    close(run(covering, x), x / common, 1e-6)


def test_divisive_windows_that_cover_the_image_are_layer_normalization():
    x = random(2, 4, 5, 6, shift=2.0)
    layer = DivisiveNormalization(
        11, 11, border="renormalize", sigma_initializer=0.1
    )
    whole = LayerNormalization(axis=(1, 2, 3), epsilon=0.01, param_axis=-1)
    close(run(layer, x), run(whole, x))
    features = x[:, 0, 0]
    layer = DivisiveNormalization(
        13, 13, border="renormalize", sigma_initializer=0.1
    )
    close(run(layer, features), run(LayerNormalization(epsilon=0.01), features))


def test_divisive_with_a_large_sigma_is_linear():
    x = random(2, 4, 5, 6)
    layer = DivisiveNormalization(3, 3, sigma_initializer=1e6)
    matrix = seen((4, 5), (3, 3)) / 9
    mean = np.einsum("ij,nj->ni", matrix, flat(x).mean(-1))
    close(1e6 * run(layer, x), x - mean.reshape(2, 4, 5, 1), 1e-5)


def test_divisive_loss():
    x = random(2, 4, 5, 3)
    layer = DivisiveNormalization(3, 3, l1=0.1)
    layer(x)
    matrix = seen((4, 5), (3, 3)) / 9
    mean = np.einsum("ij,nj->ni", matrix, flat(x).mean(-1))
    v = x - mean.reshape(2, 4, 5, 1)
    (loss,) = layer.losses
    close(ops.convert_to_numpy(loss), 0.1 * np.mean(np.abs(v)), 1e-6)
    model = keras.Sequential([keras.Input((4, 5, 3)), layer])
    model.compile("sgd", loss=lambda y, p: 0.0 * ops.sum(p))
    total = model.evaluate(x, x, verbose=0)
    np.testing.assert_allclose(total, 0.1 * np.mean(np.abs(v)), rtol=1e-5)


def test_divisive_sigma():
    layer = DivisiveNormalization(3, 3, sigma_initializer=0.25)
    layer.build((None, 4, 4, 3))
    assert [w.name for w in layer.trainable_weights] == [
        "gamma",
        "beta",
        "sigma",
    ]
    assert float(ops.convert_to_numpy(layer.sigma)[0]) == 0.25
    fixed = DivisiveNormalization(
        3, 3, learn_sigma=False, sigma_initializer="ones"
    )
    fixed.build((None, 4, 4, 3))
    assert [w.name for w in fixed.non_trainable_weights] == ["sigma"]


def test_generalized_divisive_identity_and_inverse():
    x = random(2, 4, 4, 3)
    layer = GeneralizedDivisiveNormalization(gamma_init=0.0)
    close(run(layer, x), x, 1e-6)
    small = GeneralizedDivisiveNormalization(gamma_init=1e-4)
    back = GeneralizedDivisiveNormalization(gamma_init=1e-4, inverse=True)
    close(run(back, run(small, x)), x, 1e-5)


@pytest.mark.parametrize("name", ("beta", "gamma"))
def test_bound_lets_pass_what_leads_up(name):
    x = np.ones((1, 1), "float32")
    for stored, passes in ((0.5, True), (-1.0, None)):
        layer = GeneralizedDivisiveNormalization(beta_min=0.01)
        layer.build(x.shape)
        weight = getattr(layer, name)
        weight.assign(np.full(weight.shape, stored))
        # y = x / sqrt(beta + gamma): a larger weight makes it smaller.
        for dy, leads_up in ((1.0, True), (-1.0, False)):
            found = gradients(layer, [x], np.full((1, 1), dy, "float32"))
            moved = found.weights[name].reshape(()) != 0
            assert moved == (leads_up if passes is None else passes)


def test_generalized_divisive_gradient_at_zero():
    x = np.zeros((1, 3, 2), "float32")
    for variant in ("gdn", "gdn1", "neuroscience"):
        for exponent in (1.0, 1.5, 2.0) if variant[0] == "n" else (2.0,):
            layer = GeneralizedDivisiveNormalization(variant, exponent=exponent)
            found = gradients(layer, [x], np.ones(x.shape, "float32"))
            expected = 0.0 if variant == "neuroscience" else 1.0
            np.testing.assert_allclose(
                found.inputs[0], np.full(x.shape, expected), atol=1e-6
            )


def test_local_context_windows_that_cover_the_image_are_groups():
    x = random(2, 4, 6, 8, shift=1.0)
    groups = run(GroupNormalization(4, epsilon=1e-5), x)
    close(run(LocalContextNormalization(2, 11), x), groups)
    close(run(LocalContextNormalization(2, (7, 300)), x), groups)
    close(run(LocalContextNormalization(), x), groups)
    features = x[:, 0, 0]
    close(
        run(LocalContextNormalization(4), features),
        run(GroupNormalization(2, epsilon=1e-5), features),
    )


def test_local_context_of_one_position():
    x = random(2, 4, 6, 8)
    layer = LocalContextNormalization(8, 1)
    close(run(layer, x), run(PositionalNormalization(unbiased=False), x))


def test_local_context_of_the_authors_has_no_gradient_in_statistics():
    x, dy = random(2, 6, 7, 4), random(2, 6, 7, 4, seed=1)
    layer = scrambled(LocalContextNormalization(2, 3, compat=True), x.shape)
    at = values(layer)
    y = gradients(layer, [x], dy)
    twice = gradients(layer, [x], 2 * dy)
    rate = y.inputs[0] / (dy * at["gamma"])
    close(twice.inputs[0], 2 * y.inputs[0])
    # The same for the channels of a group, and positive.
    close(rate[..., 0], rate[..., 1], 1e-4)
    close(rate[..., 2], rate[..., 3], 1e-4)
    assert np.all(rate > 0)


def test_local_contrast_ignores_scale():
    x = random(2, 8, 9, 3)
    layer = LocalContrastNormalization(kernel_size=5)
    close(run(layer, 100 * x), run(layer, x))
    close(run(layer, x + 7), run(layer, x))
    floored = LocalContrastNormalization(
        kernel_size=5, floor=1e9, floor_value=2.0
    )
    tiny = LocalContrastNormalization(kernel_size=5, floor=1e9)
    close(2.0 * run(floored, x), 1e9 * run(tiny, x), 1e-6)


def test_local_contrast_of_flat_regions():
    x = random(2, 9, 9, 3)
    x[:, :7] = 3.0
    dy = np.ones(x.shape, "float32")
    for options in ({}, {"floor": 1e-4}, {"border": "torch7"}):
        layer = LocalContrastNormalization(kernel_size=3, **options)
        found = gradients(layer, [x], dy)
        assert np.all(found.outputs[:, :5] == 0)
        assert np.all(np.isfinite(found.inputs[0]))
    # All valid places alone in their windows: there is nothing to compare.
    alone = np.zeros((2, 9, 9), bool)
    alone[:, ::3, ::3] = True
    layer = LocalContrastNormalization(kernel_size=3, across_channels=False)
    assert np.all(run(layer, random(2, 9, 9, 3), mask=alone)[alone] == 0)


# The area in the generic layer ----------------------------------------------


@pytest.mark.parametrize(
    "operation", ("standardize", "center", "scale", "scale_by_deviation")
)
@pytest.mark.parametrize("masked", (False, True), ids=("all", "masked"))
def test_window_with_other_operations(operation, masked):
    x = random(2, 5, 6, 4, shift=2.0)
    w = np.ones(x.shape)
    mask = None
    if masked:
        mask = np.random.default_rng(1).uniform(0.1, 1.0, (2, 5))
        mask = mask.astype("float32")
        w = w * mask[..., None, None]
    layer = ComposedNormalization(Window(3, 2), operation, epsilon=1e-3)
    layer = ComposedNormalization.from_config(layer.get_config())
    matrix = seen((5, 6), (3, 3))
    same = np.kron(np.eye(2), np.ones((2, 2)))

    def mean(values):
        def total(a):
            found = np.einsum("ij,njc,dc->nid", matrix, flat(a), same)
            return found.reshape(a.shape)

        return total(w * values) / total(w)

    m, square = mean(x), mean(x.astype("float64") ** 2)
    expected = {
        "standardize": (x - m) / np.sqrt(square - m**2 + 1e-3),
        "center": x - m,
        "scale": x / np.sqrt(square + 1e-3),
        "scale_by_deviation": x / np.sqrt(square - m**2 + 1e-3),
    }[operation]
    close(run(layer, x, mask=mask), expected)


def test_window_refuses_what_it_cannot_do():
    x = random(2, 5, 6, 4)
    with pytest.raises(ValueError, match="`operation` over windows"):
        ComposedNormalization(Window(3), "lp")(x)
    with pytest.raises(ValueError, match="nothing to keep"):
        ComposedNormalization(Window(3), statistics="moving")(x)
    with pytest.raises(ValueError, match="`channels_per_group` must divide"):
        LocalContextNormalization(3)(x)
    for size in (0, 2.5, (3, 0), ()):
        with pytest.raises(ValueError, match="`window_size`"):
            LocalContextNormalization(2, size)
    with pytest.raises(ValueError, match="one size for each axis"):
        LocalContextNormalization(2, (3, 3, 3))(x)


@pytest.mark.parametrize(
    "cls, options, message",
    [
        (LocalContrastNormalization, {"kernel_size": 4}, "must be odd"),
        (LocalContrastNormalization, {"kernel": "gauss"}, "gaussian"),
        (LocalContrastNormalization, {"border": "same"}, "`border`"),
        (LocalContrastNormalization, {"floor": "median"}, "`floor`"),
        (LocalContrastNormalization, {"floor": 0.0}, "must be positive"),
        (LocalContrastNormalization, {"sigma": -1.0}, "`sigma`"),
        (
            LocalContrastNormalization,
            {"sigma": 1.0, "kernel": "box"},
            "kernel='gaussian'",
        ),
        (LocalResponseNormalization, {"size": 0}, "`size`"),
        (LocalResponseNormalization, {"bias": 0.0}, "`bias`"),
        (LocalResponseNormalization, {"alpha": -1.0}, "`alpha`"),
        (DivisiveNormalization, {"sum_window": 0}, "`sum_window`"),
        (DivisiveNormalization, {"channel_window": -1}, "`channel_window`"),
        (DivisiveNormalization, {"border": "torch7"}, "`border`"),
        (DivisiveNormalization, {"l1": -1.0}, "`l1`"),
        (GeneralizedDivisiveNormalization, {"variant": "gdn2"}, "`variant`"),
        (GeneralizedDivisiveNormalization, {"beta_min": 0}, "`beta_min`"),
        (GeneralizedDivisiveNormalization, {"gamma_init": -1}, "gamma_init"),
        (GeneralizedDivisiveNormalization, {"exponent": 3.0}, "`exponent`"),
    ],
    ids=str,
)
def test_arguments_are_checked(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_inputs_are_checked():
    with pytest.raises(ValueError, match="at least one spatial axis"):
        LocalContrastNormalization()(random(2, 4))
    with pytest.raises(ValueError, match="`channel_window` must be None"):
        DivisiveNormalization(channel_window=3)(random(2, 4))
    with pytest.raises(TypeError, match="no argument 'epsilon'"):
        DivisiveNormalization(epsilon=1e-3)
    with pytest.raises(TypeError, match="no argument 'center'"):
        GeneralizedDivisiveNormalization(center=False)


# Numbers, sizes, formats ----------------------------------------------------


def box_mean(t, size):
    """Means over windows of (H, W, C), cut at the border, in float64."""
    for axis in (0, 1):
        t = np.moveaxis(t, axis, 0)
        sums = np.concatenate([np.zeros((1, *t.shape[1:])), np.cumsum(t, 0)])
        i = np.arange(t.shape[0])
        low = np.maximum(i - (size - 1) // 2, 0)
        high = np.minimum(i + size // 2, t.shape[0] - 1) + 1
        count = (high - low).reshape(-1, *[1] * (t.ndim - 1))
        t = np.moveaxis((sums[high] - sums[low]) / count, 0, axis)
    return t


@pytest.mark.parametrize("content", ("offset", "outlier", "ramp", "blocks"))
@pytest.mark.parametrize("size", (3, 31))
def test_large_images_far_from_zero(content, size):
    x = random(1, 256, 256, 2).astype("float64")
    if content == "ramp":
        # Flat land in an image of high contrast: local deviation 1.
        x += np.arange(256).reshape(1, -1, 1, 1)
    elif content == "blocks":
        x[:, :100] += 1e3
    else:
        x += 1e4
    if content == "outlier":
        x[:, 0, 0] = 0.0
    x = x.astype("float32")
    y = run(LocalContextNormalization(1, size), x)[0]
    t = x[0].astype("float64")
    mean = box_mean(t, size)
    about = t - t.mean((0, 1))
    variance = box_mean(about**2, size) - box_mean(about, size) ** 2
    expected = (t - mean) / np.sqrt(variance + 1e-5)
    # One float32 ulp of the blocks is 6e-5, and windows of 3 may have a small
    # deviation.
    tolerance = 5e-4 if content == "blocks" else 1e-4
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)
    if size > 3:
        return
    layer = DivisiveNormalization(
        size, size, border="renormalize", channel_window=1
    )
    v = t - mean
    expected = v / np.sqrt(1 + box_mean(v**2, size))
    np.testing.assert_allclose(
        run(layer, x)[0], expected, rtol=0, atol=tolerance
    )
    layer = LocalContrastNormalization(
        size, kernel="box", across_channels=False, floor=0.1
    )
    expected = v / np.maximum(np.sqrt(box_mean(v**2, size)), 0.1)
    np.testing.assert_allclose(
        run(layer, x)[0], expected, rtol=0, atol=tolerance
    )


def test_zero_border_far_from_zero():
    x = random(1, 20, 20, 3, shift=1e4)
    for layer in (
        DivisiveNormalization(5, 5),
        LocalContrastNormalization(5, border="zero", floor=0.1),
    ):
        scrambled(layer, x.shape)
        expected = formula(layer, x)
        y = run(layer, x)
        inside = (slice(None), slice(6, 14), slice(6, 14))
        np.testing.assert_allclose(y[inside], expected[inside], 0, 1e-4)
        np.testing.assert_allclose(y, expected, 1e-3, 1e-3)


@pytest.mark.parametrize("cls, options", LAYERS, ids=case_id)
def test_formats(cls, options):
    x = random(2, 5, 6, 4)
    expected = run(cls(**options), x)
    y = run(cls(dtype="mixed_float16", **options), x)
    assert y.dtype == "float16"
    close(y.astype("float32"), expected, 1e-3)
    large = np.full((2, 5, 6, 4), 6e4, "float16")
    large[0, ::2] = -6e4
    y = run(cls(dtype="mixed_float16", **options), large)
    assert np.all(np.isfinite(y))
    whole = np.arange(240).reshape(2, 5, 6, 4).astype("int32")
    y = run(cls(**options), whole)
    close(y, run(cls(**options), whole.astype("float32")), 1e-6)


@pytest.mark.parametrize("cls, options", FEW, ids=case_id)
def test_degenerate_inputs(cls, options):
    layer = cls(**options)
    empty = run(layer, np.zeros((0, 5, 6, 4), "float32"))
    assert empty.shape == (0, 5, 6, 4)
    for value in (0.0, 1e4 + 0.1):
        x = np.full((2, 5, 6, 4), value, "float32")
        found = gradients(layer, [x], np.ones(x.shape, "float32"))
        assert np.all(np.isfinite(found.outputs))
        assert np.all(np.isfinite(found.inputs[0]))
        subtracts = isinstance(
            layer, (LocalContrastNormalization, LocalContextNormalization)
        )
        if subtracts and getattr(layer, "border", "") != "zero":
            assert np.all(found.outputs == 0)
    nothing = np.zeros((2, 5, 6), bool)
    assert np.all(np.isfinite(run(layer, random(2, 5, 6, 4), mask=nothing)))


@pytest.mark.parametrize(
    "cls, options",
    [
        *FEW,
        (LocalContextNormalization, {"window_size": 3, "compat": True}),
        (LocalContextNormalization, {"window_size": 5, "compat": True}),
    ],
    ids=case_id,
)
def test_unknown_sizes(cls, options):
    x = random(2, 5, 6, 4)
    layer = scrambled(cls(**options), x.shape)
    expected = run(layer, x)
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, layer(inputs))
    close(model.predict(x, verbose=0), expected, 1e-6)
    assert layer.compute_output_shape((None, None, 6, 4)) == (None, None, 6, 4)


@pytest.mark.compile
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="JAX compiles all; PyTorch: contract"
)
@pytest.mark.parametrize(
    "cls, options",
    [*LAYERS, (LocalContextNormalization, {"window_size": 3, "compat": True})],
    ids=case_id,
)
def test_compiled_step(cls, options):
    x, dy = random(2, 5, 6, 4), random(2, 5, 6, 4, seed=1)
    layer = scrambled(cls(**options), x.shape)
    mask = np.ones((2, 5), bool)
    mask[1, 3:] = False
    for m in (None, mask):
        eager = gradients(layer, [x], dy, mask=m)
        compiled = gradients(layer, [x], dy, mask=m, jit=True)
        close(compiled.outputs, eager.outputs)
        close(compiled.inputs[0], eager.inputs[0])


@pytest.mark.parametrize("cls, options", CASES, ids=case_id)
def test_config(cls, options):
    layer = cls(name="layer", **options)
    config = json.loads(json.dumps(layer.get_config()))
    again = cls.from_config(config)
    assert again.get_config() == layer.get_config()
    layer.build((None, 5, 6, 4))
    assert layer.get_config() == again.get_config()
    for key, value in options.items():
        assert getattr(again, key) == value


def test_archive(tmp_path):
    x = random(2, 9, 9, 4)
    stack = [scrambled(cls(**options), x.shape) for cls, options in LAYERS]
    model = keras.Sequential([keras.Input((9, 9, 4)), *stack])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    close(again.predict(x, verbose=0), model.predict(x, verbose=0), 1e-6)
