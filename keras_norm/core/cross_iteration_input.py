"""What a kernel sees of a batch: mean patch, covariances with its results.

Over all replicas with one collective for the pivot and one for the rest.
"""

import math

from keras import ops

from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_sum
from keras_norm.core.moments import TINY
from keras_norm.core.moments import without_padding
from keras_norm.core.normalized_kernel import common_pivot


class KernelInput:
    """The kernel of this call and what it sees.

    Args:
        x: the kernel's input, channels last, wide.
        kernel: (places, channels of a group, outputs); no gradient.
        patches: places of the kernel.
        groups: of channels.
        pivot: (channels,), near the mean of x.
        padded: x padded, relative to the pivot, where there is one already.
        relative: the normalized data lack the kernel's product with the pivot;
            they are exactly linear in the kernel.
        synchronized: add up over all replicas; the pivot is theirs then.
    """

    def __init__(
        self,
        x,
        kernel,
        patches,
        groups=1,
        pivot=None,
        padded=None,
        relative=False,
        synchronized=False,
    ):
        self.patches, self.groups, self.relative = patches, groups, relative
        self.kernel = ops.stop_gradient(kernel)
        self.synchronized = synchronized
        if pivot is None:
            pivot = common_pivot(x, synchronized=synchronized)
        self.pivot = pivot
        if padded is None:
            padded = patches.padded(x) - self.pivot
        self.data = ops.stop_gradient(padded)

    def applied(self, patch, kernel):
        """sum_t,i patch[k, t, g i] kernel[k, t, i, g o]: (k, outputs)."""
        *_, width, outputs = kernel.shape
        count, groups = self.patches.count, self.groups
        patch = ops.reshape(patch, (-1, count, groups, width))
        kernel = ops.reshape(
            kernel, (-1, count, width, groups, outputs // groups)
        )
        if kernel.shape[0] == 1:
            kernel = kernel[0]
            found = ops.einsum("ktgi,tigo->kgo", patch, kernel)
        else:
            found = ops.einsum("ktgi,ktigo->kgo", patch, kernel)
        return ops.reshape(found, (-1, outputs))

    def measured(self, h, weights):
        """(mean patch relative to the pivot, covariances of patch and h).

        Args:
            h: data centred over all that count (with those of the other
                replicas), channels last, 0 where masked.
            weights: of their positions, (..., 1); None: all count.
        """
        outputs = h.shape[-1]
        h = ops.reshape(ops.stop_gradient(h), (-1, outputs))
        if weights is None:
            count = ops.cast(ops.shape(h)[0], h.dtype)
            total = ops.maximum(count, ops.ones_like(count))
        else:
            weights = ops.reshape(weights, (-1, 1))
            count = ops.stop_gradient(ops.sum(weights))
            h, total = weights * h, ops.maximum(count, TINY)
        groups = self.groups
        of_results = ops.sum(h, axis=0) / total
        h = ops.reshape(h, (-1, groups, outputs // groups))
        means, products = [], []
        for seen in self.patches.of(self.data):
            rows = ops.reshape(seen, (-1, seen.shape[-1]))
            if weights is None:
                means.append(ops.sum(rows, axis=0) / total)
            else:
                rows = without_padding(rows, weights)
                means.append(ops.sum(weights * rows, axis=0) / total)
            rows = rows - means[-1]
            rows = ops.reshape(rows, (-1, groups, rows.shape[-1] // groups))
            product = ops.einsum("mgi,mgo->igo", rows, h) / total
            products.append(ops.reshape(product, (-1, outputs)))
        means, products = ops.stack(means), ops.stack(products)
        if not self.synchronized or replica_count() == 1:
            return means, products
        return self.together(count, means, products, of_results)

    def together(self, count, means, covariances, of_results):
        """Mean patch and covariances of all replicas from those of each.

        E[patch h] = covariance + mean patch * mean h on each; over all h has
        mean 0, up to rounding.
        """
        parts = [
            means,
            covariances + self.product(means, of_results),
            of_results,
        ]
        flat = [count * ops.reshape(part, (-1,)) for part in parts]
        sent = replica_sum(ops.concatenate([*flat, ops.reshape(count, (1,))]))
        sent = sent[:-1] / ops.maximum(sent[-1:], TINY)
        found, start = [], 0
        for part in parts:
            end = start + math.prod(part.shape)
            found.append(ops.reshape(sent[start:end], part.shape))
            start = end
        means, products, of_results = found
        return means, products - self.product(means, of_results)

    def product(self, patch, results):
        """patch[t, g i] results[g o]: (places, inputs of a group, outputs)."""
        groups, (outputs,) = self.groups, results.shape
        patch = ops.reshape(patch, (patch.shape[0], groups, -1))
        results = ops.reshape(results, (groups, -1))
        found = ops.einsum("tgi,go->tigo", patch, results)
        return ops.reshape(found, (patch.shape[0], -1, outputs))
