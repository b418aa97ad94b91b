"""Cosine normalization of convolutions against the formula in float64."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from functions import differences
from gradients import gradients
from layers.weights.holder import Holder
from layers.weights.kinds import array

EPSILON = 1e-12
# Float32 results of sums of up to 36 products, each a rounding of 6e-8.
ROUNDING = 3e-6

CASES = {
    "valid": {},
    "same": {"padding": "same", "per_neuron": True},
    "strided": {"padding": "same", "strides": 2, "kernel_size": (3, 2)},
    "dilated": {"padding": "same", "dilation_rate": 2},
    "grouped": {"groups": 2, "strides": (1, 2)},
    "channels": {"groups": 4},
    "first": {"data_format": "channels_first", "padding": "same", "groups": 2},
    "plain": {"scale": False, "use_bias": False},
}
CASES |= {f"centred {k}": {**v, "centered": True} for k, v in CASES.items()}
SHAPE = (2, 5, 6, 4)


def two(value):
    return (value, value) if isinstance(value, int) else value


def patches(x, options):
    """{(row, column): (N, kh, kw, C)} of what the kernel sees."""
    size, stride, dilation = (
        two(options.get(name, default))
        for name, default in (
            ("kernel_size", 3),
            ("strides", 1),
            ("dilation_rate", 1),
        )
    )
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    if options.get("padding") == "same":
        widths = [(0, 0)]
        for i in range(2):
            n = x.shape[i + 1]
            outputs = -(-n // stride[i])
            total = max((outputs - 1) * stride[i] + reach[i] - n, 0)
            widths.append((total // 2, total - total // 2))
        x = np.pad(x, [*widths, (0, 0)])
    counts = [(x.shape[i + 1] - reach[i]) // stride[i] + 1 for i in range(2)]
    found = {}
    for a, b in np.ndindex(*counts):
        rows = a * stride[0] + dilation[0] * np.arange(size[0])
        columns = b * stride[1] + dilation[1] * np.arange(size[1])
        found[a, b] = x[:, rows][:, :, columns]
    return found, counts


def formula(options):
    """The layer as a function of x and its weights."""
    groups = options.get("groups", 1)
    first = options.get("data_format") == "channels_first"

    def function(x, kernel, *rest):
        rest = list(rest)
        bias = rest.pop(0) if options.get("use_bias", True) else 0
        gamma = rest.pop(0) if options.get("scale", True) else 1
        x = np.moveaxis(x, 1, -1) if first else x
        seen, counts = patches(x, options)
        t = np.zeros((len(x), *counts, kernel.shape[-1]))
        filters = np.split(kernel, groups, axis=-1)
        each = filters[0].shape[-1]
        for (a, b), patch in seen.items():
            for g, part in enumerate(np.split(patch, groups, axis=-1)):
                p = part.reshape(len(x), -1)
                w = filters[g].reshape(p.shape[1], -1)
                if options.get("centered"):
                    p = p - p.mean(1, keepdims=True)
                    w = w - w.mean(0)
                of_p = np.sqrt(np.maximum(np.sum(p**2, 1), EPSILON))
                of_w = np.sqrt(np.maximum(np.sum(w**2, 0), EPSILON))
                cosines = p @ w / of_p[:, None] / of_w
                t[:, a, b, g * each : (g + 1) * each] = cosines
        y = gamma * t + bias
        return np.moveaxis(y, -1, 1) if first else y

    return function


def built(shape, **options):
    """A layer with weights that are not special."""
    layer = kn.layers.CosineConv2D(
        **{"filters": 4, "kernel_size": 3, **options}
    )
    layer.build(shape)
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(0.4, 1, w.shape) for w in layer.weights])
    return layer


def data(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1, shape).astype("float32")


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case):
    options = CASES[case]
    x = data()
    if options.get("data_format") == "channels_first":
        x = np.moveaxis(x, -1, 1)
    layer = built(x.shape, **options)
    weights = [array(w).astype("float64") for w in layer.weights]
    function = formula(options)
    expected = function(x.astype("float64"), *weights)
    assert layer.compute_output_shape(x.shape) == expected.shape
    upstream = np.random.default_rng(1).normal(size=expected.shape)
    found = gradients(layer, [x], upstream)
    assert np.abs(found.outputs - expected).max() <= ROUNDING
    wanted = differences(function, [x, *weights], upstream)
    names = [w.name for w in layer.weights]
    given = [found.inputs[0], *(found.weights[n] for n in names)]
    for a, b in zip(given, wanted, strict=True):
        # Sums over up to 60 patches, and 1e-7 of the differences.
        assert np.abs(a - b).max() <= 1e-5 * max(1, np.abs(b).max())


@pytest.mark.parametrize("centered", [False, True])
def test_scales_do_not_matter_and_nothing_exceeds_1(centered):
    options = {"centered": centered, "scale": False, "use_bias": False}
    layer, x = built(SHAPE, **options), data()
    kernel = array(layer.kernel)
    x[0, 1:4, 2:5] = 3 * kernel[..., 1]
    y = array(layer(x))
    assert abs(y[0, 1, 2, 1] - 1) <= ROUNDING
    assert np.abs(y).max() <= 1 + ROUNDING
    assert np.abs(array(layer(1e4 * x)) - y).max() <= ROUNDING
    layer.kernel.assign(100 * kernel * np.arange(1, 5, dtype="float32"))
    assert np.abs(array(layer(x)) - y).max() <= ROUNDING


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("shift", [1e4, -1e5])
def test_centred_far_from_zero(shift, padding):
    promised = {1e4: 1e-4, 1e5: 1e-3}[abs(shift)]
    options = {"centered": True, "padding": padding}
    options |= {"scale": False, "use_bias": False}
    x = (data((2, 9, 8, 4)) + shift).astype("float32")
    layer = built(x.shape, **options)
    kernel = array(layer.kernel).astype("float64")
    expected = formula(options)(x.astype("float64"), kernel)
    assert np.abs(array(layer(x)) - expected).max() <= promised


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("value", [0.0, 255.0, 7e4])
def test_flat_patches_and_zero_weights(centered, value):
    options = {"centered": centered, "scale": False, "use_bias": False}
    layer, x = built((1, 8, 8, 3), **options), data((1, 8, 8, 3))
    # Flat on the left, and far from what is on the right.
    x[:, :, :5] = value
    kernel = np.array(array(layer.kernel))
    kernel[..., 0] = 0
    layer.kernel.assign(kernel)
    found = gradients(layer, [x], np.ones((1, 6, 6, 4)))
    for t in (found.outputs, found.inputs[0], found.weights["kernel"]):
        assert np.all(np.isfinite(t))
    assert np.abs(found.outputs[..., 0]).max() == 0
    assert np.abs(found.outputs).max() <= 1 + ROUNDING
    if centered or value == 0:
        # A few roundings over the least deviation, 2^-12.
        assert np.abs(found.outputs[:, :, :3]).max() <= 8 * 2.0**-12


def test_is_the_dense_layer_on_pixels():
    conv = built((2, 5, 6, 4), kernel_size=1, centered=True)
    dense = kn.layers.CosineDense(4, centered=True)
    dense.build((2, 5, 6, 4))
    kernel, *rest = conv.get_weights()
    dense.set_weights([kernel[0, 0], *rest])
    x = data()
    assert np.abs(array(conv(x)) - array(dense(x))).max() <= 2 * ROUNDING


def test_mixed_precision_computes_in_float32():
    x = 6e4 * data().clip(-1, 1)
    half = built(SHAPE, dtype="mixed_float16", centered=True)
    y = half(x.astype("float16"))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    weights = [array(w).astype("float64") for w in half.weights]
    expected = formula({"centered": True})(
        x.astype("float16").astype("float64"), *weights
    )
    scale = np.abs(expected).max()
    assert np.abs(array(y) - expected).max() <= scale * 2.0**-10


def test_unknown_sizes_fit_and_saving(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, None, 2)),
            kn.layers.CosineConv2D(6, 3, padding="same", activation="relu"),
            kn.layers.CosineConv2D(4, 3, strides=2, centered=True, groups=2),
            keras.layers.GlobalAveragePooling2D(),
            kn.layers.CosineDense(2),
        ]
    )
    x = data((48, 7, 8, 2))
    labels = np.arange(48) % 2
    # Stripes along one axis or the other.
    x[labels == 0, ::2] += 2
    x[labels == 1, :, ::2] += 2
    model.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(x, labels, batch_size=16, epochs=6, verbose=0)
    assert history.history["loss"][-1] < 0.7 * history.history["loss"][0]
    model.save(tmp_path / "model.keras")
    twin = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for size in ((3, 7, 8, 2), (1, 5, 9, 2)):
        given = data(size, seed=4)
        assert np.array_equal(array(twin(given)), array(model(given)))


def test_weights_of_keras_conv2d_load(tmp_path):
    theirs = Holder(keras.layers.Conv2D(6, 3, groups=2))
    ours = Holder(kn.layers.CosineConv2D(6, 3, groups=2))
    for model in (theirs, ours):
        model(data())
    theirs.inner.bias.assign(np.arange(6.0))
    theirs.save_weights(tmp_path / "plain.weights.h5")
    ours.load_weights(tmp_path / "plain.weights.h5")
    for name in ("kernel", "bias"):
        a, b = (array(getattr(m.inner, name)) for m in (theirs, ours))
        assert np.array_equal(a, b)
    # What the plain layer does not have stays as it started.
    assert float(array(ours.inner.gamma)) == 10.0


def test_errors():
    cosine = kn.layers.CosineConv2D
    with pytest.raises(ValueError, match="smaller than the kernel.*Received"):
        cosine(4, 3, dilation_rate=2).build((2, 4, 9, 6))
    with pytest.raises(ValueError, match="`groups` must divide"):
        cosine(4, 3, groups=4).build((2, 4, 9, 6))
    with pytest.raises(ValueError, match="`strides` and `dilation_rate`"):
        cosine(4, 3, strides=2, dilation_rate=2)
    with pytest.raises(ValueError, match="at least two inputs"):
        cosine(4, 1, groups=4, centered=True).build((2, 4, 9, 4))
    with pytest.raises(ValueError, match="`mask` is not supported.*Received"):
        cosine(4, 3)(data(), mask=np.ones((2, 5), "bool"))
