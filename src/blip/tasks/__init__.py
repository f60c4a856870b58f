"""Each task: its step and its training run."""
