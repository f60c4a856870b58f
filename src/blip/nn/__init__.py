"""Building blocks: attention, vision transformer, text transformer, packing, KV cache."""
