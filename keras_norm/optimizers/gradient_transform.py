"""Transforms of gradients, or of steps, in any optimizer of Keras."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.distribution import replica_count
from keras_norm.core.gradient_transforms import Chain
from keras_norm.core.layer import finite
from keras_norm.core.optimizer_wrapper import OptimizerWrapper
from keras_norm.core.optimizer_wrapper import innermost
from keras_norm.core.optimizer_wrapper import position
from keras_norm.core.unit_norms import dense

LOCATIONS = ("gradient", "update")


@keras.saving.register_keras_serializable("keras_norm")
class GradientTransform(OptimizerWrapper):
    """w <- w + step(T(g + l2 w)), T one transform after the other.

    g is the gradient as it is used: unscaled, accumulated, clipped, summed
    over replicas; the step is that of the inner optimizer. With
    `location="update"` its direction is transformed instead:
    w <- w - rate T(u), u = -step(g + l2 w) / rate.

    Args:
        inner_optimizer: a Keras optimizer, or its name. All options are its:
            learning rate, clipping, accumulation, averages, decoupled weight
            decay, loss scaling (inside or outside of this).
        transforms: one or a list of `keras_norm.optimizers.centralize`,
            `adaptive_clip`, `block_normalize`, in the order in which they act.
        location: "gradient": what the inner optimizer gets is transformed;
            "update": what it makes of it.
        l2: added to the gradient before all else, l2 times the variable: the
            weight decay of the published programs. (Keras' `weight_decay` is
            a step of its own.) `exclude_from_weight_decay` holds for both.
        where: which variables, for `l2` and for those transforms that do not
            say it themselves: a name or a list of names, each of a layer or a
            variable or any consecutive part of a variable's path; built
            layers or models, or a list of them; a function of a variable;
            None: all. What a transform leaves out by default it also leaves
            out of a model. By names alone the last axis of a kernel is that
            of its output neurons; only layers and models tell which it is of
            depthwise, transposed, einsum and attention layers. A saved
            optimizer keeps what they told.
        name: name of the optimizer.

    Raises:
        ValueError: no transforms, unknown names; a transform of several
            variables at once (`block_normalize("layer")`) with gradient
            accumulation or on replicas.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.Variable([[1.0, 2.0], [3.0, 4.0]], name="kernel")
    >>> optimizer = kn.optimizers.GradientTransform(
    ...     keras.optimizers.SGD(1.0),
    ...     [kn.optimizers.centralize(), kn.optimizers.adaptive_clip(0.1)])
    >>> gradient = keras.ops.array([[1.0, 0.0], [1.0, 6.0]])
    >>> optimizer.apply([gradient], [w])
    >>> print(keras.ops.convert_to_numpy(w).round(3))
    [[1.    2.316]
     [3.    3.684]]

    In a model, with the output axes of its layers:

    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), keras.layers.DepthwiseConv2D(3)])
    >>> model.compile(
    ...     kn.optimizers.GradientTransform(
    ...         "adam", kn.optimizers.centralize(), where=model),
    ...     "mse")

    Reference:

    - Yong et al., Gradient Centralization: A New Optimization Technique for
      Deep Neural Networks, ECCV 2020, https://arxiv.org/abs/2004.01461

    Note:
        A transform of the gradient acts before momentum. Clipping by the
        inner optimizer comes first (under `tf.distribute` before gradients
        are summed), its decoupled weight decay is not transformed. Sparse
        gradients of embeddings are made dense where a transform or `l2`
        includes them.
    """

    def __init__(
        self,
        inner_optimizer,
        transforms,
        location="gradient",
        l2=0.0,
        where=None,
        name=None,
    ):
        super().__init__(inner_optimizer, name)
        if location not in LOCATIONS:
            raise errors.unknown_name("location", location, list(LOCATIONS))
        if not finite("l2", l2) >= 0:
            raise errors.received("`l2` must not be negative.", l2=l2)
        self.location = location
        self.l2 = float(l2)
        self._chain = Chain(transforms, where)
        self._taken: set = set()
        self._refuse_parts()

    @property
    def transforms(self) -> list:
        """The transforms, in their order."""
        return list(self._chain.transforms)

    def _refuse_parts(self):
        """Parts of a batch are not what a norm of several gradients is of."""
        if not self._chain.jointly:
            return
        target = innermost(self.inner_optimizer)
        steps = target.gradient_accumulation_steps
        strategy = getattr(target, "_distribution_strategy", None)
        replicas = max(
            replica_count(), getattr(strategy, "num_replicas_in_sync", 1)
        )
        if steps or replicas > 1:
            raise errors.received(
                "`transforms` must be of single variables where gradients "
                "are accumulated or replicated.",
                'Use `block_normalize("variable")`.',
                transforms=self.transforms,
                gradient_accumulation_steps=steps,
                replicas=replicas,
            )

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        self._refuse_parts()
        self._chain.build(variables)
        self._taken = set(self._chain.all if self.l2 else self._chain.indices)
        super().build(variables)

    def takes_part(self, index):
        return index in self._taken

    def _join(self, target):
        if not self._chain.jointly:
            super()._join(target)
            return
        together = target._backend_update_step

        def update_steps(gradients, variables, learning_rate):
            self._refuse_parts()
            indices = [position(target, v) for v in variables]

            def step(changed):
                every = [
                    changed.get(i, g)
                    for i, g in zip(indices, gradients, strict=True)
                ]
                together(every, variables, learning_rate)

            pairs = zip(indices, gradients, variables, strict=True)
            taken = [p for p in pairs if self.takes_part(p[0])]
            self._around(step, taken, learning_rate)

        target._backend_update_step = update_steps

    def update(self, step, gradient, variable, learning_rate):
        index = position(innermost(self.inner_optimizer), variable)
        self._around(
            lambda changed: step(changed[index], variable, learning_rate),
            [(index, gradient, variable)],
            learning_rate,
        )

    def _around(self, step, taken, learning_rate):
        """Update variables by a step, its gradients or result transformed.

        Args:
            step: f({index: gradient}) of what is inside.
            taken: [(index, gradient, variable)].
            learning_rate: of this update.
        """
        update = self.location == "update"
        gradients, weights = {}, {}
        for i, gradient, variable in taken:
            g, w = dense(gradient, variable), dense(variable)
            # A copy: the step may change the variable in place.
            weights[i] = ops.copy(w) if update else w
            gradients[i] = self._decayed(i, g, w, variable)
        if not update:
            gradients = self._chain(gradients, weights)
        step(
            {
                i: ops.cast(
                    gradients[i], keras.backend.standardize_dtype(g.dtype)
                )
                for i, g, _ in taken
            }
        )
        if not update:
            return
        rate = ops.cast(learning_rate, "float32")
        moves, one = {}, ops.ones_like(rate)
        safe = ops.where(rate > 0, rate, one)
        for i, _, variable in taken:
            moved = weights[i] - dense(variable)
            moves[i] = moved / ops.cast(safe, moved.dtype)
        moves = self._chain(moves, weights)
        for i, _, variable in taken:
            w = weights[i] - ops.cast(rate, weights[i].dtype) * moves[i]
            dtype = keras.backend.standardize_dtype(variable.dtype)
            self.assign(variable, ops.cast(w, dtype))

    def _decayed(self, index, gradient, weights, variable):
        decays = innermost(self.inner_optimizer)._use_weight_decay
        if not self.l2 or index not in self._chain.all or not decays(variable):
            return gradient
        return gradient + self.l2 * weights

    def get_config(self):
        return {
            **super().get_config(),
            **self._chain.config(),
            "location": self.location,
            "l2": self.l2,
        }
