"""Recurrent layers in models: trained, saved, wrapped, of any length."""

import keras
import numpy as np
import pytest

import keras_norm as kn

K = kn.layers
JIT = keras.backend.backend() != "torch"
STEPS, FEATURES, UNITS = 5, 3, 4
LAYERS = {
    "BatchNormalizedLSTM": {"gamma_initializer": "ones"},
    "LayerNormalizedLSTM": {},
    "LayerNormalizedGRU": {},
}
each = pytest.mark.parametrize("name", LAYERS)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def made(name, **options):
    return getattr(K, name)(UNITS, **{**LAYERS[name], **options})


def data(samples=48, seed=0):
    """Sequences behind which there is padding, and the sum of the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, STEPS, FEATURES)).astype("float32")
    x[: samples // 3, 3:] = 0.0
    return x, x[:, :2, 0].sum(1, keepdims=True)


def model_of_all():
    """Every layer, side by side behind a mask, wrapped or in both ways."""
    inputs = keras.Input((STEPS, FEATURES))
    x = keras.layers.Masking()(inputs)
    branches = [
        keras.layers.Bidirectional(
            made("LayerNormalizedGRU", return_sequences=True)
        ),
        K.WeightNormalization(
            made(
                "LayerNormalizedLSTM",
                return_sequences=True,
                dropout=0.1,
                recurrent_dropout=0.1,
                seed=1,
            )
        ),
        K.QuantizedKernel(
            made("BatchNormalizedLSTM", return_sequences=True),
            targets=["recurrent_kernel"],
        ),
    ]
    y = keras.layers.Concatenate()([branch(x) for branch in branches])
    y = made("BatchNormalizedLSTM", dropout=0.1, seed=2)(y)
    return keras.Model(inputs, keras.layers.Dense(1)(y))


@pytest.mark.compile
def test_learns_compiled_and_goes_on_after_loading(tmp_path):
    keras.utils.set_random_seed(0)
    model = model_of_all()
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=JIT)
    x, y = data()
    before = [array(w).copy() for w in model.weights]
    losses = model.fit(x, y, batch_size=16, epochs=8, verbose=0)
    losses = losses.history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    for weight, old in zip(model.weights, before, strict=True):
        assert not np.array_equal(array(weight), old), weight.path
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    shown = [m.predict(x, verbose=0) for m in (model, again)]
    np.testing.assert_array_equal(*shown)


@pytest.mark.all
@pytest.mark.compile
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@each
def test_compiled_and_eager_training_agree(name):
    x, y = data()
    losses = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((STEPS, FEATURES))
        outputs = keras.layers.Dense(1)(made(name)(inputs))
        model = keras.Model(inputs, outputs)
        model.compile("adam", "mse", jit_compile=jit)
        history = model.fit(x, y, 16, 2, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
    # Six steps of float32; Adam's steps do not grow with the error.
    np.testing.assert_allclose(*losses, rtol=1e-4)


@each
def test_any_length(name):
    known = name != "BatchNormalizedLSTM"
    options = {} if known else {"max_time_steps": 4}
    inputs = keras.Input((None, FEATURES))
    model = keras.Model(inputs, made(name, **options)(inputs))
    assert model.output_shape == (None, UNITS)
    x, _ = data()
    for steps in (3, STEPS):
        y = model.predict(x[:, :steps], verbose=0)
        direct = model.layers[1](x[:, :steps])
        # The same operations, compiled as one program and not.
        np.testing.assert_allclose(y, array(direct), rtol=0, atol=1e-6)


@pytest.mark.compile
def test_batches_of_several_lengths():
    inputs = keras.Input((None, FEATURES))
    y = made("BatchNormalizedLSTM", max_time_steps=4)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(y))
    model.compile("sgd", "mse", jit_compile=JIT)
    x, y = data(16)
    cell = model.layers[1].cell
    for steps, rows in ((3, 3), (5, 4)):
        before = array(cell.input_moving_mean).copy()
        model.fit(x[:, :steps], y, verbose=0)
        moved = np.any(array(cell.input_moving_mean) != before, axis=1)
        assert moved.tolist() == [row < rows for row in range(4)]


@each
def test_arguments_of_the_normalizations(name):
    layer = made(name, **{**LAYERS[name], "gamma_initializer": 0.3})
    layer.build((2, STEPS, FEATURES))
    gammas = [w for w in layer.weights if w.name.endswith("gamma")]
    assert gammas
    for gamma in gammas:
        np.testing.assert_allclose(array(gamma), 0.3, rtol=1e-6)
    with pytest.raises(ValueError, match="epsilon"):
        made(name, epsilon=-1.0)


@each
@pytest.mark.parametrize(
    "wrap",
    [
        K.WeightNormalization,
        K.SpectralNormalization,
        lambda layer: K.WeightNormalization(K.QuantizedKernel(layer)),
        lambda layer: K.OrthogonalParametrization(
            layer, targets=["recurrent_kernel"]
        ),
    ],
    ids=["weight", "spectral", "quantized", "orthogonal"],
)
def test_wrapped_layer_is_the_plain_one_with_its_kernels(name, wrap):
    x, _ = data(6)
    wrapper = wrap(made(name))
    wrapper.build(x.shape)
    plain = made(name)
    plain.build(x.shape)
    kernels = wrapper.effective_kernels()
    assert "recurrent_kernel" in kernels
    own = wrapper.plain_layer().weights
    for weight, value in zip(plain.weights, own, strict=True):
        weight.assign(kernels.get(weight.name, value))
    for training in (True, False):
        wrapped = wrapper(x, training=training)
        expected = plain(x, training=training)
        # Spectral normalization has advanced in the training call.
        atol = 1e-6 if wrap is not K.SpectralNormalization else 1e-3
        np.testing.assert_allclose(
            array(wrapped), array(expected), rtol=0, atol=atol
        )
    y = array(wrapper(x))
    np.testing.assert_allclose(array(wrapper.remove()(x)), y, atol=1e-6)


@each
def test_layer_has_no_parts_but_what_it_uses(name):
    layer = made(name)
    layer.build((2, STEPS, FEATURES))
    # Keras would build the model anew at each `train_on_batch` otherwise.
    assert all(part.built for part in layer._flatten_layers())
    cells = [p for p in layer._flatten_layers() if p.name.endswith("_cell")]
    assert cells == [layer.cell]


def test_frozen_batch_normalized_layer_keeps_its_averages():
    x, _ = data(6)
    layer = made("BatchNormalizedLSTM")
    layer.build(x.shape)
    layer.trainable = False
    before = [array(w).copy() for w in layer.weights]
    trained = array(layer(x, training=True))
    np.testing.assert_array_equal(trained, array(layer(x)))
    for weight, old in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(array(weight), old)
