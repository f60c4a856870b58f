"""Samples to training batches and evaluation sets."""
