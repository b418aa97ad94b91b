"""The wrapper of weight parametrizations, whatever the map."""

import copy
import gc

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_norm as kn
from gradients import gradients
from keras_norm.core import kernels
from keras_norm.core.parametrization import WeightParametrization
from layers.weights.kinds import KINDS
from layers.weights.kinds import array
from layers.weights.kinds import batch
from layers.weights.kinds import built

# Rounding of float32 through a layer of some ten inputs.
ROUNDING = 3e-6

everywhere = pytest.mark.parametrize("kind", KINDS)


@keras.saving.register_keras_serializable("test_parametrization")
class Halved(WeightParametrization):
    """w = v / 2, counting its calls and the dtype it sees."""

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        self.seen = []

    def initial_state(self, kernel):
        return {"steps": ((1,), "zeros")}

    def map(self, v, kernel, state, training=False):
        dtype = keras.backend.standardize_dtype(v.dtype)
        self.seen.append((kernel.path, dtype))
        return v / 2, {"steps": state["steps"] + 1}

    def right_inverse(self, w, kernel):
        return 2 * w, {"steps": ops.zeros((1,))}

    def violation(self, w, kernel):
        return ops.zeros(())


def plain_twin(kind, wrapper):
    """A plain layer that has the wrapper's effective kernels."""
    make, shape, _ = KINDS[kind]
    layer = make()
    layer.build((None, *shape))
    for old, new in zip(layer.variables, wrapper.plain_values(), strict=True):
        old.assign(new)
    return layer


class TestKernels:
    @pytest.mark.parametrize(
        "kind, axes, fan_in",
        [
            ("dense", (1,), 8),
            ("einsum", (1, 2), 4),
            ("conv1d", (2,), 12),
            ("conv2d", (3,), 36),
            ("conv3d", (4,), 24),
            ("grouped", (2,), 6),
            ("transposed", (2,), 45),
            ("depthwise", (2, 3), 9),
            ("embedding", (0,), 4),
        ],
    )
    def test_output_axes(self, kind, axes, fan_in):
        (kernel,) = kernels.of(built(kind))
        assert (kernel.kept, kernel.fan_in) == (axes, fan_in)

    def test_blocks_of_an_einsum(self):
        (kernel,) = kernels.of(built("einsum of blocks"))
        assert (kernel.axes, kernel.blocks, kernel.reduced) == (
            (2,),
            (0,),
            (1,),
        )
        assert kernel.matrices_shape() == (5, 3, 4)

    def test_gates(self):
        found = {k.path: k for k in kernels.of(built("lstm"))}
        assert {k.gates for k in found.values()} == {4}
        assert found["recurrent_kernel"].matrices_shape(4) == (4, 5, 5)
        # Gate after gate, as Keras orders them.
        w = found["recurrent_kernel"].value
        m = array(
            found["recurrent_kernel"].matrices(ops.convert_to_tensor(w), 4)
        )
        assert np.array_equal(m[2], array(w)[:, 10:15].T)

    @everywhere
    def test_matrices_are_put_back(self, kind):
        for kernel in kernels.of(built(kind)):
            v = ops.convert_to_tensor(kernel.value)
            back = kernel.of_matrices(kernel.matrices(v))
            assert np.array_equal(array(back), array(v))

    def test_attention(self):
        layer = layers.MultiHeadAttention(2, 3)
        layer.build((None, 5, 4), (None, 5, 4))
        found = {k.path: k.kept for k in kernels.of(layer)}
        inner = {f"{name}/kernel": (1, 2) for name in ("query", "key", "value")}
        assert found == {**inner, "output/kernel": (2,)}

    def test_given_axis(self):
        (kernel,) = kernels.of(built("conv2d"), axis=-2)
        assert kernel.kept == (2,)
        (kernel,) = kernels.of(built("conv2d"), axis=())
        assert (kernel.kept, kernel.fan_in) == ((), 216)
        with pytest.raises(ValueError, match="`axis` must name distinct axes"):
            kernels.of(built("conv2d"), axis=(1, -3))

    def test_unknown_layer_needs_an_axis(self):
        class Own(layers.Layer):
            def build(self, shape):
                self.kernel = self.add_weight(shape=(shape[-1], 3))

            def call(self, x):
                return x @ self.kernel

        layer = Own()
        layer.build((None, 4))
        with pytest.raises(ValueError, match="`axis` must say which axes"):
            kernels.of(layer)
        wrapper = kn.layers.WeightNormalization(Own(), axis=-1)
        assert wrapper(np.ones((2, 4), "float32")).shape == (2, 3)

    def test_layer_without_kernel(self):
        wrapper = kn.layers.WeightNormalization(layers.ReLU())
        with pytest.raises(ValueError, match="(?s)has no kernel.*ReLU"):
            wrapper.build((None, 4))


