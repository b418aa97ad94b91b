"""Block-normalized gradients.

Yu, Huang, Lin, Salakhutdinov and Carbonell, Block-Normalized Gradient Method:
An Empirical Study for Training Deep Neural Network, 2017.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.gradient_transforms import Transform
from keras_norm.core.gradient_transforms import needed
from keras_norm.core.layer import finite
from keras_norm.core.unit_norms import joint_norm
from keras_norm.core.unit_norms import ratio as quotient
from keras_norm.core.variable_choice import is_vector

BLOCKS = ("variable", "layer")
# Least norm of the weights that a ratio goes by.
_LEAST = 1e-3


@keras.saving.register_keras_serializable("keras_norm")
class BlockNormalize(Transform):
    """The rule of `block_normalize`."""

    def __init__(self, blocks="variable", ratio=None, where=None):
        super().__init__(where)
        if blocks not in BLOCKS:
            raise errors.unknown_name("blocks", blocks, list(BLOCKS))
        if ratio is not None and not finite("ratio", ratio) > 0:
            raise errors.received("`ratio` must be positive.", ratio=ratio)
        self.blocks = blocks
        self.ratio = None if ratio is None else float(ratio)
        self.jointly = blocks == "layer"
        # A vector is in the block of its layer.
        self.vectors = "always" if self.jointly else "named"

    def find(self, variables, default):
        found = super().find(variables, default)
        if not self.jointly or self._choice.names_variables:
            return found
        # Layers of vectors only, as normalizations, are left as they are, if
        # there are others.
        kernels = {
            i: found[i]
            for block in blocks_of(found)
            if not all(is_vector(found[i]) for i in block)
            for i in block
        }
        return found if self.where is not None and not kernels else kernels

    def transformed(self, gradient, variable, kernel):
        if self.ratio is not None:
            needed(variable, "`ratio` is relative to its norm")
        return self._block({0: gradient}, {0: variable}, [0])[0]

    def of_several(self, gradients, variables, kernels):
        if not self.jointly:
            return super().of_several(gradients, variables, kernels)
        found: dict = {}
        for block in blocks_of(kernels):
            found |= self._block(gradients, variables, block)
        return found

    def _block(self, gradients, variables, block):
        size = joint_norm([gradients[i] for i in block])
        wanted = ops.ones_like(size)
        if self.ratio is not None:
            weights = joint_norm([variables[i] for i in block])
            wanted = self.ratio * ops.maximum(weights, _LEAST)
        # First to a norm of 1: the quotient of both may be out of range.
        factor = quotient(ops.ones_like(size), size)
        return {i: gradients[i] * factor * wanted for i in block}


def blocks_of(kernels) -> list[list[int]]:
    """Indices of the variables of each layer."""
    found: dict[tuple, list[int]] = {}
    seen: dict[str, int] = {}
    for index, kernel in kernels.items():
        # Layers of several models may have the same name: a path that comes
        # again is of another layer.
        seen[kernel.path] = seen.get(kernel.path, 0) + 1
        layer = kernel.path.rpartition("/")[0] or kernel.path
        found.setdefault((layer, seen[kernel.path]), []).append(index)
    return list(found.values())


def block_normalize(blocks="variable", ratio=None, where=None):
    """Block-normalized gradients: g <- g / |g|, for each block of variables.

    With a `ratio`, g <- ratio |w| g / |g|, w being the variables of the block.
    Only the direction of a gradient is left; lengths of steps are the learning
    rate's, and with a ratio in proportion to the weights.

    Args:
        blocks: "variable": each alone. "layer": as published, all of a layer
            together, kernel and bias; needs all gradients at once, and
            refuses gradient accumulation and replicas.
        ratio: length of the result relative to that of the weights, for
            which at least 1e-3 is taken; None: 1, whatever the weights are.
        where: which variables: a name or a list of names, each of a layer or
            a variable or any consecutive part of a variable's path; built
            layers or models, or a list of them; a function of a variable;
            None: as `GradientTransform` says, all by default. Vectors,
            biases and the factors of normalizations are left out if they are
            not named, but with "layer" if they are in a block with a kernel;
            embeddings as vectors.

    Returns:
        A transform for `keras_norm.optimizers.GradientTransform`. It is also
        a function (gradient, variable=None) of tensors.

    Raises:
        ValueError: unknown blocks; a ratio that is not positive; `where` is
            none of these.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> g = keras.ops.array([[3.0, 0.0], [0.0, 4.0]])
    >>> normalized = kn.optimizers.block_normalize()(g)
    >>> print(keras.ops.convert_to_numpy(normalized).round(4))
    [[0.6 0. ]
     [0.  0.8]]

    Reference:

    - Yu et al., Block-Normalized Gradient Method: An Empirical Study for
      Training Deep Neural Network, https://arxiv.org/abs/1707.04822

    Note:
        A gradient of 0 stays 0. The least norm of the weights is ours: what
        starts at 0 would never move.
    """
    return BlockNormalize(blocks, ratio, where)
