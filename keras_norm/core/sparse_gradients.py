"""Gradients of embeddings on TensorFlow: rows and their numbers."""

from keras import ops


def densified(gradient, variable):
    """A gradient as a tensor of the variable's shape.

    `keras.ops` take TensorFlow's `IndexedSlices` for tensors, but few of them
    mean the sum of the rows of the same number.
    """
    if type(gradient).__name__ != "IndexedSlices":
        return ops.convert_to_tensor(gradient)
    return ops.segment_sum(
        gradient.values, gradient.indices, num_segments=variable.shape[0]
    )
