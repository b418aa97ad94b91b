"""The rows of all layers outside of the contract's table."""

from contract.recurrent import RECURRENT
from contract.table.compensated_statistics import OUTSIDE
from contract.wrapped import WRAPPERS

OTHERS = [*WRAPPERS, *RECURRENT, *OUTSIDE]
