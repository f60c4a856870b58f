"""A tiny tokenizer, batch and shards for the tasks."""

from tests.support.tiny_data import batch, shards, tokenizer

__all__ = ["batch", "shards", "tokenizer"]
