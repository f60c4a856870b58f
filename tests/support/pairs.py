"""Pairs for tests: their loader, and an index of them without a tokenizer."""

from collections.abc import Iterable
from pathlib import Path

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.pairs import Pair, PairBatch, PairExamples
from blip.data.loader import Loader
from blip.data.order.index import SampleIndex
from blip.data.tokenizer import Tokenizer


def pair_loader(
    config: DataConfig,
    tokenizer: Tokenizer,
    rank: int = 0,
    ranks: int = 1,
    bad_log: Path | None = None,
) -> Loader[Pair, PairBatch]:
    """The loader that trainings on pairs have."""
    return Loader(config, PairExamples(config, tokenizer), rank, ranks, bad_log)


def index_pairs(patterns: Iterable[str]) -> SampleIndex:
    """All pairs of some places, as a training in memory reads them."""
    source = SourceConfig(name="s", shards=("unread",))
    config = DataConfig(sources=(source,), batch_size=1, image=ImageConfig(size=16))
    examples = PairExamples(config, Tokenizer.train(["a text"], vocabulary_size=100))
    return SampleIndex.open(patterns, examples.check)


def list_pairs(index: SampleIndex) -> list[tuple[int, str]]:
    """The image and the text of every pair of an index."""
    return [
        (image_id, text)
        for image_id, sample in zip(index.image_ids, index.samples, strict=True)
        for text in sample.texts
    ]
