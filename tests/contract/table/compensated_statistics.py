"""Statistics of other batches, layers or parts, brought up to date."""

ROWS: list = []
