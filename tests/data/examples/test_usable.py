"""One bad text costs itself alone, in training from memory, from a stream, and in evaluation."""

import json
from itertools import islice
from pathlib import Path

import pytest

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.examples.usable import find_usable
from blip.data.sample import Sample
from blip.data.texts import TEXT_LIMIT
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import ShardWriter
from tests.support.pairs import index_pairs, list_pairs, pair_loader
from tests.support.pictures import photo

LONG = "x" * (TEXT_LIMIT + 1)


@pytest.mark.parametrize(
    ("sample", "texts", "reason", "lost"),
    [
        (Sample("a", b"p", ("A text.", "...", "")), ["A text."], None, None),
        (Sample("a", b"p", ("...",)), [], "empty_caption", None),
        (Sample("a", None, ("a text",)), ["a text"], "missing_image", None),
        (Sample("a", None, error="torn_tar: at byte 3"), [], "torn_tar: at byte 3", None),
        (Sample("a", b"p", ("b",), error="text_not_utf8"), ["b"], None, "text_not_utf8"),
        (Sample("a", b"p", ("",), error="text_not_utf8"), [], "text_not_utf8", None),
        (Sample("a", b"p", ("b",), error="duplicate_key"), ["b"], "duplicate_key", None),
    ],
)
def test_a_sample_is_sorted_out(
    sample: Sample, texts: list[str], reason: str | None, lost: str | None
) -> None:
    assert find_usable(sample) == (texts, reason, lost)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "s/0.tar") as writer:
        writer.write("partly", photo(0), "png", "", {"captions": [LONG, "first", "second"]})
        writer.write("wholly", photo(1), "png", LONG, {})
        writer.write("sound", photo(2), "png", "third", {})
    return tmp_path / "s"


def test_the_other_texts_of_an_image_are_kept_and_the_bad_one_counted(
    shards: Path, tmp_path: Path
) -> None:
    index = index_pairs([str(shards)])
    assert [text for _, text in list_pairs(index)] == ["first", "second", "third"]
    assert index.bad.counts == {"text_too_long": 2}
    assert [key for _, key, _ in index.bad.first] == ["partly", "wholly"]
    data = EvaluationSet([str(shards)], 16)
    assert data.texts == [["first", "second"], ["third"]]
    assert data.bad.counts == {"text_too_long": 2}
    loader = pair_loader(
        DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=3,
            image=ImageConfig(size=8),
            stream="always",
            cache=str(tmp_path / "cache"),
        ),
        Tokenizer.train(["first second third"] * 3, vocabulary_size=60),
        bad_log=tmp_path / "bad.jsonl",
    )
    (batch,) = islice(loader.batches(0), 1)
    assert set(batch.keys) == {"partly", "sound"}
    assert "wholly" not in batch.keys
    # One row in three went to another sample; a lost text takes no row.
    assert (loader.rows_made, loader.rows_replaced) == (3, 1)
    noted = [json.loads(line)["key"] for line in (tmp_path / "bad.jsonl").open()]
    assert sorted(noted) == ["partly", "wholly"]
