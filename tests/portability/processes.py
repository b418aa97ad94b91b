"""Scripts in processes of their own: other backends, other devices."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BACKENDS = ("tensorflow", "jax", "torch")


def start(script, *arguments, backend, **variables):
    """Start a script of this folder on a backend."""
    command = [sys.executable, HERE / script, *map(str, arguments)]
    return run(command, backend, **variables)


def run(command, backend, **variables):
    """Start a command with the environment of a backend."""
    return subprocess.Popen(
        command,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "PYTHONWARNINGS": "ignore",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes, seconds=300):
    """Wait for processes; what they printed, or a failure with it."""
    printed = []
    try:
        for process in processes:
            output, _ = process.communicate(timeout=seconds)
            printed.append(output)
            assert process.returncode == 0, output[-5000:]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return printed
