"""Models to prune, and models masked by hand to compare them with."""

import keras
import numpy as np
from keras import layers as keras_layers
from keras import ops

import keras_norm as kn

# Of `keras.layers`, and one of ours where a method has one.
norm = keras_layers.BatchNormalization


def array(x):
    return keras.ops.convert_to_numpy(x)


def shaken(model, seed=0):
    """Random weights; gammas that no two channels share."""
    random = np.random.default_rng(seed)
    for w in model.weights:
        value = random.standard_normal(w.shape) * 0.4
        if "variance" in w.name:
            value = np.abs(value) + 0.5
        w.assign(value.astype("float32"))
    return model


def data(model, samples=3):
    random = np.random.default_rng(1)
    shape = (samples, *model.input_shape[1:])
    return random.standard_normal(shape).astype("float32")


def outputs(model):
    # Compiled: on JAX single operations take longer, one for each shape.
    return model.predict(data(model), verbose=0).astype("float64")


def same_weights(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def chain():
    """A convolution behind another, flattened into dense layers."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras_layers.Conv2D(4, 3, name="first"),
            norm(name="norm_1"),
            keras_layers.ReLU(),
            keras_layers.MaxPooling2D(),
            keras_layers.Conv2D(4, 1, use_bias=False, name="second"),
            kn.layers.BatchNormalization(name="norm_2"),
            keras_layers.Activation("elu"),
            keras_layers.Dropout(0.5),
            keras_layers.Flatten(),
            keras_layers.Dense(4, use_bias=False, name="third"),
            norm(name="norm_3", center=False),
            keras_layers.Activation("sigmoid"),
            keras_layers.Dense(2, name="head"),
        ],
        name="chain",
    )


def residual():
    """Sums, products, concatenation, depthwise and separable convolutions."""
    image = keras.Input((8, 8, 2))
    x = keras_layers.Conv2D(4, 3, padding="same", name="stem")(image)
    x = keras_layers.ReLU()(norm(name="norm_stem")(x))
    y = keras_layers.Conv2D(6, 1, use_bias=False, name="wide")(x)
    y = keras_layers.Activation("hard_swish")(norm(name="norm_wide")(y))
    y = keras_layers.DepthwiseConv2D(3, padding="same", name="each")(y)
    y = keras_layers.LeakyReLU()(norm(name="norm_each")(y))
    s = keras_layers.GlobalAveragePooling2D()(y)
    s = keras_layers.Reshape((1, 1, 6))(s)
    s = keras_layers.Conv2D(6, 1, activation="sigmoid", name="gate")(s)
    y = keras_layers.Multiply()([y, s])
    y = keras_layers.Conv2D(4, 1, use_bias=False, name="narrow")(y)
    x = keras_layers.Add(name="sum")([x, norm(name="norm_narrow")(y)])
    z = keras_layers.SeparableConv2D(4, 3, name="apart")(x)
    z = keras_layers.PReLU(shared_axes=[1, 2])(norm(name="norm_apart")(z))
    x = keras_layers.Concatenate()([keras_layers.Cropping2D(1)(x), z])
    x = keras_layers.Conv2DTranspose(4, 2, 2, name="up")(x)
    x = ops.relu(norm(name="norm_up")(x)) * 0.5
    x = keras_layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, keras_layers.Dense(2, name="head")(x))


def nested():
    """Models within models, and a layer that is called twice."""
    inner = keras.Sequential(
        [
            keras.Input((5, 4)),
            norm(name="norm_inner"),
            keras_layers.ReLU(),
            keras_layers.Conv1D(4, 3, name="inner"),
        ],
        name="sequential",
    )
    series = keras.Input((5, 4))
    functional = keras.Model(series, inner(series), name="functional")
    shared = keras_layers.Dense(4, name="shared")
    outer = keras.Input((5, 2))
    x = functional(keras_layers.Conv1D(4, 1, name="outer")(outer))
    x = norm(name="norm_outer")(x)
    x = shared(keras_layers.ReLU()(x))
    x = norm(name="norm_first")(x)
    x = shared(keras_layers.ReLU()(x))
    x = norm(name="norm_second")(x)
    return keras.Model(outer, keras_layers.Dense(2, name="head")(x))


def first():
    """Channels first: TensorFlow has no such convolutions on every CPU."""
    options = {"data_format": "channels_first"}
    return keras.Sequential(
        [
            keras.Input((2, 6, 6)),
            keras_layers.Conv2D(4, 3, **options),
            kn.layers.InstanceNormalization(axis=1, name="norm_1"),
            keras_layers.ReLU(),
            keras_layers.Conv2D(4, 1, **options),
            norm(axis=1, name="norm_2"),
            keras_layers.Activation("tanh"),
            keras_layers.GlobalAveragePooling2D(**options),
            keras_layers.Dense(2),
        ]
    )


def masked_by_hand(model, report):
    """The model with gammas of 0, and betas that are not absorbed."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    pairs = zip(model._flatten_layers(), copy._flatten_layers(), strict=True)
    found = {old.path: new for old, new in pairs}
    for change in report.changes:
        layer = found[change.path]
        gone = list(change.removed)
        lost = sorted(set(gone) - set(change.absorbed))
        for name, places in (("gamma", gone), ("beta", lost)):
            variable = getattr(layer, name)
            if variable is not None:
                value = array(variable).copy()
                value[places] = 0.0
                variable.assign(value)
    return copy
