"""Transforms and trust ratios on replicas: as on one device.

The runtimes are those of `test_replicas`.
"""

import keras
import numpy as np
import optimizers_on_replicas as runs
import processes
import pytest

# In one process of several (--dist loadgroup): they share one run.
pytestmark = pytest.mark.xdist_group("replicas")
BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Weights after training on replicas."""
    folder = tmp_path_factory.mktemp("replicas")
    more = {}
    if BACKEND == "jax":
        more["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    ranks = range(2) if BACKEND == "torch" else [None]
    running = [
        processes.start(
            "optimizers_on_replicas.py",
            folder,
            *([] if rank is None else [rank]),
            backend=BACKEND,
            **more,
        )
        for rank in ranks
    ]
    processes.finish(*running)
    return np.load(folder / "optimizers.npz")


@pytest.mark.parametrize("name", [*runs.OPTIMIZERS, *runs.TOGETHER])
def test_replicas_train_as_one_device(found, name):
    if f"{name}_0" not in found:
        # They refused it: see the script.
        assert name in runs.TOGETHER and BACKEND != "jax"
        return
    make = {**runs.OPTIMIZERS, **runs.TOGETHER}[name]
    for k, w in enumerate(runs.fitted(make)):
        # Three steps in float32, whose sums run in another order; Adam's
        # direction is a quotient.
        assert np.abs(found[f"{name}_{k}"] - w).max() <= 1e-5
