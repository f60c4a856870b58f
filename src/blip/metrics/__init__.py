"""Measures: NumPy in, dict out."""
