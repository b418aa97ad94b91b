"""Conditions that are classes: labels, or weights of the classes."""

from keras_norm import errors


def check_classes(condition_shape, num_classes) -> None:
    """Refuse shapes that are neither of labels nor of weights.

    Args:
        condition_shape: () for one class of all samples, (N,) or (N, 1) for
            labels, (N, num_classes) for weights.
        num_classes: number of classes.
    """
    shape = tuple(condition_shape)
    last = (None, 1, num_classes)
    if len(shape) < 2 or (len(shape) == 2 and shape[-1] in last):
        return
    raise errors.received(
        "`condition` must be labels of shape (N,) or (N, 1), or weights of "
        "the classes (N, num_classes).",
        condition_shape=shape,
        num_classes=num_classes,
    )
