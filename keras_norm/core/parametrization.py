"""The wrapper of every method that re-parametrizes a layer's kernel.

The kernel of the wrapped layer stays the free parameter v; what the layer
computes with is w = g * map(v), formed anew at every call. A method says what
its map is, its (right) inverse and how far a kernel is from what it gives.
"""

import warnings

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.kernel_wrapper import widened
from keras_norm.core.layer import statistics_dtype
from keras_norm.core.plain_weights import PlainWeights
from keras_norm.core.state import snapshot


class WeightParametrization(PlainWeights):
    """Base of the wrappers that compute a layer's kernel from a free one.

    A subclass overrides `map`, and where there is more to say `check`,
    `initial_state`, `right_inverse`, `gain` and `violation`.

    Args:
        layer: the layer to wrap. Its own kernel is the free parameter, with
            its initializer, regularizer and constraint.
        axis: axes of the kernel that are output neurons, one or several; ()
            takes the whole kernel for one neuron. None: from the type of
            `layer`.
        scale: multiply by a scale for each output neuron, the weight `g`.
        scale_initializer: initializer of the scale, or a number. None: what
            changes the layer's function the least.
        scale_regularizer: regularizer of the scale.
        scale_constraint: constraint of the scale.
        trainable_scale: learn the scale.
        targets: names of the kernels to take, as in ["recurrent_kernel"].
            None: all.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`. The
            map is computed in at least float32 whatever the dtype.
    """

    def __init__(
        self,
        layer,
        axis=None,
        scale=False,
        scale_initializer="ones",
        scale_regularizer=None,
        scale_constraint=None,
        trainable_scale=True,
        targets=None,
        **kwargs,
    ):
        super().__init__(layer, axis=axis, targets=targets, **kwargs)
        self.scale = scale
        if not isinstance(scale_initializer, (int, float, type(None))):
            scale_initializer = keras.initializers.get(scale_initializer)
        self.scale_initializer = scale_initializer
        self.scale_regularizer = keras.regularizers.get(scale_regularizer)
        self.scale_constraint = keras.constraints.get(scale_constraint)
        self.trainable_scale = trainable_scale

    # What a method says -------------------------------------------------------

    def check(self, kernel):
        """Refuse a kernel that the map cannot take."""

    def initial_state(self, kernel) -> dict:
        """{name: (shape, initializer)} of the state of a kernel's map."""
        return {}

    def map(self, v, kernel, state, training=False):
        """The map. Pure: nothing is assigned.

        Args:
            v: the free parameter, in at least float32.
            kernel: how it is to be read.
            state: {name: tensor}.
            training: advance the state.

        Returns:
            (tensor of the shape of v, {name: new state}).
        """
        raise NotImplementedError

    def scaled_map(self, v, kernel, state, scale, training=False):
        """The map times the scale, which broadcasts to v; None: none."""
        w, state = self.map(v, kernel, state, training)
        return (w if scale is None else w * scale), state

    def gain(self, w, kernel):
        """The scale of w for each neuron, where the map gives unit vectors."""
        return ops.sqrt(ops.sum(ops.square(w), axis=kernel.reduced))

    def right_inverse(self, w, kernel) -> tuple:
        """(v, {name: state}) with map(v) = w up to the scale.

        Where the map cannot give `w`, the nearest that is easily had.
        """
        return w, {}

    def violation(self, w, kernel):
        """How far w is from what the map gives, a number of at least 0.

        Args:
            w: an effective kernel without the scale.
            kernel: how it is to be read.
        """
        raise NotImplementedError

    # Weights ------------------------------------------------------------------

    def add_weights(self):
        """Create gains, then state, of all kernels."""
        found = self.kernels()
        self._several = len(found) > 1
        for kernel in found:
            if len(kernel.shape) < 2:
                raise errors.received(
                    f"The kernel {kernel.path!r} must have at least two axes.",
                    kernel_shape=kernel.shape,
                )
            self.check(kernel)
            if getattr(kernel.value, "constraint", None) is not None:
                warnings.warn(
                    f"The constraint of {kernel.path!r} of {self.layer.name!r} "
                    "acts on the free parameter, not on the kernel that "
                    f"{type(self).__name__} makes of it.",
                    stacklevel=3,
                )
        for kernel in found if self.scale else ():
            self._add(
                kernel,
                "g",
                kernel.units,
                self._scale_initializer(kernel),
                trainable=self.trainable_scale,
                regularizer=self.scale_regularizer,
                constraint=self.scale_constraint,
            )
        for kernel in found:
            state = self.initial_state(kernel)
            for name, (shape, initializer) in state.items():
                self._add(
                    kernel,
                    name,
                    shape,
                    initializer,
                    trainable=False,
                    # Replicas compute the same from the same kernel.
                    aggregation="only_first_replica",
                )

    def _scale_initializer(self, kernel):
        if isinstance(self.scale_initializer, (int, float)):
            return keras.initializers.Constant(self.scale_initializer)
        if self.scale_initializer is not None:
            return self.scale_initializer

        def initializer(shape, dtype=None):
            return ops.cast(self.gain(self.source(kernel), kernel), dtype)

        return initializer

    def _add(self, kernel, name, shape, initializer, **options):
        name = self._name(kernel, name)
        weight = self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=statistics_dtype(kernel.value),
            autocast=False,
            **options,
        )
        setattr(self, name, weight)

    def _name(self, kernel, name):
        prefix = kernel.path.replace("/", "_") + "_" if self._several else ""
        return prefix + name

    def state_of(self, kernel) -> dict:
        """{name: variable} of the state of a kernel's map."""
        names = self.initial_state(kernel)
        return {n: getattr(self, self._name(kernel, n)) for n in names}

    def scale_of(self, kernel):
        """The variable `g` of a kernel, or None."""
        return getattr(self, self._name(kernel, "g")) if self.scale else None

    # The effective kernel -----------------------------------------------------

    def source(self, kernel):
        """What the map of a kernel is applied to, in at least float32."""
        if isinstance(self.layer, WeightParametrization):
            below = self.layer.effective_kernels()
            if kernel.path in below:
                return below[kernel.path]
        return widened(kernel.value)

    def effective_kernels(self, training=False) -> dict:
        """{name: kernel that the layer computes with}.

        Args:
            training: advance the state of the maps, as a training call does.
        """
        found = {}
        if isinstance(self.layer, WeightParametrization):
            found = self.layer.effective_kernels(training)
        for kernel in self.kernels():
            v = found.get(kernel.path)
            v = widened(kernel.value) if v is None else v
            variables = self.state_of(kernel)
            state = {n: ops.convert_to_tensor(s) for n, s in variables.items()}
            advance = bool(training) and self.trainable
            advance = advance and self.layer.trainable
            if advance:
                state = {n: snapshot(s) for n, s in state.items()}
            scale = self.scale_of(kernel)
            if scale is not None:
                scale = ops.cast(ops.convert_to_tensor(scale), v.dtype)
                scale = kernel.spread(scale)
            w, state = self.scaled_map(v, kernel, state, scale, advance)
            for name, value in state.items() if advance else ():
                variable = variables[name]
                variable.assign(ops.cast(value, variable.dtype))
            found[kernel.path] = w
        return found

    def effective_kernel(self, name=None):
        """The kernel that the layer computes with, at inference.

        Args:
            name: which, where the layer has several, as in
                "recurrent_kernel".
        """
        found = self.effective_kernels()
        if name is None and len(found) == 1:
            return next(iter(found.values()))
        if name not in found:
            raise errors.unknown_name("name", name, list(found))
        return found[name]

    def violations(self) -> dict:
        """{name: how far the effective kernel is from what the map gives}."""
        effective, found = self.effective_kernels(), {}
        for kernel in self.kernels():
            w, scale = effective[kernel.path], self.scale_of(kernel)
            if scale is not None:
                scale = ops.cast(ops.convert_to_tensor(scale), w.dtype)
                # A neuron scaled to 0 is nothing to be judged.
                w = w / kernel.spread(ops.where(ops.equal(scale, 0), 1, scale))
            found[kernel.path] = float(
                ops.convert_to_numpy(self.violation(w, kernel))
            )
        return found
