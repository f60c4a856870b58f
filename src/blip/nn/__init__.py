"""Building blocks: attention, vision transformer, text transformer."""
