"""Strict configuration: frozen dataclasses to JSON and back."""
