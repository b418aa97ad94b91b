"""The survey's chapter on recovery."""
