"""Standardization whose epsilon is outside or inside of the root."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.operations import Standardize

PLACEMENTS = ("outside", "inside")
# The root has no gradient at 0.
_LEAST = 1e-30


@keras.saving.register_keras_serializable("keras_norm")
class PlacedStandardize(Standardize):
    """y = (x - mean) / (sqrt(variance) + epsilon).

    Args:
        epsilon_placement: "outside" the root, or "inside".
    """

    def __init__(self, epsilon_placement="outside"):
        super().__init__()
        if epsilon_placement not in PLACEMENTS:
            raise errors.unknown_name(
                "epsilon_placement", epsilon_placement, list(PLACEMENTS)
            )
        self.epsilon_placement = epsilon_placement

    def rate(self, spread, epsilon):
        """The factor that normalizes."""
        if self.epsilon_placement == "inside":
            return super().rate(spread, epsilon)
        return 1.0 / (ops.sqrt(ops.maximum(spread, _LEAST)) + epsilon)
