"""The survey's chapter on area."""
