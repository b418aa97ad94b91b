"""Eigenvalues of second moments, on the host in float64."""

import numpy as np

# Rows of float32 data that are cast at a time.
CHUNK = 4096


def second_moments(rows) -> np.ndarray:
    """Eigenvalues of E[x x^T] over rows x, in descending order.

    Those that the rounding of float32 data may have made are 0: with fewer
    rows than columns, some always are.

    Args:
        rows: (rows, columns).

    Returns:
        float64 (columns,).
    """
    count, width = rows.shape
    tall = count >= width
    matrix = np.zeros((min(count, width),) * 2)
    for start in range(0, count if tall else width, CHUNK):
        piece = slice(start, start + CHUNK)
        part = (rows[piece] if tall else rows[:, piece].T).astype("float64")
        matrix += part.T @ part
    found = np.linalg.eigvalsh(matrix)[::-1] / max(count, 1)
    least = max(count, width) * np.finfo("float32").eps ** 2
    found = np.where(found > least * found[0], found, 0.0)
    return np.pad(found, (0, width - len(found)))


def condition_numbers(eigenvalues, shares) -> np.ndarray:
    """Largest eigenvalue over the one below which a share of them lies.

    Args:
        eigenvalues: in descending order.
        shares: in (0, 1]: with p the p-th part is reached; 1: the least.
    """
    # But for rounding of the product.
    places = [int(np.ceil(p * len(eigenvalues) - 1e-9)) - 1 for p in shares]
    chosen = eigenvalues[places]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chosen > 0, eigenvalues[0] / chosen, np.inf)
