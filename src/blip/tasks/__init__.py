"""Each task: its step, its data, its evaluation."""
