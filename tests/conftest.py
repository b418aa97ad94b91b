"""Setup of all tests: one backend per process, a clean Keras for each test."""

import os
import random

# Before Keras is imported; what the caller has set wins.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_keras(request):
    """Names, seeds, precision and policy as in a new process."""
    # free_memory would collect garbage: a tenth of a second for every test.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    # keras.utils.set_random_seed would import TensorFlow on every backend.
    # Keras draws the seeds of its generators from Python's.
    random.seed(0)
    np.random.seed(0)
    compiles = request.node.get_closest_marker("compile")
    if compiles and keras.backend.backend() == "torch":
        # Its limit on recompilations counts over the whole process.
        import torch._dynamo

        torch._dynamo.reset()


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """JAX keeps every program it has compiled: gigabytes over the suite."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


def pytest_terminal_summary(terminalreporter):
    """Print what tests recorded as `summary` properties.

    They travel with the reports, so this also works with pytest-xdist.
    """
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "summary" and report.when == "call"
    ]
    if lines:
        terminalreporter.section("not covered yet")
    for line in dict.fromkeys(lines):
        terminalreporter.write_line(line)
