"""Written shards have the same bytes each time, are whole or absent, and any reader reads them."""

import json
from pathlib import Path

import pytest
import webdataset

from blip.data.config import Collection
from blip.data.pack import pack_collection
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter, write_shards
from tests.support.pictures import photo
from tests.support.quick_disk import renamed_unflushed


def test_written_shards_have_the_same_bytes_and_any_reader_reads_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with ShardWriter(tmp_path / name / "s.tar") as writer:
            writer.write("k1", photo(1), "png", "ein Kreis", {"b": 1, "a": "원"})
            writer.write("k" * 150, photo(2), "png", "two", {})
    one, two = ((tmp_path / name / "s.tar").read_bytes() for name in ("one", "two"))
    assert one == two
    rows = list(webdataset.WebDataset(str(tmp_path / "one" / "s.tar"), shardshuffle=False))
    assert rows[0]["__key__"] == "k1"
    assert rows[0]["txt"] == b"ein Kreis"
    assert json.loads(rows[0]["json"]) == {"a": "원", "b": 1}
    assert rows[1]["png"] == photo(2)


def test_an_error_leaves_no_shard(tmp_path: Path) -> None:
    def write() -> None:
        with ShardWriter(tmp_path / "s.tar") as writer:
            writer.write("k", photo(), "png", "text", {})
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_shards_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack that says that it is finished must not have shards which a power cut emptied."""
    unflushed = renamed_unflushed(monkeypatch)
    write_shards([Sample("k", photo(), ("text",))], tmp_path / "a")
    pack_collection(Collection(source=str(tmp_path / "a")), tmp_path / "b")
    assert (tmp_path / "b/00000.tar").exists()
    assert unflushed == []


def test_shards_are_cut_and_counted(tmp_path: Path) -> None:
    samples = [Sample(f"k{i}", photo(i), (f"text {i}", "more"), {"n": i}) for i in range(5)]
    samples.insert(2, Sample("bad", None, error="torn_tar: end"))
    counts = write_shards(samples, tmp_path, per_shard=2)
    assert counts == {"samples": 5, "shards": 3, "torn_tar": 1}
    read = [s for shard in expand([str(tmp_path)]) for s in read_shard(shard)]
    assert [s.key for s in read] == [f"k{i}" for i in range(5)]
    assert read[3].texts == ("text 3", "more")
    assert read[3].meta["n"] == 3


def test_further_images_are_written_read_and_packed(tmp_path: Path) -> None:
    images = [photo(n) for n in range(12)]
    sample = Sample("k", images[0], ("text",), more_images=tuple(images[1:]))
    write_shards([sample, Sample("alone", photo(), ("text",))], tmp_path / "a")
    (row, _) = webdataset.WebDataset(str(tmp_path / "a/00000.tar"), shardshuffle=False)
    assert [row[name] for name in ("jpg", "1.png", "11.png")] == [images[n] for n in (0, 1, 11)]
    read, alone = read_shard(tmp_path / "a/00000.tar")
    assert (read.image, *read.more_images) == tuple(images)
    assert alone.more_images == ()
    pack_collection(Collection(source=str(tmp_path / "a")), tmp_path / "b")
    packed, _ = read_shard(tmp_path / "b/00000.tar")
    assert packed.more_images == read.more_images


def test_a_further_image_that_does_not_decode_costs_its_sample(tmp_path: Path) -> None:
    broken = Sample("k", photo(), ("text",), more_images=(photo(1)[:90],))
    write_shards([broken, Sample("alone", photo(), ("text",))], tmp_path / "a")
    packed = pack_collection(Collection(source=str(tmp_path / "a")), tmp_path / "b")
    assert (packed.samples, packed.left_out) == (1, {"truncated_image": 1})
