"""Streamed data of a few pictures, and whether two configurations give the same batches."""

from itertools import islice
from pathlib import Path
from typing import Any

import torch

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.loader import Loader
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


def assert_resumes(loader: Loader[Any, Any], *, keys: set[str], fault: str) -> tuple[Any, Any]:
    """An epoch has these keys alone and counts the fault; its second batch, read twice."""
    batches = list(islice(loader.batches(0), loader.steps_per_epoch))
    assert {key for batch in batches for key in batch.keys} <= keys
    assert loader.bad.counts[fault] > 0
    again = next(loader.batches(1))
    assert torch.equal(again.images, batches[1].images)
    return batches[1], again
