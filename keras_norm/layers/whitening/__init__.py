"""The survey's chapter on whitening."""
