"""Streamed data of a few pictures, and whether two configurations give the same batches."""

from itertools import islice
from pathlib import Path

import torch

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from tests.support.pairs import pair_loader

COUNT = 23


def make(shards: str, cache: Path, **changes: object) -> DataConfig:
    values: dict = {
        "sources": (SourceConfig(name="s", shards=(shards,)),),
        "batch_size": 4,
        "image": ImageConfig(size=8),
        "stream": "always",
        "lanes": 3,
        "shuffle_buffer": 4,
        "cache": str(cache),
    }
    return DataConfig(**values | changes)


def assert_same(config: DataConfig, other: DataConfig, tokenizer: Tokenizer) -> None:
    pairs = zip(
        islice(pair_loader(config, tokenizer).batches(0), 12),
        islice(pair_loader(other, tokenizer).batches(0), 12),
        strict=True,
    )
    for one, two in pairs:
        assert one.keys == two.keys
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.image_ids, two.image_ids)
