"""One of two processes under torch.distributed.

Run as `replicas_torch.py FOLDER RANK`.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import replicas
import torch
from torch import distributed

import keras_norm
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_sum

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
assert replica_count() == 1
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
)
HALF = replicas.BATCH // 2


def mine(array, first=HALF):
    return array[:first] if rank == 0 else array[first:]


def joined(tensor):
    """The parts of both processes, in order."""
    parts = [None, None]
    distributed.all_gather_object(parts, tensor.numpy())
    return np.concatenate(parts)


def added(tensor):
    tensor = tensor.clone()
    distributed.all_reduce(tensor)
    return tensor.numpy()


def run(case):
    layer = replicas.make(case)
    inputs, upstream, mask = replicas.arrays(case)

    def part(array):
        return torch.tensor(mine(array, case.first))

    tensors = [part(a) for a in inputs]
    tensors[0].requires_grad_()
    keywords = {} if mask is None else {"mask": part(mask)}
    y = layer(replicas.given(case, tensors), training=True, **keywords)
    total = torch.sum(y * part(upstream))
    weights = [v.value for v in layer.trainable_variables]
    dx, *dw = torch.autograd.grad(
        total, [tensors[0], *weights], allow_unused=True
    )
    dw = [
        torch.zeros_like(w) if g is None else g
        for w, g in zip(weights, dw, strict=True)
    ]
    state = [
        keras.ops.convert_to_numpy(v) for v in layer.non_trainable_variables
    ]
    # Both processes must hold the same state.
    for s in state:
        both = joined(torch.tensor(s)[None])
        np.testing.assert_array_equal(both[0], both[1])
    dw = [
        replicas.total_of(v, added(g))
        for v, g in zip(layer.trainable_variables, dw, strict=True)
    ]
    return joined(y.detach()), joined(dx), dw, state


def check_sum():
    """The sum over replicas and its gradient, which is a sum too."""
    t = torch.tensor([1.0, 2.0]) + 10.0 * rank
    t.requires_grad_()
    total = replica_sum(t)
    np.testing.assert_allclose(total.detach(), [12.0, 14.0])
    # Not the tensor that came in, which autograd still needs.
    np.testing.assert_allclose(t.detach(), [1 + 10 * rank, 2 + 10 * rank])
    (total.sum() * (1.0 + rank)).backward()
    np.testing.assert_allclose(t.grad, [3.0, 3.0])


def fit():
    """Three steps of data-parallel training, as a user writes them."""
    model = replicas.fit_model(keras_norm.layers)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    x, target = replicas.fit_data()
    for start in range(0, len(x), replicas.BATCH):
        batch = slice(start, start + replicas.BATCH)
        y = parallel(torch.tensor(mine(x[batch])), training=True)
        error = y - torch.tensor(mine(target[batch]))
        optimizer.zero_grad()
        torch.mean(error**2).backward()
        optimizer.step()
    return model.get_weights()


assert replica_count() == 2
check_sum()
results = {}
for i, case in enumerate(replicas.cases()):
    y, dx, dw, state = run(case)
    results |= {f"{i}_y": y, f"{i}_dx": dx}
    results |= {f"{i}_dw{k}": w for k, w in enumerate(dw)}
    results |= {f"{i}_state{k}": s for k, s in enumerate(state)}
results |= {f"fit_{k}": w for k, w in enumerate(fit())}
if rank == 0:
    np.savez(folder / "replicas.npz", **results)
distributed.barrier()
distributed.destroy_process_group()
