"""Metrics: NumPy in, dict out."""
