"""Captioner and filter of a job: their checkpoints, devices, memory and batch size."""
