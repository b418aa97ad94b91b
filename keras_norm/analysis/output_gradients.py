"""Gradients of a loss with respect to what leaves the layers of a model."""

from keras import ops

from keras_norm.analysis import autodiff
from keras_norm.models.layer_calls import host
from keras_norm.models.layer_records import changed_results


def output_gradients(loss, chosen, records, before_activation=False) -> list:
    """Gradients of a loss with respect to the results in `records`.

    Zeros are added to the results: the gradient of the loss with respect to
    these is that with respect to the results, on every backend.

    Args:
        loss: a `ModelLoss`.
        chosen: as `records` were made with.
        records: of the same data.
        before_activation: as `records` were made with.

    Returns:
        float64 arrays.
    """
    values = loss.values
    names = [record.name for record in records]

    def function(shifts):
        shift = dict(zip(names, shifts, strict=True))

        def change(name, layer, inputs, result):
            if name not in shift:
                return result
            return result + ops.cast(shift[name], result.dtype)

        with changed_results(chosen, change, before_activation):
            return ops.cast(loss(values), "float32")

    zeros = [ops.zeros(r.outputs.shape, "float32") for r in records]
    _, found = autodiff.gradient_function(function)(zeros)
    return [host(g) for g in found]
