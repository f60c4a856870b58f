"""One shard, sound or not: every sample is accounted for."""

import errno
import tarfile
from pathlib import Path

import pytest

from blip.capfilt.engine.protocol import EveryItemError
from blip.capfilt.ledger.files import (
    LedgerWriter,
    count_rows,
)
from blip.data.readers.shards import read_shard
from blip.errors import BlipError
from tests.support.capfilt import picture, web_shard
from tests.support.ledgers import key_of
from tests.support.shard_job import process
from tests.support.tars import write_tar


def test_every_text_is_in_the_ledger_and_every_kept_one_in_the_shard(tmp_path):
    web_shard(tmp_path / "in.tar", range(10))
    outcome, ledger = process(tmp_path / "in.tar", tmp_path / "out")
    assert outcome.counts.images == 10
    assert [r.source for r in ledger] == ["web", "synthetic"] * 10
    by_place = {(r.key, r.source): r for r in ledger}
    assert by_place["000000", "web"].reason == "empty_text"
    assert by_place["000001", "web"].reason == "match"
    assert by_place["000003", "web"].reason == "below_threshold"
    assert by_place["000003", "web"].text == "Buy a green square!"
    written = list(read_shard(tmp_path / "out/shards/s.tar"))
    assert [s.key for s in written] == [key_of(r) for r in ledger if r.kept]
    assert [s.texts[0] for s in written] == [r.text for r in ledger if r.kept]
    assert count_rows(tmp_path / "out/ledger/s.parquet") == 20


