"""Statistics whose backward pass keeps state of its own."""

ADAPTERS: dict = {}
