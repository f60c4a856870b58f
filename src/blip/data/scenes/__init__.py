"""The built-in data set, drawn by our code."""
