"""What ci/benchmark consists of."""
