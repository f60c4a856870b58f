"""Engines run items on workers; they decide nothing."""
