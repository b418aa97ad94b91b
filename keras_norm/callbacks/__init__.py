"""Callbacks for `fit`: schedules of layers, statistics after training."""

__all__: list[str] = []
