"""The package as users get it: the wheel, and what importing it costs."""

import os
import shutil
import statistics
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import keras
import pytest

import keras_norm

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "keras_norm"
BACKEND = keras.backend.backend()


def run(code, *arguments, cwd, path=ROOT):
    """Runs code in a fresh Python that finds packages in `path` first."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        env={
            **os.environ,
            "KERAS_BACKEND": BACKEND,
            "PYTHONPATH": str(path),
            "PYTHONSAFEPATH": "1",
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def pip(*arguments):
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)],
        check=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the wheel is built by hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation nothing is downloaded.
    pip(
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        ROOT,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.once
def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(archive.read(metadata).decode())
    info = metadata.split("/")[0]
    installed = {n for n in names if not n.startswith(f"{info}/")}
    modules = {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*.py")}
    assert {n for n in installed if n.endswith(".py")} == modules
    assert "keras_norm/py.typed" in installed
    assert {n.split("/")[0] for n in installed} == {"keras_norm"}
    assert f"{info}/licenses/LICENSE" in names
    assert fields["Version"] == keras_norm.__version__


@pytest.mark.once
def test_smoke_tests_pass_with_the_installed_wheel(wheel, tmp_path):
    site = tmp_path / "site"
    pip("install", "--no-deps", "--no-index", "--target", site, wheel)
    # A copy, because pytest puts the folder of a test, here the repository,
    # on the path, from where the sources would be imported.
    tests = tmp_path / "tests"
    shutil.copytree(
        ROOT / "tests", tests, ignore=shutil.ignore_patterns("data")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    output = run(
        """
import sys, pytest, keras_norm
assert keras_norm.__file__.startswith(sys.argv[1]), keras_norm.__file__
sys.exit(pytest.main(["-q", "-m", "smoke", *sys.argv[2:]]))
""",
        site,
        tests / "test_smoke.py",
        cwd=tmp_path,
        path=site,
    )
    assert " passed" in output


@pytest.mark.once
def test_import_adds_little_to_the_import_of_keras(tmp_path):
    code = """
import time
start = time.perf_counter()
import keras
between = time.perf_counter()
import keras_norm
print((time.perf_counter() - between) / (between - start))
"""
    # 4 to 9 % of the import of Keras with its backend, whatever the machine.
    shares = [float(run(code, cwd=tmp_path)) for _ in range(3)]
    assert statistics.median(shares) <= 0.15, shares


def test_import_needs_keras_numpy_and_one_backend(tmp_path):
    absent = {"tensorflow", "jax", "torch"} - {BACKEND}
    absent |= {"hypothesis", "matplotlib", "pytest", "sklearn"}
    if BACKEND != "jax":  # JAX itself needs SciPy.
        absent.add("scipy")
    code = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):  # As if these were not installed.
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [
    Without if finder is PathFinder else finder for finder in sys.meta_path
]
import keras, numpy, keras_norm
layer = keras_norm.layers.BatchNormalization()
layer(numpy.ones((4, 3), "float32"), training=True)
"""
    run(code, *sorted(absent), cwd=tmp_path)
