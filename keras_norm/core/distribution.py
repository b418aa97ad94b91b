"""Sums over replicas: the only place of the layers that asks the backend.

Under JAX a mean over a sharded batch is global already, nothing is to be done.
TensorFlow reduces in the replica context, PyTorch through torch.distributed.
With no runtime active every function here is the identity.
"""

import keras

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
