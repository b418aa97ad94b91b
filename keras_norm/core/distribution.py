"""Sums over replicas: the only place of the layers that asks the backend.

(And what a variable holds while a step is being compiled, and whether a
backward is being recorded.)
Under JAX a mean over a sharded batch is global already, nothing is to be done.
TensorFlow reduces in the replica context, PyTorch through torch.distributed.
With no runtime active every function here is the identity.
"""

import keras
from keras import ops

_torch_sum = None


def _tensorflow_context():
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None


def _torch_reduce():
    """An all-reduce whose backward is an all-reduce, or None."""
    global _torch_sum
    import torch

    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    if distributed.get_world_size() == 1:
        return None
    if _torch_sum is None:

        class ReplicaSum(torch.autograd.Function):
            @staticmethod
            def forward(ctx, t):
                total = t.contiguous().clone()
                distributed.all_reduce(total)
                return total

            @staticmethod
            def backward(ctx, upstream):
                upstream = upstream.contiguous().clone()
                distributed.all_reduce(upstream)
                return upstream

        _torch_sum = ReplicaSum.apply
    return _torch_sum


def replica_sum(tensor):
    """Sum of `tensor` over all replicas, differentiable."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        context = _tensorflow_context()
        return context.all_reduce("sum", tensor) if context else tensor
    if backend == "torch":
        reduce = _torch_reduce()
        return reduce(tensor) if reduce else tensor
    return tensor


def replica_count() -> int:
    """How many replicas `replica_sum` adds up."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        context = _tensorflow_context()
        return context.num_replicas_in_sync if context else 1
    if backend == "torch" and _torch_reduce():
        import torch

        return torch.distributed.get_world_size()
    return 1


def replica_index():
    """The number of this replica, from 0: an int or an integer tensor."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        context = _tensorflow_context()
        return context.replica_id_in_sync_group if context else 0
    if backend == "torch" and _torch_reduce():
        import torch

        return torch.distributed.get_rank()
    return 0


def replica_gather(tensor):
    """The entries of all replicas side by side along the last axis.

    Replicas may hold different numbers; what is missing is filled with 0. A
    sum over replicas of tensors in which each has a place of its own, so that
    gradients come back.
    """
    replicas = replica_count()
    if replicas == 1:
        return tensor
    places = ops.arange(replicas, dtype="int32")
    mine = ops.cast(ops.equal(places, replica_index()), tensor.dtype)
    *leading, size = ops.shape(tensor)
    sizes = replica_sum(mine * ops.cast(size, tensor.dtype))
    most = ops.cast(ops.max(sizes), "int32")
    fill = ops.zeros((*leading, most - size), tensor.dtype)
    tensor = ops.concatenate([tensor, fill], axis=-1)
    placed = ops.expand_dims(tensor, -2) * ops.expand_dims(mine, -1)
    return ops.reshape(replica_sum(placed), (*leading, -1))


def check_loop(what) -> None:
    """Refuse sums over replicas within a loop where the runtime has none.

    Args:
        what: who needs them, and what can be done about it.
    """
    if keras.backend.backend() == "tensorflow" and replica_count() > 1:
        raise ValueError(
            "TensorFlow cannot add up over replicas within a loop, which "
            f"{what}"
        )


def concrete(variable, kind=int):
    """The value of a scalar variable, also while a graph is being built.

    None where it is out of reach: under JAX's and PyTorch's compilers.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return kind(keras.ops.convert_to_numpy(variable))
    if backend == "torch":
        import torch

        if torch.compiler.is_compiling():
            return None
    try:
        return kind(keras.ops.convert_to_numpy(variable))
    except (TypeError, AttributeError, RuntimeError):
        return None


def is_recording() -> bool:
    """Whether PyTorch keeps what is computed here to differentiate it."""
    import torch

    return torch.is_grad_enabled() and not torch.compiler.is_compiling()
