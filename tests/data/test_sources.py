"""Tables, annotation files and folders become the same samples."""

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.shards import expand, pack, read_shard
from blip.data.sources import read_samples
from blip.errors import UsageError
from tests.data.pictures import photo

FLICKR = Path(os.environ.get("BLIP_SHARED", "../shared")) / "flickr8k" / "dev.parquet"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg", "sub/c.png")):
        (folder / name).write_bytes(photo(number))
    return folder


def test_parquet_with_bytes_records_and_paths(images: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "key": ["one", "two"],
            "image": [photo(0), photo(1)],
            "caption": [["red", "blue"], ["green"]],
            "width": [3, 4],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = read_samples(str(tmp_path / "t.parquet"))
    assert (first.key, first.image, first.texts) == ("one", photo(0), ("red", "blue"))
    assert second.meta == {"width": 4}
    records = pa.table(
        {
            "image": [{"bytes": photo(2), "path": None}, {"bytes": None, "path": "images/a.jpg"}],
            "text": ["x", "y"],
        }
    )
    pq.write_table(records, tmp_path / "r.parquet")
    assert [s.image for s in read_samples(str(tmp_path / "r.parquet"))] == [photo(2), photo(0)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables_with_paths(images: Path, suffix: str) -> None:
    path = images / f"t{suffix}"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
        writer.writerows([["path", "caption"], ["a.jpg", "one, two"], ["none.jpg", "three"]])
    sound, missing = read_samples(str(path))
    assert sound.image == photo(0)
    assert sound.texts == ("one, two",)
    assert missing.error == "missing_image"


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,words\na.jpg,b\n")
    with pytest.raises(UsageError, match="no column for the text; it has path, words"):
        list(read_samples(str(tmp_path / "t.csv")))


def test_blip_and_karpathy_annotations(images: Path, tmp_path: Path) -> None:
    plain = [
        {"image": "a.jpg", "caption": "one"},
        {"image": "a.jpg", "caption": "two"},
        {"image": "sub/c.png", "caption": ["three", "four"]},
    ]
    (tmp_path / "p.json").write_text(json.dumps(plain))
    first, second = read_samples(str(tmp_path / "p.json"), images)
    assert first.texts == ("one", "two")
    assert (second.key, second.texts, second.extension) == ("sub/c", ("three", "four"), "png")
    karpathy = {
        "images": [
            {"filename": "a.jpg", "split": "val", "sentences": [{"raw": " one "}]},
            {"filename": "c.png", "filepath": "sub", "split": "test", "sentences": [{"raw": "x"}]},
        ]
    }
    (tmp_path / "k.json").write_text(json.dumps(karpathy))
    (only,) = read_samples(str(tmp_path / "k.json"), images, "test")
    assert (only.image, only.texts) == (photo(2), ("x",))
    (tmp_path / "w.json").write_text('[{"image": "a.jpg"}]')
    with pytest.raises(UsageError, match='entry 0 has no "image" and "caption"'):
        list(read_samples(str(tmp_path / "w.json"), images))


def test_a_folder_with_texts_beside(images: Path) -> None:
    (images / "a.txt").write_text("first\nsecond\n")
    (images / "b.txt").write_bytes(b"\xff\xff")
    found = {s.key: (s.texts, s.error) for s in read_samples(str(images))}
    assert found == {
        "a": (("first", "second"), None),
        "b": ((), "text_not_utf8"),
        "sub/c": ((), "missing_text"),
    }


@pytest.mark.skipif(not FLICKR.is_file(), reason=f"Flickr8k is not at {FLICKR} (BLIP_SHARED)")
def test_real_photos_go_through_pack(tmp_path: Path) -> None:
    from itertools import islice

    counts = pack(islice(read_samples(str(FLICKR)), 40), tmp_path, per_shard=16)
    assert counts == {"samples": 40, "shards": 3}
    samples = [s for shard in expand([str(tmp_path)]) for s in read_shard(shard)]
    assert all(len(s.texts) == 5 and s.error is None for s in samples)
