"""BLIP: one vision-language model that understands and generates, and that cleans its own training data."""
