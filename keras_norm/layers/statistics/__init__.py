"""The survey's chapter on statistics."""