class TestCalls:
    @everywhere
    @pytest.mark.parametrize("training", [False, True])
    def test_layer_computes_with_the_effective_kernel(self, kind, training):
        x = batch(kind)
        wrapper = Halved(built(kind))
        y = array(wrapper(x, training=training))
        raw = built(kind)
        plain = plain_twin(kind, wrapper)
        assert np.abs(array(plain(x)) - y).max() <= ROUNDING
        # Something was halved, and the free parameters are as they were.
        assert not np.allclose(array(raw(x)), y)
        for old, new in zip(raw.weights, wrapper.layer.weights, strict=True):
            assert np.array_equal(array(old), array(new))

    @everywhere
    def test_wrapping_keeps_the_function(self, kind):
        x, plain = batch(kind), built(kind)
        before = array(plain(x))
        wrapper = kn.layers.WeightNormalization(plain)
        assert np.abs(array(wrapper(x)) - before).max() <= ROUNDING

    @everywhere
    def test_wrapping_an_unbuilt_layer(self, kind):
        wrapper = kn.layers.WeightNormalization(KINDS[kind][0]())
        y = wrapper(batch(kind))
        symbol = keras.KerasTensor(batch(kind).shape, batch(kind).dtype)
        expected = built(kind).compute_output_spec(symbol)
        spec = wrapper.compute_output_spec(symbol)
        assert (spec.shape, spec.dtype) == (expected.shape, expected.dtype)
        assert len(y.shape) == len(spec.shape)

    @everywhere
    def test_each_kernel_once_outside_any_time_loop(self, kind):
        wrapper = Halved(built(kind))
        inputs = keras.Input(KINDS[kind][1], dtype=batch(kind).dtype.name)
        model = keras.Model(inputs, wrapper(inputs))
        wrapper.seen.clear()
        model(batch(kind), training=True)
        assert len(wrapper.seen) == KINDS[kind][2]
        assert len({path for path, _ in wrapper.seen}) == KINDS[kind][2]

    def test_targets(self):
        wrapper = Halved(built("lstm"), targets=["recurrent_kernel"])
        wrapper(batch("lstm"))
        assert [path for path, _ in wrapper.seen] == ["recurrent_kernel"]
        with pytest.raises(ValueError, match="`targets` must be one of"):
            Halved(built("lstm"), targets=["bias"]).build((None, 6, 4))

    def test_gradients_are_those_of_the_map(self):
        x = batch("dense")
        upstream = np.random.default_rng(2).standard_normal((4, 6))
        wrapper = Halved(built("dense"))
        found = gradients(wrapper, [x], upstream)
        plain = gradients(plain_twin("dense", wrapper), [x], upstream)
        kernel, bias = plain.weights.values()
        by_name = list(found.weights.values())
        assert np.allclose(by_name[0], kernel / 2, atol=1e-5)
        assert np.allclose(by_name[1], bias, atol=1e-5)
        assert np.allclose(found.inputs[0], plain.inputs[0], atol=1e-5)

    def test_called_twice(self):
        wrapper = Halved(built("dense"))
        a, b = keras.Input((8,)), keras.Input((8,))
        model = keras.Model([a, b], [wrapper(a), wrapper(b)])
        x = batch("dense")
        first, second = model([x, x], training=True)
        assert np.array_equal(array(first), array(second))
        assert array(wrapper.steps) == 2
        assert len(model.weights) == 3

    def test_state_moves_in_training_only(self):
        wrapper = Halved(built("dense"))
        wrapper(batch("dense"), training=True)
        wrapper(batch("dense"), training=False)
        assert array(wrapper.steps) == 1
        wrapper.trainable = False
        wrapper(batch("dense"), training=True)
        assert array(wrapper.steps) == 1

    def test_state_of_a_frozen_layer_stays(self):
        wrapper = Halved(built("dense"))
        wrapper.layer.trainable = False
        wrapper(batch("dense"), training=True)
        assert array(wrapper.steps) == 0

    def test_an_error_leaves_the_layer_whole(self):
        class Failing(layers.Dense):
            def call(self, inputs):
                raise RuntimeError("inside")

        wrapper = Halved(Failing(3), axis=-1)
        with pytest.raises(RuntimeError, match="inside"):
            wrapper(batch("dense"))
        assert isinstance(wrapper.layer.kernel, keras.Variable)

    def test_masks_and_further_arguments_reach_the_layer(self):
        x = batch("lstm")
        mask = np.arange(6)[None] < np.array([2, 6, 3, 4])[:, None]
        plain = built("lstm")
        wrapper = Halved(built("lstm"))
        wrapper.build(x.shape)
        wrapper.set_plain_weights(plain.get_weights())
        state = [ops.ones((4, 5)), ops.zeros((4, 5))]
        for options in ({"mask": mask}, {"initial_state": state}):
            y, z = plain(x, **options), wrapper(x, **options)
            assert np.abs(array(y) - array(z)).max() <= ROUNDING
        # A mask that comes with the data goes on behind the layer.
        model = keras.Sequential(
            [keras.Input((6, 4)), layers.Masking(), wrapper]
        )
        assert model.layers[-1].output._keras_mask is not None

    def test_attention(self):
        layer = layers.MultiHeadAttention(2, 3)
        layer.build((None, 5, 4), (None, 5, 4))
        x = (
            np.random.default_rng(0)
            .standard_normal((2, 5, 4))
            .astype("float32")
        )
        before = array(layer(x, x))
        wrapper = kn.layers.WeightNormalization(layer)
        a, b = keras.Input((5, 4)), keras.Input((5, 4))
        model = keras.Model([a, b], wrapper(a, b))
        assert np.abs(array(model([x, x])) - before).max() <= ROUNDING
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        assert np.abs(array(twin([x, x])) - before).max() <= ROUNDING
        with pytest.raises(ValueError, match="must be built before"):
            kn.layers.WeightNormalization(layers.MultiHeadAttention(2, 3))(x, x)


