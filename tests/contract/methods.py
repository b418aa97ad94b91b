"""The table of methods that the contract is tested on.

Adding a method = adding one row to its chapter in `table/`. Rows of layers
that the package does not have yet are left out for as long as the catalog
calls them planned.
"""

import keras
import pytest

from contract.table import area
from contract.table import backward_statistics
from contract.table import compensated_statistics
from contract.table import composed
from contract.table import domain
from contract.table import linear
from contract.table import mixture
from contract.table import operation
from contract.table import recovery
from contract.table import statistics
from contract.table import whitening
from contract.table import whitening_areas

CHAPTERS = (
    area,
    operation,
    whitening,
    whitening_areas,
    linear,
    recovery,
    mixture,
    statistics,
    backward_statistics,
    compensated_statistics,
    domain,
    composed,
)
TABLE = [row for chapter in CHAPTERS for row in chapter.ROWS]
METHODS = [method for method in TABLE if method.exists]


def first_of_each():
    """One row for every layer, for what does not depend on the options."""
    seen = {}
    for method in METHODS:
        seen.setdefault(method.layer, method)
    return list(seen.values())


def representative():
    """The rows of `first_of_each` and those with a path of their own."""
    first = first_of_each()
    return [m for m in METHODS if m.own_path or m in first]


def rows(methods):
    """The rows as parameters of a test.

    Every run takes those that are `representative`. The others differ from
    them by a formula, which tests/oracle_comparison checks in every run; here
    they belong to the long tier. On JAX, which compiles every operation for
    every shape, every run takes the first of each layer: what the others do
    otherwise is Keras operations that the other backends have run.
    """
    jax = keras.backend.backend() == "jax"
    usual = first_of_each() if jax else representative()
    return [
        pytest.param(m, id=str(m), marks=() if m in usual else pytest.mark.all)
        for m in methods
    ]


def groups(methods, size=6):
    """Rows that share one compiled function, which takes seconds to make."""
    return [methods[i : i + size] for i in range(0, len(methods), size)]