def tar_of_bad_data(path: Path) -> Path:
    jpeg = picture("red", "JPEG", size=64)
    write_tar(
        path,
        [
            ("whole.jpg", jpeg),
            ("whole.txt", b"a red thing"),
            ("cut.jpg", jpeg[: len(jpeg) // 2]),
            ("cut.txt", b"red"),
            ("text.jpg", b"this is no picture"),
            ("text.txt", b"red"),
            ("mute.jpg", jpeg),
            ("mute.txt", b"   "),
            ("blind.txt", b"a red thing"),
            ("latin.jpg", jpeg),
            ("latin.txt", b"caf\xe9 red"),
            ("long.jpg", jpeg),
            ("long.txt", b"red " * 100_000),
            ("bare.jpg", jpeg),
            ("zero.jpg", b""),
            ("../up.jpg", jpeg),
            ("k" * 201 + ".jpg", jpeg),
            ("json.jpg", jpeg),
            ("json.txt", b"red"),
            ("json.json", b"{"),
            ("whole.jpg", jpeg),
            ("whole.txt", b"a red thing"),
            ("torn.jpg", jpeg),
        ],
    )
    with tarfile.open(path) as archive:
        end = archive.getmember("torn.jpg").offset_data + 100
    with path.open("r+b") as file:
        file.truncate(end)
    return path


def test_bad_data_is_named_and_the_rest_goes_through(tmp_path):
    path = tar_of_bad_data(tmp_path / "in.tar")
    outcome, ledger = process(path, tmp_path / "out")
    web = {r.key: r.reason for r in ledger if r.source == "web"}
    assert web.items() >= {
        ("whole", "match"),
        ("mute", "empty_text"),
        ("latin", "text_not_utf8"),
        ("long", "match"),
        ("bare", "missing_text"),
        ("json", "match"),
    }
    bad = {(r.key[:9], r.reason) for r in ledger if r.source == "bad"}
    assert bad >= {
        ("cut", "truncated_image"),
        ("text", "not_an_image"),
        ("blind", "missing_image"),
        ("zero", "empty_file"),
        ("../up.jpg", "unsafe_name"),
        ("kkkkkkkkk", "key_too_long"),
        ("whole", "duplicate_key"),
    }
    assert any(reason == "torn_tar" for _, reason in bad)
    synthetic = {r.key for r in ledger if r.source == "synthetic"}
    assert synthetic == {"whole", "mute", "latin", "long", "bare", "json"}
    assert max(len(r.text) for r in ledger) == 399_999, "whole, for a recut without the input"
    counts = outcome.counts
    assert counts.images == counts.images_kept + counts.images_dropped + counts.images_bad
    assert counts.images_bad == sum(r.source == "bad" for r in ledger)
    kept = {s.key: s for s in read_shard(tmp_path / "out/shards/s.tar")}
    assert len(kept["long-web"].texts[0]) == 399_999
    assert not any("up" in str(p) for p in tmp_path.rglob("*"))


def test_captions_zero_only_filters_and_three_write_three(tmp_path):
    web_shard(tmp_path / "in.tar", range(3))
    _, ledger = process(tmp_path / "in.tar", tmp_path / "a", captions=0)
    assert {r.source for r in ledger} == {"web"}
    _, ledger = process(tmp_path / "in.tar", tmp_path / "b", captions=3)
    assert [key_of(r) for r in ledger[1:4]] == [f"000000-synthetic-{n}" for n in range(3)]


def test_several_captions_of_the_input_are_all_judged(tmp_path):
    members = [("a.png", picture("red")), ("a.json", b'{"captions": ["red", "blue", "a red"]}')]
    _, ledger = process(write_tar(tmp_path / "in.tar", members), tmp_path / "out", captions=0)
    assert [(key_of(r), r.kept) for r in ledger] == [
        ("a-web", True),
        ("a-web-1", False),
        ("a-web-2", True),
    ]


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_file_that_is_not_a_shard_costs_at_most_one_bad_sample(tmp_path, content):
    (tmp_path / "in.tar").write_bytes(content)
    outcome, ledger = process(tmp_path / "in.tar", tmp_path / "out")
    assert [r.reason for r in ledger] == ["torn_tar"] * outcome.counts.images
    assert not (tmp_path / "out/shards/s.tar").exists()


def test_odd_texts_and_keys_are_spelt_so_that_files_can_hold_them(tmp_path):
    members = [
        ("\udcff.png", picture("red")),
        ("\udcff.json", b'{"captions": ["red \\u0000"]}'),
        ("\udcfe.png", picture("red")),
        ("\udcfe.json", b'{"captions": ["red \\ud800"]}'),
        ("\ud55c\uad6d\uc5b4/a.png", picture("red")),
        ("\ud55c\uad6d\uc5b4/a.txt", "\ube68\uac04 red".encode()),
    ]
    _, ledger = process(write_tar(tmp_path / "in.tar", members), tmp_path / "out", captions=0)
    assert [(r.key, r.text, r.reason) for r in ledger] == [
        ("_", "red", "match"),
        ("_-sample-000000001", "", "text_not_utf8"),
        ("\ud55c\uad6d\uc5b4/a", "\ube68\uac04 red", "match"),
    ]
    keys = [s.key for s in read_shard(tmp_path / "out/shards/s.tar")]
    assert keys == ["_-web", "\ud55c\uad6d\uc5b4/a-web"]


def test_a_missing_shard_is_an_error_and_not_bad_data(tmp_path):
    with pytest.raises(FileNotFoundError):
        process(tmp_path / "none.tar", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.json"))


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(self, records):
        raise OSError(28, "No space left on device")

    web_shard(tmp_path / "in.tar", range(3))
    monkeypatch.setattr(LedgerWriter, "write", full)
    with pytest.raises(BlipError, match=r"No space left on device; free some space$"):
        process(tmp_path / "in.tar", tmp_path / "out")
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


def test_a_disk_that_is_full_at_the_marker_ends_every_shard(tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    web_shard(tmp_path / "in.tar", range(3))
    monkeypatch.setattr("blip.capfilt.stages.shard.write_json", full)
    with pytest.raises(EveryItemError, match=r"out: No space left on device; free some space$"):
        process(tmp_path / "in.tar", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.json"))


def test_an_error_at_the_marker_that_is_of_one_shard_is_of_that_alone(tmp_path, monkeypatch):
    def broken(path, value):
        raise OSError(errno.EIO, "Input/output error")

    web_shard(tmp_path / "in.tar", range(3))
    monkeypatch.setattr("blip.capfilt.stages.shard.write_json", broken)
    with pytest.raises(OSError, match="Input/output error"):
        process(tmp_path / "in.tar", tmp_path / "out")


def test_the_longest_key_is_kept(tmp_path):
    members = [("k" * 200 + ".png", picture("red")), ("k" * 200 + ".txt", b"red")]
    _, ledger = process(
        write_tar(tmp_path / "in.tar", members), tmp_path / "out", captions=2, threshold=0.0
    )
    assert all(record.kept for record in ledger)
    keys = [s.key for s in read_shard(tmp_path / "out/shards/s.tar")]
    assert keys == ["k" * 200 + end for end in ("-web", "-synthetic-0", "-synthetic-1")]