class TestWrappersWithinWrappers:
    def both(self):
        plain = built("dense")
        inner = Halved(plain)
        return kn.layers.WeightNormalization(inner, scale_initializer=3.0)

    def test_outer_map_acts_on_the_inner_ones_result(self):
        wrapper = self.both()
        x = batch("dense")
        y = array(wrapper(x, training=True))
        v = array(wrapper.plain_layer().kernel)
        w = 3 * v / np.linalg.norm(v, axis=0)
        b = array(wrapper.plain_layer().bias)
        assert np.abs(y - np.maximum(x @ w + b, 0)).max() <= 1e-5
        # The inner map ran once.
        assert len(wrapper.layer.seen) == 1 or array(wrapper.layer.steps) == 1

    def test_kernels_of_either(self):
        # One takes the kernel, the other the recurrent kernel.
        inner = Halved(built("simple rnn"), targets=["kernel"])
        outer = kn.layers.WeightNormalization(
            inner, targets=["recurrent_kernel"]
        )
        y = array(outer(batch("simple rnn")))
        plain = plain_twin("simple rnn", outer)
        assert np.abs(array(plain(batch("simple rnn"))) - y).max() <= ROUNDING
        v = array(outer.plain_layer().cell.kernel)
        assert np.allclose(array(plain.cell.kernel), v / 2)

    def test_removed_all_at_once(self):
        wrapper = self.both()
        y = array(wrapper(batch("dense")))
        plain = wrapper.remove()
        assert type(plain) is layers.Dense
        assert np.abs(array(plain(batch("dense"))) - y).max() <= ROUNDING

    def test_adopting(self):
        wrapper = self.both()
        wrapper(batch("dense"))
        plain = built("dense")
        wrapper.set_plain_weights(plain.get_weights())
        y, z = wrapper(batch("dense")), plain(batch("dense"))
        assert np.abs(array(y) - array(z)).max() <= ROUNDING


