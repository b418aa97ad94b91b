"""One row for each recurrent layer.

What they compute is tested in tests/layers/recurrent; here they are rows of the
tables of what every layer promises: to be saved, exported, copied and found in
the README.
"""

import dataclasses

import keras

from contract.alone import Alone


@dataclasses.dataclass(frozen=True)
class Recurrent(Alone):
    """A recurrent layer, or a cell in Keras' RNN."""

    rank: int = 3

    def make(self, **options):
        """The layer, not built."""
        given = {**self.options, **options}
        if not self.layer.endswith("Cell"):
            return self.cls(4, **given)
        name = {"name": given.pop("name")} if "name" in given else {}
        return keras.layers.RNN(self.cls(4, **given), **name)


RECURRENT = [
    Recurrent("BatchNormalizedLSTM", options={"max_time_steps": 4}),
    Recurrent(
        "BatchNormalizedLSTM",
        "backwards",
        {
            "max_time_steps": 9,
            "return_sequences": True,
            "go_backwards": True,
            "gamma_initializer": "ones",
            "unbiased": True,
            "recurrent_initializer": "identity",
        },
    ),
    Recurrent("LayerNormalizedLSTM", options={"return_sequences": True}),
    Recurrent(
        "LayerNormalizedLSTM",
        "sum",
        {"placement": "sum", "norm_per_gate": True, "normalize_carry": True},
    ),
    Recurrent("LayerNormalizedGRU", options={"norm_per_gate": True}),
    Recurrent(
        "LayerNormalizedGRU",
        "sum",
        {"placement": "sum", "reset_after": False, "use_bias": False},
    ),
    Recurrent("LayerNormalizedLSTMCell"),
    Recurrent("LayerNormalizedGRUCell"),
]
