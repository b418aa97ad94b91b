"""The linear map of a convolution: Keras' layer, its adjoint, its norm."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from keras_norm.core.convolution_operator import ConvolutionOperator
from layers.weights.effective import array

# Of sums of some fifty products in float32.
ROUNDING = 2e-5

# name: (layer, shape of a sample)
LAYERS = {
    "1d": (lambda: layers.Conv1D(4, 3), (8, 3)),
    "1d same, stride": (
        lambda: layers.Conv1D(4, 3, strides=2, padding="same"),
        (8, 3),
    ),
    "1d causal, dilation": (
        lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2),
        (8, 3),
    ),
    "1d even kernel": (lambda: layers.Conv1D(4, 4, padding="same"), (7, 3)),
    "1d kernel above the size": (
        lambda: layers.Conv1D(4, 5, padding="same"),
        (3, 3),
    ),
    "2d": (lambda: layers.Conv2D(4, (3, 2)), (6, 5, 3)),
    "2d same, strides": (
        lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
        (6, 5, 3),
    ),
    "2d valid, strides that leave a rest": (
        lambda: layers.Conv2D(4, 2, strides=3),
        (7, 6, 3),
    ),
    "2d dilation": (
        lambda: layers.Conv2D(4, 2, dilation_rate=(2, 1), padding="same"),
        (6, 5, 3),
    ),
    "2d groups": (
        lambda: layers.Conv2D(6, 3, groups=2, padding="same"),
        (5, 4, 4),
    ),
    "2d groups, strides": (
        lambda: layers.Conv2D(6, 3, groups=2, strides=2),
        (6, 5, 4),
    ),
    "3d": (
        lambda: layers.Conv3D(3, 2, strides=(1, 2, 1), padding="same"),
        (3, 4, 3, 2),
    ),
    "depthwise 1d": (
        lambda: layers.DepthwiseConv1D(3, depth_multiplier=2),
        (7, 3),
    ),
    "depthwise 2d": (
        lambda: layers.DepthwiseConv2D(
            3, strides=2, padding="same", depth_multiplier=2
        ),
        (6, 5, 3),
    ),
    "transposed 1d": (
        lambda: layers.Conv1DTranspose(4, 3, strides=2, padding="same"),
        (5, 3),
    ),
    "transposed 2d": (
        lambda: layers.Conv2DTranspose(4, 3, strides=2),
        (4, 3, 3),
    ),
    "transposed 2d same": (
        lambda: layers.Conv2DTranspose(4, (3, 4), padding="same"),
        (4, 5, 3),
    ),
    "transposed 2d, stride above the kernel": (
        lambda: layers.Conv2DTranspose(4, 2, strides=3),
        (3, 3, 3),
    ),
    "transposed 3d": (
        lambda: layers.Conv3DTranspose(2, 2, strides=2, padding="same"),
        (2, 3, 2, 2),
    ),
}


def made(name):
    """(operator, kernel, layer without bias, shape of a sample)."""
    make, shape = LAYERS[name]
    config = {**make().get_config(), "use_bias": False}
    layer = type(make()).from_config(config)
    layer.build((None, *shape))
    operator = ConvolutionOperator(layer, (None, *shape))
    kernel = np.random.default_rng(0).standard_normal(layer.kernel.shape)
    layer.set_weights([kernel])
    return operator, kernel.astype("float32"), layer, shape


def directions(operator, transposed):
    """(the layer's own map, its adjoint)."""
    both = operator.forward, operator.backward
    return both[::-1] if transposed else both


@pytest.mark.parametrize("name", LAYERS)
def test_is_the_layer_and_its_adjoint(name):
    operator, kernel, layer, shape = made(name)
    there, back = directions(operator, "transposed" in name)
    random = np.random.default_rng(1)
    x = random.standard_normal((1, *shape)).astype("float32")
    y = array(layer(x))
    found = array(there(x, kernel))
    assert found.shape == y.shape
    assert np.abs(found - y).max() <= ROUNDING
    results = y if "transposed" not in name else x
    assert operator.result_shape == results.shape
    u = random.standard_normal(y.shape).astype("float32")
    adjoint = array(back(u, kernel))
    assert adjoint.shape == x.shape
    ways = np.sum(found * u, dtype="float64"), np.sum(adjoint * x)
    lengths = np.linalg.norm(found) * np.linalg.norm(u)
    assert abs(ways[0] - ways[1]) <= ROUNDING * lengths


@pytest.mark.parametrize("name", ["2d same, strides", "depthwise 2d", "1d"])
def test_channels_first(name):
    operator, kernel, layer, shape = made(name)
    config = {**layer.get_config(), "data_format": "channels_first"}
    first = type(layer).from_config(config)
    sizes = (None, shape[-1], *shape[:-1])
    first.build(sizes)
    found = ConvolutionOperator(first, sizes)
    assert found.result_shape == operator.result_shape
    x = np.ones((1, *shape), "float32")
    y = array(operator.forward(x, kernel))
    assert np.array_equal(array(found.forward(x, kernel)), y)


@pytest.mark.parametrize(
    "name",
    [
        "1d causal, dilation",
        "2d same, strides",
        "depthwise 2d",
        "transposed 2d",
    ],
)
def test_largest_singular_value(name):
    _, _, layer, shape = made(name)
    # Column by column, of the plain layer.
    count = int(np.prod(shape))
    basis = np.eye(count, dtype="float32").reshape(count, *shape)
    matrix = array(layer(basis)).reshape(count, -1).T
    sigma = np.linalg.norm(matrix.astype("float64"), 2)
    wrapper = kn.layers.SpectralNormalization(
        layer, method="convolution", warmup_iterations=150
    )
    wrapper.build((None, *shape))
    v = array(layer.kernel)
    w = array(wrapper.effective_kernel())
    # 150 steps: (sigma_2 / sigma_1)^300, below 1e-3 for a gap of 2.5 %.
    assert np.abs(w * sigma - v).max() <= 1e-3 * np.abs(v).max()
    assert wrapper.violations()["kernel"] <= 2e-3
    x = np.random.default_rng(4).standard_normal((1, *shape))
    x = (x / np.linalg.norm(x)).astype("float32")
    assert np.linalg.norm(array(wrapper(x))) <= 1 + 1e-3


def test_bounds_of_the_reshaped_kernel():
    # sigma(kernel) <= sigma(convolution) <= sqrt(kh kw) sigma(kernel), for
    # stride 1 and maps that are not smaller than the kernel.
    for seed in range(2):
        kernel = np.random.default_rng(seed).standard_normal((3, 2, 3, 4))
        found = []
        for method in ("reshape", "convolution"):
            layer = layers.Conv2D(4, (3, 2), padding="valid", use_bias=False)
            layer.build((None, 7, 6, 3))
            layer.set_weights([kernel])
            wrapper = kn.layers.SpectralNormalization(
                layer, method=method, warmup_iterations=100
            )
            wrapper.build((None, 7, 6, 3))
            w = array(wrapper.effective_kernel())
            found.append(np.sum(kernel * kernel) / np.sum(kernel * w))
        assert found[0] <= found[1] * (1 + 1e-4)
        assert found[1] <= 6**0.5 * found[0] * (1 + 1e-4)


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (layers.Dense(3), (None, 4), "is for convolutions.*Dense"),
        (layers.SeparableConv2D(3, 2), (None, 4, 4, 2), "is for convolutions"),
        (layers.Conv2D(3, 2), (None, None, 4, 2), "known size"),
        (
            layers.Conv2DTranspose(3, 2, strides=2, output_padding=1),
            (None, 4, 4, 2),
            "output_padding",
        ),
    ],
)
def test_errors(layer, shape, message):
    wrapper = kn.layers.SpectralNormalization(layer, method="convolution")
    with pytest.raises(ValueError, match=message):
        wrapper.build(shape)


def test_batch_size_and_input_dtype_do_not_matter():
    wrapper = kn.layers.SpectralNormalization(
        layers.Conv2D(4, 3), method="convolution"
    )
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, wrapper(inputs))
    for size in (1, 5):
        y = model(np.ones((size, 6, 6, 3), "float32"), training=True)
        assert y.shape == (size, 4, 4, 4)
    # u belongs to the sizes of the build; others are taken all the same.
    assert wrapper.vector_u.shape == (1, 4, 4, 4)
