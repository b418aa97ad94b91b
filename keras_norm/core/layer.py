"""The base of every layer: its options, written once.

Channel axis, epsilon, gamma and beta with their initializers, regularizers and
constraints, the check of keywords, the config, the output shape.
"""

import math
from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core.freezing import Freezable
from keras_norm.core.further_inputs import FurtherInputs

# The options of gamma and beta, for layers that have neither.
BETA = ("center", "beta_initializer", "beta_regularizer", "beta_constraint")
GAMMA = ("scale", "gamma_initializer", "gamma_regularizer", "gamma_constraint")
AFFINE = (*BETA, *GAMMA)


def statistics_dtype(x) -> str:
    """Dtype in which statistics are computed: at least float32.

    float64 is kept on TensorFlow only: the `keras.ops` of the other backends
    return float32 for some operations on it.
    """
    wide = keras.backend.standardize_dtype(x.dtype) == "float64"
    tensorflow = keras.backend.backend() == "tensorflow"
    return "float64" if wide and tensorflow else "float32"


def one_integer(name: str, value: Any) -> int:
    """`value` as an int, refusing tuples, floats and booleans."""
    whole = isinstance(value, int) or hasattr(value, "__index__")
    if not whole or isinstance(value, bool):
        raise errors.received(
            f"`{name}` must be one integer.",
            f"Give one number, for example {name}=-1.",
            **{name: value},
        )
    return int(value)


def finite(name, value):
    """`value` as a float; refuse what is no finite number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) < float("inf"):
        raise errors.received(
            f"`{name}` must be a finite number.", **{name: value}
        )
    return float(value)


def positive(name, value, least=1):
    """Refuse what is no integer of at least `least`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least:
        raise errors.received(
            f"`{name}` must be an integer of at least {least}.",
            **{name: value},
        )


def check_epsilon(epsilon) -> float:
    """`epsilon`, which must not be negative."""
    if not epsilon >= 0:
        raise errors.received(
            "`epsilon` must not be negative.",
            "Typical values are 1e-5 and 1e-3.",
            epsilon=epsilon,
        )
    return float(epsilon)


def channels_of(axis: int, shape: tuple) -> int:
    """Static size of the channel axis of an input of that shape."""
    rank = len(shape)
    if not -rank <= axis < rank:
        raise errors.axis_out_of_range(axis, shape)
    if axis % rank == 0:
        raise errors.received(
            "`axis` must not be the batch axis.",
            "Use -1 for channels-last or 1 for channels-first data.",
            axis=axis,
            input_shape=shape,
        )
    if shape[axis] is None:
        raise errors.undefined_dimension(axis, shape)
    return shape[axis]


def positions_of(axis: int, shape: tuple) -> int | None:
    """Entries of a sample in one channel; None where sizes are unknown."""
    alone = (0, axis % len(shape))
    sizes = [n for i, n in enumerate(shape) if i not in alone]
    return None if None in sizes else math.prod(sizes)


def check_axes(name: str, axes: object) -> tuple:
    """One axis or several, as a tuple of ints."""
    if isinstance(axes, (list, tuple)):
        return tuple(one_integer(name, a) for a in axes)
    if not hasattr(axes, "__index__"):
        raise TypeError(
            "Expected an int or a list/tuple of ints for the argument "
            f"'{name}', but received: {axes!r}"
        )
    return (one_integer(name, axes),)


def axes_of(name: str, axes: tuple, shape: tuple, static: bool = True) -> tuple:
    """Axes of an input of that shape: in range, distinct, sorted."""
    rank = len(shape)
    for a in axes:
        if not -rank <= a < rank:
            raise errors.axis_out_of_range(a, shape)
    found = tuple(sorted(a % rank for a in axes))
    if not found or len(set(found)) != len(found) or 0 in found:
        raise errors.received(
            f"`{name}` must name distinct axes, and not the batch axis.",
            **{name: axes},
            input_shape=shape,
        )
    for a in found:
        if static and shape[a] is None:
            raise errors.undefined_dimension(a, shape)
    return found


def several(inputs_shape) -> bool:
    """True for the shapes of several inputs in a list."""
    return bool(inputs_shape) and isinstance(inputs_shape[0], (list, tuple))


class NormalizationLayer(Freezable, FurtherInputs):
    """Options that all layers share.

    Args:
        axis: channel axis (one integer; some layers take several axes).
        epsilon: added for stability; where, each layer says.
        center: add a learned `beta`.
        scale: multiply by a learned `gamma`.
        beta_initializer: initializer of `beta`.
        gamma_initializer: initializer of `gamma`.
        beta_regularizer: regularizer of `beta`.
        gamma_regularizer: regularizer of `gamma`.
        beta_constraint: constraint of `beta`.
        gamma_constraint: constraint of `gamma`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.
    """

    # Arguments of the bases that a subclass has settled and does not take.
    fixed: tuple = ()
    # Arguments of a drop-in that Keras' layer does not have.
    beyond_keras: tuple = ()

    def __new__(cls, *args, **kwargs):
        """Check the keywords as the user wrote them."""
        configuration.check_keywords(cls, kwargs, configuration.LAYER_KEYWORDS)
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self,
        axis=-1,
        epsilon=1e-5,
        center=True,
        scale=True,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axis = self.check_axis(axis)
        self.epsilon = check_epsilon(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_constraint = keras.constraints.get(beta_constraint)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)
        self.gamma: Any = None
        self.beta: Any = None
        self.supports_masking = True
        # Inputs arrive as they are and are cast here, up: 7e4 would be inf in
        # float16 before call() sees it.
        self.autocast = False

    def check_axis(self, axis):
        """The `axis` argument, checked."""
        return one_integer("axis", axis)

    def add_affine(self, shape: tuple) -> None:
        """Create gamma and beta, in Keras' order."""
        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                self.add_option(name, shape)

    def add_option(self, name: str, shape: tuple) -> None:
        """Create the trainable weight whose options are `name`_...."""
        weight = self.add_weight(
            shape=shape,
            name=name,
            autocast=False,
            initializer=getattr(self, f"{name}_initializer"),
            regularizer=getattr(self, f"{name}_regularizer", None),
            constraint=getattr(self, f"{name}_constraint", None),
        )
        setattr(self, name, weight)

    def add_state(self, name: str, shape: tuple, initializer, dtype=None):
        """Create a non-trainable weight of at least float32."""
        half = self.variable_dtype in ("float16", "bfloat16")
        weight = self.add_weight(
            shape=shape,
            name=name,
            initializer=initializer,
            dtype=dtype or ("float32" if half else None),
            trainable=False,
            autocast=False,
        )
        setattr(self, name, weight)
        return weight

    def widened(self, inputs):
        """`inputs` in the dtype of statistics (integers become floats)."""
        x = ops.convert_to_tensor(inputs)
        return ops.cast(x, statistics_dtype(x))

    def narrowed(self, y):
        """The result in the layer's compute dtype."""
        return ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, inputs_shape, *others, **named):
        """The shape of the (first) input."""
        return tuple(inputs_shape[0] if several(inputs_shape) else inputs_shape)

    def get_config(self):
        """All constructor arguments, the same before and after build.

        Those in `beyond_keras` are left out at their defaults, so that Keras'
        own layer takes the config of a drop-in.
        """
        own = configuration.config(self)
        for name in self.beyond_keras:
            if own[name] == configuration.default(type(self), name):
                del own[name]
        return {**super().get_config(), **own}
