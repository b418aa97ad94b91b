"""Weights of the plain layer out of a wrapper and into it.

Out of it: the effective kernels become the layer's own. Into it: a kernel
becomes the effective one, through the right inverse of the map.
"""

from keras import ops

from keras_norm.core import guards
from keras_norm.core.kernel_wrapper import KernelWrapper
from keras_norm.core.kernel_wrapper import widened


class PlainWeights(KernelWrapper):
    """Base of wrappers that can be removed and take plain weights."""

    trainable_scale = True
    scale_initializer: object = None

    def gain(self, w, kernel):
        """The scale of `w` for each neuron."""
        raise NotImplementedError

    def right_inverse(self, w, kernel) -> tuple:
        """(v, {name: state}) of which the map makes `w`, up to the scale."""
        raise NotImplementedError

    def scale_of(self, kernel):
        """The variable of the scale of a kernel, or None."""
        raise NotImplementedError

    def state_of(self, kernel) -> dict:
        """{name: variable} of the state of a kernel's map."""
        raise NotImplementedError

    def plain_values(self) -> list:
        """Values of the plain layer's variables, with the effective kernels."""
        effective = self.effective_kernels()
        found = {
            id(k.value): ops.cast(effective[path], k.value.dtype)
            for path, k in self.all_kernels().items()
            if path in effective
        }
        variables = self.plain_layer().variables
        return [found.get(id(v), ops.convert_to_tensor(v)) for v in variables]

    def remove(self):
        """The plain layer, with the effective kernel as its own.

        The wrapper has then done its work and refuses calls. Models hold
        wrappers in their graphs: `tools.remove_parametrizations` gives a model
        without. What was compiled with the wrapper (`predict`, `fit`) goes on
        applying it: do not go on with such a model.
        """
        plain = self.plain_layer()
        if self.built:
            values = self.plain_values()
            for variable, value in zip(plain.variables, values, strict=True):
                variable.assign(value)
        wrapper = self
        while wrapper is not plain:
            guards.release(wrapper)
            wrapper = wrapper.layer
        return plain

    def set_plain_weights(self, weights):
        """Take the weights of the plain layer, through the right inverse.

        Args:
            weights: arrays as of the plain layer's `get_weights()`.
        """
        self.plain_layer().set_weights(weights)
        self.adopt()

    def adopt(self):
        """Make what the plain layer's kernels are now the effective ones."""
        given = {p: widened(k.value) for p, k in self.all_kernels().items()}
        self._adopt(given)

    def _adopt(self, given):
        for kernel in self.kernels():
            w, scale = given[kernel.path], self.scale_of(kernel)
            given[kernel.path], state = self.right_inverse(w, kernel)
            # A fixed scale that came from the kernel follows it.
            own = self.trainable_scale or self.scale_initializer is None
            if scale is not None and own:
                scale.assign(ops.cast(self.gain(w, kernel), scale.dtype))
            for name, variable in self.state_of(kernel).items():
                variable.assign(ops.cast(state[name], variable.dtype))
        if isinstance(self.layer, PlainWeights):
            self.layer._adopt(given)
            return
        for path, kernel in self.all_kernels().items():
            kernel.value.assign(ops.cast(given[path], kernel.value.dtype))

    def load_own_variables(self, store):
        """Load gains and state, or all the weights of the plain layer."""
        own = self._trainable_variables + self._non_trainable_variables
        stored = [store[str(i)] for i in range(len(store.keys()))]
        shapes = [tuple(value.shape) for value in stored]
        plain = [tuple(w.shape) for w in self.plain_layer().weights]
        if shapes == plain and shapes != [tuple(w.shape) for w in own]:
            self.set_plain_weights(stored)
            self._let_the_layer_skip()
        else:
            super().load_own_variables(store)

    def _let_the_layer_skip(self):
        """The layer, which the file of a plain model does not have, is loaded.

        Keras asks it all the same, with an empty store.
        """
        layer = self.layer

        def load(store):
            object.__delattr__(layer, "load_own_variables")
            if len(store.keys()):
                layer.load_own_variables(store)

        object.__setattr__(layer, "load_own_variables", load)
