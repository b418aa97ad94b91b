"""Runs a row of kind `weight`: a layer whose kernel is re-parametrized.

The layer follows from the role of the row's kernel and its rank, from
`config` and from the layout; what is the method's own, an adapter says.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np

import keras_norm as kn
from golden.rows import CHANNEL_AXIS
from golden.tolerance import error
from golden.tolerance import tolerance
from golden.weight_layers import KernelOf
from golden.weight_layers import Padded
from golden.weight_layers import StoredKernel
from gradients import build
from gradients import gradients
from gradients import inference
from gradients import weight_name

LAYERS = {"conv": "Conv{}D", "conv_transpose": "Conv{}DTranspose"}


@dataclasses.dataclass
class WeightPlan:
    """What an adapter says.

    Args:
        arguments: of the wrapper.
        scale: name of the array that is the scale of each neuron.
        start: f(run) -> {state of the wrapper: array} before the call.
        before: training calls made first.
        training: how the call is made that the row records.
        probes: {array: f(run)} of what no call returns.
    """

    arguments: dict = dataclasses.field(default_factory=dict)
    scale: str | None = None
    start: Callable = lambda run: {}
    before: int = 0
    training: bool = True
    probes: dict = dataclasses.field(default_factory=dict)


class WeightRun:
    """One row on one wrapper, channels last."""

    def __init__(self, row, plan, dtype="float32"):
        self.row, self.plan, self.dtype = row, plan, dtype
        self.stored = StoredKernel(row)
        self.found = {}
        layer = self._layer()
        cls = getattr(kn.layers, row.method)
        self.wrapper = cls(layer, dtype=dtype, **plan.arguments)
        self.model = self._model(self.wrapper)

    @cached_property
    def x(self):
        """The input, channels last."""
        return self._data("x") if self.row.inputs else np.zeros((1, 1))

    def array(self, name):
        """An array of the row, in this run's dtype."""
        return np.asarray(self.row.arrays[name], self.dtype)

    def _data(self, name):
        array = self.array(name)
        if self.row.inputs:
            place = CHANNEL_AXIS[self.row.layout]
            return np.moveaxis(array, place, -1)
        return self.stored.keras(array)

    # The layer ----------------------------------------------------------------

    def _per_axis(self, name, default):
        value = self.row.config.get(name, default)
        spatial = len(self.stored.shape) - 2
        return list(value) if isinstance(value, list) else [value] * spatial

    def _layer(self):
        config, kernel = self.row.config, self.stored
        shape = kernel.keras(np.empty(kernel.shape)).shape
        options = {
            "use_bias": self.row.has("bias"),
            "dtype": self.dtype,
        }
        if kernel.layer == "dense":
            return keras.layers.Dense(shape[-1], **options)
        same = config.get("padding") in ("SAME", "same")
        options["padding"] = "same" if same else "valid"
        options["strides"] = self._per_axis("stride", 1)
        options["dilation_rate"] = self._per_axis("dilation", 1)
        name = LAYERS[kernel.layer].format(len(shape) - 2)
        if kernel.layer == "conv":
            options["groups"] = config.get("groups", 1)
            filters = shape[-1]
        else:
            filters = shape[-2]
        return getattr(keras.layers, name)(filters, shape[:-2], **options)

    def _model(self, inner):
        shape = self.stored.keras(np.empty(self.stored.shape)).shape
        if not self.row.inputs:
            groups = self.row.config.get("groups", 1)
            channels = shape[0] if len(shape) == 2 else shape[-2] * groups
            if self.stored.layer == "conv_transpose":
                channels = shape[-1]
            spatial = [None] * (len(shape) - 2)
            inner.build((None, *spatial, channels))
            return KernelOf(inner, self.dtype)
        if self.stored.layer == "dense":
            return inner
        padding = self._per_axis("padding", 0)
        if isinstance(padding[0], str):
            padding = [0] * len(padding)
        sizes = np.shape(self._data("y"))[1:-1]
        if self.stored.layer == "conv_transpose":
            before = [(0, 0)] * len(padding)
            cut = [(p, p + n) for p, n in zip(padding, sizes, strict=True)]
        else:
            before = [(p, p) for p in padding]
            cut = [(0, n) for n in sizes]
        return Padded(inner, before, cut, self.dtype)

    # The run ------------------------------------------------------------------

    @property
    def kernel(self):
        """The kernel, as the wrapper reads it."""
        (kernel,) = self.wrapper.kernels()
        return kernel

    @property
    def matrix(self):
        """The row's kernel as (outputs, fan-in), in Keras' order."""
        v = keras.ops.convert_to_tensor(self.kernel.value)
        return self.kernel.matrices(v)[0]

    def effective(self):
        """The effective kernel at inference, in Keras' order."""
        return keras.ops.convert_to_numpy(self.wrapper.effective_kernel())

    def unscaled(self):
        """The same before the scale."""
        w = self.effective()
        if self.plan.scale is None:
            return w
        scale = self.kernel.spread(self.array(self.plan.scale).reshape(-1))
        return w / keras.ops.convert_to_numpy(scale)

    def variables(self):
        """{array: variable that has its value}."""
        found = {}
        for name, role in self.row.parameters.items():
            if name == self.stored.name:
                found[name] = self.kernel.value
            elif name == self.plan.scale:
                found[name] = self.wrapper.g
            elif role == "bias":
                found[name] = self.wrapper.layer.bias
            else:
                raise KeyError(
                    f"{self.row}: nobody knows what {name} is: {role!r}"
                )
        return found

    def set(self):
        """Give the layer the row's parameters and start."""
        for name, variable in self.variables().items():
            value = self.array(name)
            if name == self.stored.name:
                value = self.stored.keras(value)
            variable.assign(np.reshape(value, variable.shape))
        for name, value in self.plan.start(self).items():
            variable = getattr(self.wrapper, name)
            variable.assign(np.reshape(value, variable.shape))

    def outputs_of(self, w):
        """What the plain layer gives with this kernel."""
        build(self.model, [self.x])
        self.set()
        plain = self.wrapper.layer
        plain.kernel.assign(w)
        model = self._model(plain)
        if model is not plain:
            build(model, [self.x])
        return inference(model, [self.x], dtype=self.dtype)

    def run(self):
        """The calls of the row, then inference and what else it compares."""
        build(self.model, [self.x])
        self.set()
        for _ in range(self.plan.before):
            self.wrapper.effective_kernels(training=True)
        dy = np.broadcast_to(0.0, np.shape(self.x))
        dy = self._data("dy") if "dy" in self.row.shapes else dy
        # Grouped convolutions have gradients on TensorFlow's CPU compiled only.
        jit = keras.backend.backend() != "torch"
        found = gradients(
            self.model,
            [self.x],
            dy,
            training=self.plan.training,
            jit=jit,
            dtype=self.dtype,
        )
        self.found["y"], self.found["dx"] = found.outputs, found.inputs[0]
        for name, variable in self.variables().items():
            gradient = found.weights[weight_name(self.model, variable)]
            stem = name.removeprefix("param_")
            self.found[f"grad_{stem}"] = gradient
        if "y_eval" in self.row.compare:
            self.found["y_eval"] = inference(
                self.model, [self.x], dtype=self.dtype
            )
        self.found["w_eff"] = self.effective()
        self.found["w_norm"] = self.unscaled()
        for name, probe in self.plan.probes.items():
            if name in self.row.compare:
                self.found[name] = probe(self)
        return self

    def expected(self, name):
        """An array of the row in this run's layout."""
        kernels = ("w_eff", "w_norm", f"grad_{self.stored.name[6:]}")
        if name in kernels:
            return self.stored.keras(self.row.arrays[name])
        if name in ("y", "dx", "y_eval"):
            return self._data(name)
        return self.row.arrays[name]

    def failures(self):
        """A line for every array that is not near enough."""
        lines = []
        fan_in = self.kernel.fan_in
        length = max(fan_in, self.x.size // self.x.shape[-1])
        for name in self.row.compare:
            if name not in self.found:
                lines.append(f"{name}: the adapter gives no such array")
                continue
            wrong = error(self.found[name], self.expected(name))
            allowed = tolerance(
                self.row.tolerance_kind,
                self.row.dtype,
                length,
                self.dtype,
                name.startswith(("dx", "grad_")),
            )
            # Not `wrong > allowed`: NaN is wrong too.
            if not wrong <= allowed:
                lines.append(f"{name}: {wrong:.1e} > {allowed:.1e}")
        return lines
