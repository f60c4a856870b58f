"""The paper's tables on built-in scenes: `python -m experiments.tables` makes all of them."""