class TestWeights:
    def test_order(self):
        wrapper = kn.layers.SpectralNormalization(built("dense"), scale=True)
        wrapper.build((None, 8))
        shapes = [w.shape for w in wrapper.get_weights()]
        assert shapes == [(8, 6), (6,), (6,), (1, 6)]
        assert [tuple(v.shape) for v in wrapper.variables] == shapes
        assert len(wrapper.trainable_variables) == 3

    def test_scale(self):
        for trainable in (True, False):
            wrapper = kn.layers.WeightStandardization(
                built("conv2d"),
                scale=True,
                scale_initializer=2**0.5,
                trainable_scale=trainable,
                scale_regularizer="l2",
            )
            wrapper(batch("conv2d"))
            assert wrapper.g.trainable == trainable
            w = array(wrapper.effective_kernel()).reshape(-1, 6)
            assert np.allclose(w.std(axis=0), 2**0.5, atol=1e-4)
            assert wrapper.violations()["kernel"] < 1e-4

    def test_names_of_several_kernels(self):
        wrapper = kn.layers.WeightNormalization(built("lstm"))
        wrapper.build((None, 6, 4))
        assert wrapper.kernel_g.shape == (20,)
        assert wrapper.recurrent_kernel_g.shape == (20,)
        with pytest.raises(ValueError, match="`name` must be one of"):
            wrapper.effective_kernel()
        assert wrapper.effective_kernel("kernel").shape == (4, 20)

    def test_what_is_the_layers_is_kept_and_counted_once(self):
        layer = layers.LSTM(
            5,
            dropout=0.5,
            kernel_regularizer="l2",
            activity_regularizer="l2",
            seed=3,
        )
        wrapper = kn.layers.WeightNormalization(layer)
        x = batch("lstm")
        first = array(wrapper(x, training=True))
        assert len(wrapper.losses) == 2
        # A new mask each time, of the layer's own generator.
        assert not np.array_equal(first, array(wrapper(x, training=True)))
        twin = layers.LSTM(5, dropout=0.5, seed=3)
        twin.build(x.shape)
        for old, new in zip(twin.weights, wrapper.plain_values(), strict=False):
            old.assign(new)
        assert np.abs(array(twin(x, training=True)) - first).max() <= ROUNDING
        assert wrapper.count_params() == layer.count_params() + 40

    def test_constraint_of_the_kernel_is_pointed_out(self):
        layer = layers.Dense(3, kernel_constraint="non_neg")
        wrapper = kn.layers.WeightNormalization(layer)
        with pytest.warns(UserWarning, match="acts on the free parameter"):
            wrapper.build((None, 4))


