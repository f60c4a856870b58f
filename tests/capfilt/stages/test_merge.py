"""Kept texts become samples that say where they are from."""

import json
import tarfile
from pathlib import Path
from typing import Any

from blip.capfilt.stages.merge import write_kept
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter


def row(source="web", number=0, kept=True, text="t") -> dict[str, Any]:
    return {
        "key": "a",
        "source": source,
        "number": number,
        "text": text,
        "itm_score": 0.75,
        "itc_cosine": 0.5,
        "kept": kept,
        "captioner": "c",
        "filter": "f",
        "seed": 3,
    }


def test_one_sample_a_kept_text(tmp_path: Path):
    sample = Sample(
        "a", b"picture", ("web one", "web two"), {"url": "u", "captions": ["x", "y"]}, None, "webp"
    )
    rows = [
        row(text="web one"),
        row(number=1, text="web two"),
        row("synthetic", kept=False, text="no"),
        row("synthetic", 1, text="a"),
    ]
    with ShardWriter(tmp_path / "o.tar") as writer:
        write_kept(writer, sample, rows)
    read = list(read_shard(tmp_path / "o.tar"))
    assert [s.key for s in read] == ["a-web", "a-web-1", "a-synthetic-1"]
    assert [s.texts for s in read] == [("web one",), ("web two",), ("a",)]
    assert all(s.image == b"picture" and s.error is None and s.extension == "webp" for s in read)
    assert read[2].meta == {
        "url": "u",
        "key": "a",
        "source": "synthetic",
        "itm_score": 0.75,
        "itc_cosine": 0.5,
        "captioner": "c",
        "filter": "f",
        "seed": 3,
        "original": "web one",
    }
    assert read[2].image_key == "a"


def test_meta_that_utf8_cannot_hold_is_written(tmp_path: Path):
    sample = Sample("a", b"p", ("t",), {"odd": "\ud800"})
    with ShardWriter(tmp_path / "o.tar") as writer:
        write_kept(writer, sample, [row()])
    with tarfile.open(tmp_path / "o.tar") as tar:
        file = tar.extractfile("a-web.json")
        assert file is not None
        assert json.loads(file.read())["odd"] == "?"
