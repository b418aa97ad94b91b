"""Recurrent networks that normalize inside their time loop."""
