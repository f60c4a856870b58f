"""The built-in data set: images of simple shapes with captions, drawn by our code."""
