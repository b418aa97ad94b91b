"""Runs a row through a layer and compares, by the fields of the row alone."""

import re

import keras
import numpy as np

from golden.tolerance import error
from golden.tolerance import tolerance
from gradients import build
from gradients import gradients
from gradients import inference
from gradients import weight_name

# " (groups,)", " (d,1)": the shape that a state's role may carry.
SHAPE = re.compile(r" \(\w*(,\w*)+\)")
STEP = re.compile(r" after step \d+$")


def state_role(role):
    """What a state is, without its shape and step."""
    return STEP.sub("", SHAPE.sub("", role))


class Comparison:
    """One row on one layer, with the channels in one place.

    Attributes:
        expected: {name: array} of the row, arranged.
        found: {name: array} of the layer.
    """

    def __init__(self, row, plan, arrangement, dtype="float32"):
        self.row, self.plan, self.dtype = row, plan, dtype
        place, self.axis = plan.arrangements(row)[arrangement]
        self.expected = row.arranged(place, plan.stored_axis, plan.order)
        self.found = {}
        keywords = {} if dtype == "float32" else {"dtype": dtype}
        self.layer = plan.layer_of(self.axis, **keywords)

    def run(self):
        """All training calls, then inference on the last input."""
        row = self.row
        build(self.layer, self._inputs(row.inputs[: len(row.steps[0][1])]))
        self._set({**row.parameters, **self._state("state0_")})
        for name, value in self.plan.start.items():
            getattr(self.layer, name).assign(value)
        for suffix, names in row.steps:
            self._train(suffix, names)
        if self.plan.inference_state:
            self._set(self._state("state_"))
        # A program without statistics of its own uses the batch's always.
        stateless = not row.state and bool(self.layer.non_trainable_weights)
        if "y_eval" in self.compared:
            outputs = inference(
                self.layer,
                self._inputs(names),
                stateless,
                mask=self._mask(names),
                dtype=self.dtype,
            )
            several = isinstance(outputs, list | tuple)
            self.found["y_eval"] = outputs[0] if several else outputs
        for name, probe in self.plan.probes.items():
            if name in self.compared:
                x = self._inputs(names)[0]
                self.found[name] = probe(self.plan, x, self.axis)
        return self

    @property
    def compared(self):
        """Names of the arrays that must agree."""
        names = list(self.row.compare)
        if self.plan.inference_state and "y_eval" in self.expected:
            names += [n for n in ["y_eval"] if n not in names]
        return names

    def failures(self):
        """A line for every array that is not near enough."""
        lines = []
        for name in self.compared:
            if name not in self.found:
                lines.append(f"{name}: the adapter gives no such array")
                continue
            try:
                wrong = error(self.found[name], self.expected[name])
            except AssertionError as shapes:
                lines.append(f"{name}: {shapes}")
                continue
            # Not `wrong > allowed`: NaN is wrong too.
            allowed = self.allowed(name)
            if not wrong <= allowed:
                lines.append(f"{name}: {wrong:.1e} > {allowed:.1e}")
        return lines

    def allowed(self, name):
        """The tolerance of an array of this row."""
        entries = int(np.prod(self.row.input_shape))
        channels = self.row.channels
        length = max(entries // channels, channels)
        if name.startswith("grad_") and self.expected[name].size < channels:
            # Of a weight that all channels share: a sum over all entries.
            length = entries
        return tolerance(
            self.row.tolerance_kind,
            self.row.dtype,
            length,
            self.dtype,
            name.startswith(("dx", "grad_")),
        )

    # The parts of a run -------------------------------------------------------

    def _state(self, prefix):
        """{array: role} of the state before or after."""
        state = self.row.state.items()
        return {n: state_role(r) for n, r in state if n.startswith(prefix)}

    def _given(self, names):
        """The names without the mask's."""
        return [n for n in names if not (self.plan.mask and n == "mask")]

    def _mask(self, names):
        """The mask of a call, or None."""
        if self.plan.mask is None or "mask" not in names:
            return None
        return self.plan.mask(self.row, self.expected["mask"], self.axis)

    def _inputs(self, names):
        arrays = [self.expected[name] for name in self._given(names)]
        return [
            a.astype(self.dtype) if a.dtype.kind == "f" else a for a in arrays
        ]

    def _link(self, name, role):
        if role not in self.plan.links:
            raise KeyError(
                f"{self.row}: the adapter of {self.row.method} does not know "
                f"what {name} is: {role!r}"
            )
        return self.plan.links[role]

    def _values(self):
        return {
            weight_name(self.layer, w): np.array(keras.ops.convert_to_numpy(w))
            for w in self.layer.weights
        }

    def _set(self, roles):
        """Give the layer's weights the values of these arrays."""
        values = self._values()
        for name, role in roles.items():
            self._link(name, role).write(values, self.expected[name])
        for weight in self.layer.weights:
            weight.assign(values[weight_name(self.layer, weight)])

    def _train(self, suffix, names):
        """One training call: outputs, gradients, state."""
        upstream = [self.expected.get(f"dy{suffix}")]
        found = gradients(
            self.layer,
            self._inputs(names),
            upstream,
            training=True,
            mask=self._mask(names),
            jit=keras.backend.backend() == "jax",
            dtype=self.dtype,
        )
        outputs = found.outputs
        if not isinstance(outputs, list | tuple):
            outputs = [outputs]
        for name, output in zip(self.plan.outputs, outputs, strict=True):
            self.found[name + suffix] = output
        given = self._given(names)
        for name, gradient in zip(given, found.inputs, strict=True):
            stem = self.row.stem(name)
            short = f"d{stem}{suffix}" in self.compared
            stem = f"d{stem}" if stem == "x" or short else f"grad_{stem}"
            self.found[stem + suffix] = gradient
        # Of the same name an input's gradient comes first: then the row has no
        # parameter of that name.
        for name, role in self.row.parameters.items():
            gradient = self._link(name, role).read(
                found.weights, self.expected[name].shape
            )
            stem = f"grad_{name.removeprefix('param_')}"
            self.found.setdefault(stem + suffix, gradient)
        values = self._values()
        for name, role in self.row.state.items():
            own = name == self.row.stem(name) + suffix
            if own and name.startswith("state_") and name in self.row.compare:
                self.found[name] = self._link(name, state_role(role)).read(
                    values, self.expected[name].shape
                )
