"""Functions that return complete typed configurations."""
