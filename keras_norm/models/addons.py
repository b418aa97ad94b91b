"""Layers of TensorFlow Addons, which need not be installed."""

import keras

import keras_norm.layers as ours
from keras_norm.models.conversion_report import Kept


def from_addons(cls) -> bool:
    """Is it a class of tensorflow_addons?"""
    registered = keras.saving.get_registered_name(cls).startswith("Addons>")
    return registered or cls.__module__.startswith("tensorflow_addons")


def addons_target(layer):
    """(our class or None, options of its own, options that are no loss)."""
    name, given = type(layer).__name__, layer.get_config()
    if name == "InstanceNormalization":
        # A group normalization with as many groups as channels.
        return ours.InstanceNormalization, {}, ("groups",)
    if name == "FilterResponseNormalization":
        changes = {
            "axis": -1,
            "epsilon": float(keras.ops.convert_to_numpy(given["epsilon"])),
            "learn_epsilon": given["learned_epsilon"],
        }
        return (
            ours.FilterResponseNormalization,
            changes,
            ("learned_epsilon",),
        )
    if name == "TLU":
        raise Kept("its thresholds are one for each entry, not each channel")
    known = (
        "GroupNormalization",
        "SpectralNormalization",
        "WeightNormalization",
    )
    return (getattr(ours, name) if name in known else None), {}, ()
