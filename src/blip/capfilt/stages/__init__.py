"""What happens to an image: captioned, filtered, merged into the output."""
