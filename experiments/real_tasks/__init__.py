"""What tasks learn from real data in forty minutes of two cores, beside blind baselines."""
