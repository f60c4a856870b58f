"""HTML pages of one file: their frame, their style and the pictures in them."""
