"""Checkpoint + data -> figures and a result file."""
