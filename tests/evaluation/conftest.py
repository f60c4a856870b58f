"""The tiny tokenizer and shards of the tasks."""

from tests.tasks.conftest import shards, tokenizer

__all__ = ["shards", "tokenizer"]
