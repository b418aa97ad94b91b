"""The survey's chapter on mixture."""
