"""The survey's chapter on normalizing weights."""
