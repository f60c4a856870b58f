"""Shards as every reader of WebDataset takes them, and what lies beside them."""
