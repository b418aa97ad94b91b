"""The engine of whole-model tools: finding, measuring, copying layers."""
