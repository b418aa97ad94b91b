"""The virtual environment that ci/test and ci/quickstart run in.

Runs on the interpreter of the machine, so it uses the standard library only.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("tensorflow", "jax", "torch")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# The Python versions for which every pin in constraints.txt has a wheel.
PYTHONS = ((3, 11), (3, 12), (3, 13))

_LINUX = platform.system() == "Linux"
_X86 = platform.machine() == "x86_64"


def prepare(backends, extras=(), keras=None):
    """Installs the package with what is asked for and returns the Python.

    Nothing is done when the same was installed before from the same
    pyproject.toml and constraints.txt. Installing adds and never removes, so
    the commands share one environment.

    Args:
        backends: the backends to install.
        extras: further extras of pyproject.toml.
        keras: the version of Keras to install in an environment of its own,
            `.venv-keras-VERSION`; `None` is the pinned one, in `.venv`.
    """
    folder = ROOT / (f".venv-keras-{keras}" if keras else ".venv")
    python = folder / "bin" / "python"
    constraints = (ROOT / "ci" / "constraints.txt").read_text()
    if keras:
        constraints = re.sub(r"(?m)^keras==.*$", f"keras=={keras}", constraints)
    requirements = _requirements(backends, extras)
    # ROOT is part of it: the package is installed editable, and a copied or
    # moved checkout must not go on testing the place that it came from.
    recipe = "\n".join(
        [
            str(ROOT),
            (ROOT / "pyproject.toml").read_text(),
            constraints,
            *requirements,
        ]
    )
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    stamp = folder / f"installed-{digest}"
    if stamp.exists():
        return python

    print(f"Installing {', '.join(backends)} into {folder}", flush=True)
    if not _works(python):
        subprocess.run(
            [_interpreter(), "-m", "venv", "--clear", folder], check=True
        )
    constraints_file = folder / "constraints.txt"
    constraints_file.write_text(constraints)
    command = [python, "-m", "pip", "install", "--constraint", constraints_file]
    if "torch" in backends:
        command += _torch_index()
    subprocess.run([*command, *requirements], check=True, cwd=ROOT)
    stamp.touch()
    return python


def variables(backend):
    """Returns the environment variables for a process on `backend`."""
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        # Everything here is meant for, and measured on, the CPU.
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Without these, glibc hands every large temporary of eager PyTorch
        # back to the system, and page faults dominate.
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "1073741824",
    }


def _requirements(backends, extras):
    extras = list(extras)
    requirements = []
    for backend in backends:
        if backend == "tensorflow" and _LINUX and _X86:
            # The same program as `tensorflow` without the GPU code: half the
            # download. Elsewhere `tensorflow` itself is the CPU build.
            requirements.append("tensorflow-cpu")
        else:
            extras.append(backend)
    package = f".[{','.join(sorted(extras))}]" if extras else "."
    return ["--editable", package, *requirements]


def _torch_index():
    """Returns pip's option for CPU wheels of PyTorch, where they are needed."""
    if not _LINUX:
        return []  # The plain wheels are CPU builds there.
    try:
        urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=10).close()
    except (urllib.error.URLError, OSError):
        # pip would retry for minutes. What it is configured with may well
        # offer a CPU build; if not, the plain wheel works as well.
        print(f"{TORCH_CPU_INDEX} cannot be reached; going on without it")
        return []
    return ["--extra-index-url", TORCH_CPU_INDEX]


def _works(python):
    """Tells whether `python` exists and has pip."""
    if not python.exists():
        return False
    result = subprocess.run(
        [python, "-m", "pip", "--version"], capture_output=True
    )
    return result.returncode == 0


def _interpreter():
    """Returns a Python that has wheels for every pin."""
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    for major, minor in PYTHONS:
        found = shutil.which(f"python{major}.{minor}")
        if found:
            return found
    versions = ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    sys.exit(
        f"keras_norm needs one of Python {versions}. "
        f"Received: {platform.python_version()} ({sys.executable})."
    )
