"""Shards: what is written is read; every fault is named and nothing else is lost."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard, read_shard_at
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from tests.support.pictures import photo
from tests.support.tars import write_tar


def test_every_fault_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good = photo()
    path = write_tar(
        tmp_path / "x.tar",
        [
            ("a.jpg", good),
            ("a.txt", b"a red circle\n"),
            ("no-image.txt", b"text"),
            ("bad-text.jpg", good),
            ("bad-text.txt", b"\xff\xfe\x00"),
            ("bad-json.jpg", good),
            ("bad-json.json", b"{"),
            ("deep.jpg", good),
            ("deep.json", b"[" * 100_000),
            ("../escape.jpg", good),
            ("/absolute.jpg", good),
            ("a.jpg", good),
            ("several.png", good),
            ("several.json", json.dumps({"captions": ["one", "two"]}).encode()),
        ],
    )
    found = [(s.key, s.error) for s in read_shard(path)]
    assert found == [
        ("a", None),
        ("no-image", "missing_image"),
        ("bad-text", "text_not_utf8"),
        ("bad-json", "broken_json"),
        ("../escape.jpg", "unsafe_name"),
        ("/absolute.jpg", "unsafe_name"),
        ("deep", "broken_json"),
        ("a", "duplicate_key"),
        ("several", None),
    ]
    samples = list(read_shard(path))
    assert samples[0].texts == ("a red circle",)
    assert samples[-1].texts == ("one", "two")
    assert samples[-1].extension == "png"


@pytest.mark.parametrize(
    ("captions", "texts", "error"),
    [
        (["one", None, "two"], ("one", "two"), None),
        ([None], ("beside",), None),
        ([7], ("beside",), None),
        (["one", 7], ("beside",), None),
        (["one", "\ud800"], ("one",), "text_not_utf8"),
        ("one", ("beside",), None),
    ],
)
def test_captions_in_json_and_the_text_beside(
    tmp_path: Path, captions: object, texts: tuple[str, ...], error: str | None
) -> None:
    meta = json.dumps({"captions": captions}).encode()
    members = [("a.jpg", b"x"), ("a.json", meta), ("a.txt", b"\xef\xbb\xbfbeside\n")]
    [sample] = read_shard(write_tar(tmp_path / "x.tar", members))
    assert (sample.texts, sample.error) == (texts, error)


@given(cut=st.integers(0, 20_000))
def test_a_truncated_archive_gives_what_came_before(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    write_shards([Sample(f"k{i}", photo(i), ("text",)) for i in range(3)], folder)
    path = folder / "00000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1600)])
    samples = list(read_shard(path))
    sound = [s for s in samples if s.error is None and s.image is not None]
    assert len(sound) < 3 or samples[-1].error is not None or len(sound[-1].texts) <= 1
    for number, sample in enumerate(sound):
        assert sample.image == photo(number)


def test_a_file_that_is_not_an_archive_is_one_bad_sample(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    (only,) = read_shard(tmp_path / "x.tar")
    assert (only.error or "").startswith("torn_tar")


def test_patterns(tmp_path: Path) -> None:
    for name in ("00", "01", "02"):
        (tmp_path / f"{name}.tar").write_bytes(b"")
    assert [p.name for p in expand([f"{tmp_path}/{{00..01}}.tar"])] == ["00.tar", "01.tar"]
    assert len(expand([f"{tmp_path}/*.tar", str(tmp_path)])) == 3
    with pytest.raises(UsageError, match=r"no shards at .*none"):
        expand([f"{tmp_path}/none"])


def test_a_broken_header_is_not_the_end_of_a_tar(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"{name}.jpg", b"content") for name in "abc"])
    content = bytearray(path.read_bytes())
    content[1024 + 148] ^= 1
    path.write_bytes(content)
    assert [(s.key, s.error) for s in read_shard(path)] == [
        ("a", None),
        ("a", "torn_tar: no header at byte 1024, 1024 bytes are skipped"),
        ("c", None),
    ]


def test_some_samples_are_those_of_the_whole_shard(tmp_path: Path) -> None:
    names = ("a.jpg", "a.txt", "../out.jpg", "b.jpg", "b.txt", "/c.jpg", "d.jpg", "d.txt")
    path = write_tar(tmp_path / "a.tar", [(name, name[:1].encode()) for name in names])
    whole = list(read_shard(path))
    faults = [number for number, sample in enumerate(whole) if sample.image is None]
    assert faults
    found = dict(read_shard_at(path, range(len(whole) + 3)))
    assert found == {n: sample for n, sample in enumerate(whole) if n not in faults}
    [(number, sample)] = read_shard_at(path, [len(whole) - 1])
    assert (number, sample) == (len(whole) - 1, whole[-1])
    with pytest.raises(FileNotFoundError):
        list(read_shard_at(tmp_path / "absent.tar", [0]))