class TestTheWayBack:
    @everywhere
    def test_remove(self, kind):
        wrapper = kn.layers.WeightNormalization(built(kind))
        y = array(wrapper(batch(kind)))
        plain = wrapper.remove()
        assert type(plain) is type(built(kind))
        assert np.abs(array(plain(batch(kind))) - y).max() <= ROUNDING
        with pytest.raises(ValueError, match="has given its layer back"):
            wrapper(batch(kind))
        # It may be wrapped again.
        again = Halved(plain)
        assert again(batch(kind)).shape == y.shape

    @everywhere
    def test_plain_weights_through_the_right_inverse(self, kind):
        plain = built(kind)
        wrapper = Halved(KINDS[kind][0]())
        wrapper.build((None, *KINDS[kind][1]))
        wrapper.set_plain_weights(plain.get_weights())
        y, z = wrapper(batch(kind)), plain(batch(kind))
        assert np.abs(array(y) - array(z)).max() <= ROUNDING

    @pytest.mark.parametrize("wrapper", ["weight", "spectral"])
    def test_weights_file_of_a_plain_layer(self, wrapper, tmp_path):
        """Where the place in the file is the same, by an attribute."""

        class Net(keras.Model):
            def __init__(self, dense):
                super().__init__()
                self.dense = dense

            def call(self, x):
                return self.dense(x)

        x = batch("dense")
        plain = Net(layers.Dense(6))
        plain(x)
        # Of largest singular value 1, for both maps.
        kernel = array(plain.dense.kernel)
        plain.dense.kernel.assign(kernel / np.linalg.norm(kernel, 2))
        y = array(plain(x))
        plain.save_weights(tmp_path / "plain.weights.h5")
        make = {
            "weight": kn.layers.WeightNormalization,
            "spectral": lambda layer: kn.layers.SpectralNormalization(
                layer, warmup_iterations=200
            ),
        }[wrapper]
        wrapped = Net(make(layers.Dense(6)))
        wrapped(x)
        wrapped.load_weights(tmp_path / "plain.weights.h5")
        assert np.abs(array(wrapped(x)) - y).max() <= 1e-4
        # The layer is loaded as ever after.
        wrapped.save_weights(tmp_path / "wrapped.weights.h5")
        twin = Net(make(layers.Dense(6)))
        twin(x)
        twin.load_weights(tmp_path / "wrapped.weights.h5")
        assert np.array_equal(array(twin(x)), array(wrapped(x)))

    def test_fixed_scale_follows_the_kernel(self):
        wrapper = kn.layers.WeightNormalization(
            layers.Dense(6), trainable_scale=False
        )
        wrapper.build((None, 8))
        plain = layers.Dense(6)
        plain.build((None, 8))
        wrapper.set_plain_weights(plain.get_weights())
        y, z = wrapper(batch("dense")), plain(batch("dense"))
        assert np.abs(array(y) - array(z)).max() <= ROUNDING

    def test_orthonormal_columns_are_taken_as_they_are(self):
        wrapper = kn.layers.NewtonOrthogonalization(
            layers.Dense(12), 20, epsilon=0.0
        )
        wrapper.build((None, 4))
        w = array(wrapper.effective_kernel())
        wrapper.set_plain_weights([w, np.zeros(12)])
        # Twenty steps from singular values that are 1 already.
        assert np.abs(array(wrapper.effective_kernel()) - w).max() <= 1e-4


class TestRefusals:
    def test_two_wrappers_on_one_layer(self):
        layer = layers.Dense(3)
        first = Halved(layer)
        with pytest.raises(ValueError, match="wrapped by another"):
            kn.layers.WeightNormalization(layer)
        # The first is gone: nobody has the layer.
        del first
        gc.collect()
        kn.layers.WeightNormalization(layer)

    # Keras warns of every layer that has nothing to quantize.
    @pytest.mark.filterwarnings("ignore:Layer InputLayer does not have")
    @pytest.mark.parametrize("change", ["quantize", "enable_lora"])
    def test_quantization_and_lora(self, change):
        argument = {"quantize": "int8", "enable_lora": 2}[change]
        changed = built("dense")
        getattr(changed, change)(argument)
        with pytest.raises(ValueError, match="must not be (quant|adapted)"):
            Halved(changed)
        wrapper = Halved(built("dense"))
        y = array(wrapper(batch("dense")))
        for layer in (wrapper, wrapper.layer, copy.deepcopy(wrapper).layer):
            with pytest.raises(ValueError, match="needs the kernel itself"):
                getattr(layer, change)(argument)
        model = keras.Sequential([keras.Input((8,)), wrapper])
        if change == "quantize":
            with pytest.raises(ValueError, match="needs the kernel itself"):
                model.quantize(argument)
        assert np.array_equal(array(wrapper(batch("dense"))), y)
        getattr(wrapper.remove(), change)(argument)

    def test_a_refused_argument_leaves_the_layer_free(self):
        layer = layers.Dense(3)
        with pytest.raises(ValueError, match="`mode` must be one of"):
            kn.layers.SpectralNormalization(layer, mode="typo")
        kn.layers.SpectralNormalization(layer)

    def test_rematerialization(self):
        with keras.RematScope(mode="full"):
            layer = layers.Dense(3)
        with pytest.raises(ValueError, match="must not be rematerialized"):
            Halved(layer)
        with keras.RematScope(mode="full"):
            with pytest.raises(ValueError, match="must not be rematerialized"):
                Halved(layers.Dense(3))

    def test_unbuilt(self):
        wrapper = Halved(layers.Dense(3))
        with pytest.raises(ValueError, match="The wrapper must be built"):
            wrapper.effective_kernel()

    @pytest.mark.parametrize(
        "layer, message",
        [
            ("dense", "must be a Keras layer"),
            (keras.Sequential([layers.Dense(2)]), "one layer, not a model"),
            (layers.LSTMCell(3), "must not be a recurrent cell"),
        ],
    )
    def test_what_is_no_layer(self, layer, message):
        with pytest.raises(ValueError, match=message):
            Halved(layer)

    def test_misspelt_keyword(self):
        with pytest.raises(TypeError, match="Did you mean 'epsilon'"):
            kn.layers.WeightNormalization(layers.Dense(2), epsilom=1.0)


