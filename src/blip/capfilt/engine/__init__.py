"""Engines place work; they decide nothing."""
