"""Golden vectors: what the authors' own programs compute, and its consumer."""