class TestPrecision:
    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_map_sees_float32(self, policy):
        keras.config.set_dtype_policy(policy)
        wrapper = Halved(layers.Dense(6))
        model = keras.Sequential([keras.Input((8,)), wrapper, layers.ReLU()])
        y = model(batch("dense"))
        assert {dtype for _, dtype in wrapper.seen} == {"float32"}
        half = policy.removeprefix("mixed_")
        assert keras.backend.standardize_dtype(y.dtype) == half
        y = wrapper(batch("dense"), training=True)
        assert {dtype for _, dtype in wrapper.seen} == {"float32"}
        assert keras.backend.standardize_dtype(wrapper.steps.dtype) == "float32"

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_kernels(self, dtype):
        layer = layers.Dense(6, dtype=dtype)
        layer.build((None, 8))
        # One singular value far above the others: it is found at once.
        layer.kernel.assign(np.eye(8, 6) + 3.0)
        wrapper = kn.layers.SpectralNormalization(layer)
        y = wrapper(batch("dense"), training=True)
        assert keras.backend.standardize_dtype(y.dtype) == dtype
        assert np.isfinite(array(ops.cast(y, "float32"))).all()
        assert wrapper.violations()["kernel"] < 1e-5


class TestCopies:
    def model(self):
        wrapper = kn.layers.SpectralNormalization(
            layers.Conv2D(6, 3), power_iterations=2
        )
        return keras.Sequential(
            [
                keras.Input((6, 6, 4)),
                wrapper,
                layers.Flatten(),
                kn.layers.WeightNormalization(layers.Dense(3)),
            ]
        )

    def test_config(self):
        wrapper = kn.layers.WeightNormalization(
            layers.Dense(3, activation="relu"),
            axis=(-1,),
            scale_initializer=2.0,
        )
        config = wrapper.get_config()
        twin = type(wrapper).from_config(copy.deepcopy(config))
        twin.build((None, 4))
        assert twin.get_config() == config
        assert twin.layer.activation is keras.activations.relu

    def test_deepcopy(self):
        model = self.model()
        x = batch("conv2d")
        model(x, training=True)
        twin = copy.deepcopy(model.layers[0])
        y = array(twin(x))
        assert np.array_equal(y, array(model.layers[0](x)))
        twin.layer.kernel.assign(0 * twin.layer.kernel)
        assert np.array_equal(array(model.layers[0](x)), y)

    def test_clone(self):
        model = self.model()
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        x = batch("conv2d")
        assert np.array_equal(array(twin(x)), array(model(x)))

    def test_saving(self, tmp_path):
        model = self.model()
        x = batch("conv2d")
        model(x, training=True)
        y = array(model(x))
        model.save(tmp_path / "model.keras")
        twin = keras.saving.load_model(tmp_path / "model.keras")
        assert np.array_equal(array(twin(x)), y)
        model.save_weights(tmp_path / "model.weights.h5")
        twin = self.model()
        twin.load_weights(tmp_path / "model.weights.h5")
        assert np.array_equal(array(twin(x)), y)

    def test_weights_of_keras_spectral_normalization(self, tmp_path):
        def model(namespace):
            return keras.Sequential(
                [
                    keras.Input((8,)),
                    namespace.SpectralNormalization(layers.Dense(6)),
                ]
            )

        theirs, ours = model(keras.layers), model(kn.layers)
        theirs(batch("dense"), training=True)
        theirs.save_weights(tmp_path / "theirs.weights.h5")
        ours.load_weights(tmp_path / "theirs.weights.h5")
        source, target = theirs.layers[0], ours.layers[0]
        assert np.array_equal(array(source.vector_u), array(target.vector_u))
        assert np.array_equal(array(source.kernel), array(target.layer.kernel))
