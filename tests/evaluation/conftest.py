"""The tiny tokenizer and shards of the tasks."""

from tests.support.tiny_data import shards, tokenizer

__all__ = ["shards", "tokenizer"]
