"""The survey's chapter on operation."""
