"""Counts of samples: from headers, from statistics, from the index, and anew when shards change."""

import json
import os
import threading
from pathlib import Path

import pytest

from blip.data.faults import Fault
from blip.data.readers import counts
from blip.data.readers.counts import index_shards, locate
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from tests.support.pictures import photo


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(
        [Sample(f"k{i}", photo(i), ("t",)) for i in range(10)], tmp_path / "shards", per_shard=4
    )
    return tmp_path / "shards"


def test_places_are_found_in_order_and_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [str(shards / f"{n:05d}.tar") for n in range(3)]
    assert locate([str(shards)]) == whole
    assert locate([f"file://{shards}/*.tar", str(shards)]) == whole
    assert locate(["s3://b/{00..02}.tar", "pipe:cat x.tar"]) == [
        *(f"s3://b/{n:02d}.tar" for n in range(3)),
        "pipe:cat x.tar",
    ]
    (shards.parent / "link").symlink_to(shards)
    named = [str(shards), f"{shards}/*.tar", str(shards.parent / "link")]
    assert locate(named) == whole
    assert expand([*named, f"{shards}/../shards"]) == [Path(place) for place in whole]
    with pytest.raises(UsageError, match=r"x\.tar\.gz\?v=1 is compressed.*pipe:"):
        locate(["https://example.org/x.tar.gz?v=1"])
    assert locate(["pipe:gunzip -c x.tar.gz"]) == ["pipe:gunzip -c x.tar.gz"]
    monkeypatch.chdir(shards)
    assert locate(["00001.tar"]) == whole[1:2]
    assert len(expand([".", *named])) == 3
    with pytest.raises(UsageError, match="no shards at nowhere"):
        locate([str(shards), "nowhere"])


def test_counts_are_those_of_a_reader_and_are_kept(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = locate([str(shards)])
    found = index_shards(places, tmp_path / "cache")
    assert [shard.samples for shard in found] == [len(list(read_shard(p))) for p in places]
    monkeypatch.setattr(counts, "count_samples", None)
    assert index_shards(places[::-1], tmp_path / "cache") == found[::-1]


def test_a_changed_shard_is_counted_again(shards: Path, tmp_path: Path) -> None:
    places = locate([str(shards)])
    before = index_shards(places, tmp_path)
    os.replace(places[2], places[0])
    after = index_shards(places[:2], tmp_path)
    assert (before[0].samples, after[0].samples) == (4, 2)
    assert before[1] == after[1]
    with pytest.raises(UsageError, match=f"no shard at {places[2]}"):
        index_shards(places, tmp_path)


@pytest.mark.parametrize("few", [0, 16])
def test_a_shard_that_cannot_be_read_costs_itself_alone(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whether it is gone, or its bytes do not come; counted here or by helpers."""
    monkeypatch.setattr(counts, "FEW", few)
    monkeypatch.setattr("blip.data.readers.remote.ATTEMPTS", 1)
    places = [*locate([str(shards)]), str(shards / "gone.tar"), "pipe:exit 3"]
    if few == 0:
        # Helpers know nothing of the patch, and would try long.
        places.pop()
    lost: list[Fault] = []
    found = index_shards(places, tmp_path / "cache", lost)
    assert [shard.samples for shard in found] == [4, 4, 2]
    assert [(fault.shard, fault.kind) for fault in lost] == [
        (place, "unreadable") for place in places[3:]
    ]
    assert "gone.tar" not in (tmp_path / "cache/index.json").read_text()


def test_statistics_of_img2dataset_are_believed(shards: Path, tmp_path: Path) -> None:
    for number, content in enumerate(('{"successes": 3}', '{"successes": "3"}', "broken")):
        (shards / f"{number:05d}_stats.json").write_text(content)
    assert [shard.samples for shard in index_shards(locate([str(shards)]), tmp_path)] == [3, 4, 2]


def test_statistics_of_an_earlier_state_of_a_shard_are_not_believed(
    shards: Path, tmp_path: Path
) -> None:
    statistics = shards / "00000_stats.json"
    statistics.write_text('{"successes": 3}')
    changed = (shards / "00000.tar").stat().st_mtime_ns
    os.utime(statistics, ns=(changed - 1, changed - 1))
    assert [shard.samples for shard in index_shards(locate([str(shards)]), tmp_path)] == [4, 4, 2]


def test_many_are_counted_by_helpers(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "FEW", 1)
    monkeypatch.setattr(counts, "SAVE_EVERY", 1)
    (shards / "00001.tar").write_bytes((shards / "00001.tar").read_bytes()[:3000])
    found = index_shards(locate([str(shards)]), tmp_path)
    assert [shard.samples for shard in found] == [
        4,
        len(list(read_shard(found[1].location))) - 1,
        2,
    ]
    assert [fault.kind for shard in found for fault in shard.faults] == ["torn_tar"]
    # Faults are kept with the counts.
    assert index_shards([shard.location for shard in found], tmp_path) == found


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, "", 2, [["x"]]]}'])
def test_a_broken_index_is_made_anew(shards: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    assert [shard.samples for shard in index_shards(locate([str(shards)]), tmp_path)] == [4, 4, 2]
    assert len(json.loads((tmp_path / "index.json").read_text())) == 3


def test_ctrl_c_waits_for_no_shard_that_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, ended = threading.Event(), list[str]()

    def look_at(location: str) -> None:
        if location == "first":
            raise KeyboardInterrupt
        silent.wait(30)
        ended.append(location)

    monkeypatch.setattr(counts, "_state", look_at)
    with pytest.raises(KeyboardInterrupt):
        index_shards(["first", "second", "third"], tmp_path)
    assert not ended
    silent.set()
