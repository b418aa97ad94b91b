"""The consumer itself: its folders, its tolerance, and that it can fail."""

import json
import shutil

import numpy as np
import pytest

from golden import rows
from golden.adapters import ADAPTERS
from golden.comparison import Comparison
from golden.comparison import state_role
from golden.tolerance import error
from golden.tolerance import tolerance


def row_of(method):
    """The first row of a method in this project."""
    return next(r for r in rows.read(rows.DATA) if r.method == method)


def plan_of(row):
    return ADAPTERS[row.method](row).complete(row)


@pytest.mark.once
def test_a_further_folder_is_read(monkeypatch, tmp_path):
    own = row_of("GroupNormalization")
    shutil.copy(rows.DATA / f"{own.name}.npz", tmp_path / "other.npz")
    fields = {**own.fields, "name": "other"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(fields) + "\n")
    monkeypatch.setenv(rows.ENVIRONMENT, str(tmp_path))
    *before, last = rows.read_all()
    assert len(before) == len(rows.read(rows.DATA))
    assert repr(last) == f"{tmp_path.name}/other"
    assert np.array_equal(last.arrays["x"], own.arrays["x"])


@pytest.mark.once
def test_a_missing_folder_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(rows.ENVIRONMENT, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError):
        rows.read_all()


@pytest.mark.once
def test_tolerances_are_those_of_the_vectors_readme():
    wanted = {
        "plain": 1e-5,
        "standardize": 2e-5,
        "whiten": 2e-4,
        "newton_long": 2e-3,
        "float32_reference": 5e-5,
    }
    for kind, value in wanted.items():
        assert tolerance(kind, "float64", 64) == pytest.approx(value, rel=0.05)
    assert tolerance("plain", "float64", 4096) < 2e-5
    assert tolerance("plain", "float64", 64, "float64") < 1e-6


@pytest.mark.once
def test_error():
    assert error([1.0, 3.0], [1.0, 4.0]) == 0.25
    assert error(np.ones((1, 3)), np.ones((3, 1))) == 0.0
    # All of it vanishes: absolute.
    assert error([1e-6], [1e-17]) == pytest.approx(1e-6)
    assert np.isnan(error([np.nan], [1.0]))
    with pytest.raises(AssertionError, match="shape"):
        error(np.ones((2, 3)), np.ones((3, 2)))


@pytest.mark.once
@pytest.mark.parametrize(
    "role, plain",
    [
        ("moving mean (groups,d,1)", "moving mean"),
        ("moving mean (d,1), group 0", "moving mean, group 0"),
        ("moving mean (renorm set) after step 12", "moving mean (renorm set)"),
        ("max(moving_stddev^2-eps, 0)", "max(moving_stddev^2-eps, 0)"),
    ],
)
def test_roles_of_states(role, plain):
    assert state_role(role) == plain


@pytest.mark.parametrize(
    "change, noticed",
    [
        ({"epsilon": 1e-2}, {"y", "dx", "grad_weight", "y_eval"}),
        ({"momentum": 0.8}, {"state_running_mean", "y_eval"}),
        ({"unbiased_moving_variance": False}, {"state_running_var"}),
    ],
    ids=["epsilon", "momentum", "unbiased"],
)
def test_a_wrong_layer_fails(change, noticed):
    row = row_of("BatchNormalization")
    plan = plan_of(row)
    plan.arguments |= change
    lines = Comparison(row, plan, "last").run().failures()
    assert noticed <= {line.split(":")[0] for line in lines}


def test_an_unknown_parameter_fails():
    row = row_of("BatchNormalization")
    row.parameters = {**row.parameters, "param_bias": "the other bias"}
    with pytest.raises(KeyError, match="the other bias"):
        Comparison(row, plan_of(row), "last").run()
