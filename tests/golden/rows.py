"""The rows of a manifest and their arrays; README.md beside the data says what
the fields mean.

Nothing here knows a method. A `Row` answers in terms of the fields; `arranged`
brings its data arrays to channels-last or channels-first.
"""

import json
import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
ENVIRONMENT = "KERAS_NORM_GOLDEN"

# Where the channels of the data arrays are.
CHANNEL_AXIS = {
    "channels_first": 1,
    "channels_last": -1,
    "features_last": -1,
    "tokens_first": -1,
}


def folders():
    """The project's own vectors, and one more folder where it is named."""
    more = os.environ.get(ENVIRONMENT)
    return [DATA, Path(more)] if more else [DATA]


def read(folder):
    """All rows of a folder; a folder or manifest that is missing raises."""
    text = (folder / "manifest.jsonl").read_text()
    lines = [line for line in text.splitlines() if line.strip()]
    return [Row(folder, json.loads(line)) for line in lines]


def read_all():
    """The rows of all folders."""
    return [row for folder in folders() for row in read(folder)]


class Row:
    """One row; the manifest's fields are attributes of the same names."""

    def __init__(self, folder, fields):
        self.folder, self.fields = folder, fields
        self.name, self.method = fields["name"], fields["method"]
        self.kind, self.layout = fields["kind"], fields["layout"]
        self.config, self.inputs = fields["config"], fields["inputs"]
        self.parameters, self.state = fields["parameters"], fields["state"]
        self.compare, self.suffix = fields["compare"], fields["suffix"]
        self.keep_momentum = fields["keep_momentum"]
        self.unbiased = fields["unbiased"]
        self.unbiased_moving_variance = fields["unbiased_moving_variance"]
        self.epsilon_place = fields["epsilon_place"]
        self.mask_true = fields["mask_true"]
        self.tolerance_kind = fields["tolerance_kind"]
        self.dtype, self.shapes = fields["dtype"], fields["arrays"]

    def __repr__(self):
        own = self.folder == DATA
        return self.name if own else f"{self.folder.name}/{self.name}"

    @cached_property
    def arrays(self):
        """{name: array} as stored."""
        with np.load(self.folder / f"{self.name}.npz") as file:
            return {name: file[name] for name in file.files}

    # What the fields say ------------------------------------------------------

    @property
    def epsilon(self):
        """The epsilon that acts."""
        if self.epsilon_place == "none":
            return 0.0
        for key in ("eps_value", "eps", "epsilon"):
            if self.config.get(key) is not None:
                return self.config[key]
        raise KeyError(f"{self}: no epsilon in {self.config}")

    @property
    def outside(self):
        """Is the epsilon added outside the root?"""
        return self.epsilon_place == "outside"

    @property
    def steps(self):
        """[(suffix, names of the inputs)] of the training calls."""
        if self.kind != "sequence":
            return [("", self.inputs)]
        steps = self.config["steps"]
        each = len(self.inputs) // steps
        return [
            (f"_{t}", self.inputs[t * each : (t + 1) * each])
            for t in range(steps)
        ]

    def stem(self, name):
        """`name` without the number of its step."""
        numbered = self.suffix == "step" and self.kind == "sequence"
        return re.sub(r"_\d+$", "", name) if numbered else name

    def has(self, role):
        """Is there a parameter that is `role`?"""
        return role in self.parameters.values()

    @property
    def input_shape(self):
        """Shape of the first input as stored."""
        return self.shapes[self.inputs[0]]

    @property
    def rank(self):
        """Rank of the first input."""
        return len(self.input_shape)

    @property
    def channels(self):
        """Size of the channel axis."""
        return self.input_shape[CHANNEL_AXIS[self.layout]]

    # Layouts ------------------------------------------------------------------

    def is_data(self, name):
        """Does this array have the layout of the first input?"""
        stem = self.stem(name)
        if stem.startswith(("param_", "state_", "state0_")):
            return False
        if f"param_{stem.removeprefix('grad_')}" in self.parameters:
            return False
        return len(self.shapes[name]) == self.rank

    def arranged(self, axis, stored_axis=None, order=None):
        """The arrays with the channels at `axis`.

        Args:
            axis: new place of the channels; `None` leaves all as stored.
            stored_axis: their place in the file; by default the layout's.
            order: permutation of the channels of the data arrays and of all
                parameters that have one entry for each.
        """
        if stored_axis is None:
            stored_axis = CHANNEL_AXIS[self.layout]
        arrays = {}
        for name, array in self.arrays.items():
            if self.is_data(name):
                if order is not None:
                    array = np.take(array, order, stored_axis)
                if axis is not None:
                    array = np.moveaxis(array, stored_axis, axis)
            elif order is not None and "state" not in name:
                if array.size == len(order):
                    array = array.reshape(-1)[order].reshape(array.shape)
            arrays[name] = array
        return arrays
