"""The survey's chapter on domains."""
