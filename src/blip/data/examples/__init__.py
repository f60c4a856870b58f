"""Samples to what a model is trained on or judged by."""
