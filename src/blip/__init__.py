"""BLIP: one vision-language model that understands, generates and cleans its own data."""
