"""Images and texts in, Python objects out."""
