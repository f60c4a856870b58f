"""The table of a shard's members gives what reading the shard through gives."""

import gzip
import io
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.readers.archive import Archive, count_samples
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample

NAMES = ["a", "b", "b", "folder/a", "./a", "x.y", "k" * 120, "folder/" + "원" * 60, "../up", "/top"]
NAMES += ["._a", ".hidden/a", "__MACOSX/a"]
SUFFIXES = ["jpg", "JPG", "png", "txt", "json", "cls", "seg.png"]


def write(path: Path, names: list[str], form: int) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for number, name in enumerate(names):
            content = f"[{number}]".encode() * (1 + 100 * (number % 7))
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def by_tarfile(path: Path) -> list[tuple[Any, Any, Any]]:
    """Key, image and text of each sample as Python's own reader finds the members."""
    found: list[dict[str, Any]] = []
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            hidden = any(p.startswith(".") or p == "__MACOSX" for p in name.parts)
            if name.is_absolute() or ".." in name.parts or hidden or not member.isfile():
                continue
            stem, _, suffix = name.name.partition(".")
            key = (name.parent / stem).as_posix()
            part = {"jpg": "image", "png": "image", "txt": "text", "json": "meta"}.get(
                suffix.lower(), "other"
            )
            mine = [entry for entry in found if entry["key"] == key]
            if not mine or (part != "other" and part in mine[-1]):
                mine.append({"key": key})
                found.append(mine[-1])
            mine[-1][part] = tar.extractfile(member).read()
    return [(entry["key"], entry.get("image"), entry.get("text")) for entry in found]


@given(
    names=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(SUFFIXES)).map(".".join), max_size=12
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]),
)
def test_members_are_those_that_tarfile_finds(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], form: int
) -> None:
    if form == tarfile.USTAR_FORMAT:
        names = [name for name in names if len(name.encode()) < 100]
    path = tmp_path_factory.mktemp("shard") / "00000.tar"
    write(path, names, form)
    samples = [sample for sample in read_shard(path) if sample.error != "unsafe_name"]
    texts = [None if not s.texts else s.texts[0] for s in samples]
    expected = by_tarfile(path)
    assert [(s.key, s.image) for s in samples] == [(key, image) for key, image, _ in expected]
    assert texts == [text and text.decode() for _, _, text in expected]
    unsafe = [name for name in names if name.startswith(("../", "/"))]
    assert [s.key for s in read_shard(path) if s.error == "unsafe_name"] == unsafe


@given(
    names=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(SUFFIXES)).map(".".join), max_size=12
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    cut=st.integers(0, 40_000),
    damage=st.lists(st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=600))),
)
def test_a_stream_and_a_reader_agree_on_what_is_damaged(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    form: int,
    cut: int,
    damage: list[tuple[int, bytes]],
) -> None:
    path = tmp_path_factory.mktemp("shard") / "00000.tar"
    write(path, names, form)
    content = bytearray(path.read_bytes())
    for place, garbage in damage:
        content[place : place + len(garbage)] = garbage[: max(len(content) - place, 0)]
    path.write_bytes(content[: max(cut, 1)])
    through = list(read_shard(path))
    reasons = [sample.error for sample in through if is_of_shard(sample)]
    with path.open("rb") as file:
        archive = Archive(path.name, file)
        samples = [archive.sample(n) for n in range(len(archive))]
        assert samples == [sample for sample in through if not is_of_shard(sample)]
        assert [fault.reason for fault in archive.faults] == reasons
    with path.open("rb") as file:
        size = path.stat().st_size
        assert count_samples("x", file, lambda n: file.read(n), size) == (
            len(archive),
            [fault._replace(shard="x") for fault in archive.faults],
        )
    with path.open("rb") as file:
        counted, _ = count_samples(path.name, file, file.read)
        # A stream of unknown length: what is broken off may count.
        assert len(samples) <= counted <= len(samples) + 1


def is_of_shard(sample: Sample) -> bool:
    return (sample.error or "").startswith(("torn_tar", "unsafe_name"))


def tar_bytes(names: list[str], sizes: list[int]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, size in zip(names, sizes, strict=True):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(name.encode() * (size // len(name) + 1)))
    return buffer.getvalue()


def test_a_damaged_block_costs_what_lies_in_it_and_no_more(tmp_path: Path) -> None:
    names = [f"{key}.{suffix}" for key in "abcd" for suffix in ("jpg", "txt")]
    whole = tar_bytes(names, [2000, 10] * 4)
    # The header of b.jpg: a sample takes seven blocks.
    for damage in (b"\xff" * 512, bytes(512)):
        path = tmp_path / "x.tar"
        path.write_bytes(whole[:3584] + damage + whole[4096:])
        found = [(s.key, s.error) for s in read_shard(path)]
        begin, lost = (3584, 2560) if damage[0] else (4096, 2048)
        expected = f"torn_tar: no header at byte {begin}, {lost} bytes are skipped"
        assert found == [
            ("a", None),
            ("a", expected),
            ("b", "missing_image"),
            ("c", None),
            ("d", None),
        ]
    (tmp_path / "first.tar").write_bytes(b"\1" * 512 + whole[512:])
    first, *rest = read_shard(tmp_path / "first.tar")
    assert first.error == "torn_tar: no header at byte 0, 2560 bytes are skipped"
    assert [s.key for s in rest] == list("abcd")
    assert [s.error for s in rest] == ["missing_image", None, None, None]
    (tmp_path / "tail.tar").write_bytes(whole[: 3 * 3584] + b"\1" * 5000)
    *rest, last = read_shard(tmp_path / "tail.tar")
    assert last.error == "torn_tar: no header at byte 10752, the last 5000 bytes are lost"
    assert [s.key for s in rest] == ["a", "b", "c"]


def test_members_of_one_key_are_joined_wherever_they_lie(tmp_path: Path) -> None:
    names = [f"{key}.{suffix}" for suffix in ("txt", "jpg", "json") for key in ("a", "b", "c")]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name in [*names, "a.jpg"]:
            content = b'{"n": 1}' if name.endswith("json") else name.encode() * 20_000
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    samples = list(read_shard(path))
    assert [(s.key, s.error) for s in samples] == [
        ("a", None),
        ("b", None),
        ("c", None),
        ("a", "duplicate_key"),
    ]
    assert samples[1].image == b"b.jpg" * 20_000
    assert samples[1].texts == ("b.txt" * 20_000,)
    assert samples[1].meta == {"n": 1}


def test_files_of_an_operating_system_are_ignored(tmp_path: Path) -> None:
    names = [
        "./._a.jpg",
        "a.jpg",
        "._a.txt",
        "./a.txt",
        ".DS_Store",
        "__MACOSX/._a.jpg",
        "__MACOSX/a.jpg",
        "folder/.hidden/b.jpg",
        ".git/c.jpg",
        "folder/b.jpg",
        "folder/.jpg",
    ]
    path = tmp_path / "x.tar"
    write(path, names, tarfile.USTAR_FORMAT)
    samples = list(read_shard(path))
    assert [s.key for s in samples] == ["a", "folder/b", "folder/"]
    assert samples[0].texts


def test_tars_that_were_joined_are_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    one, other = tar_bytes(["a.jpg"], [9]), tar_bytes(["b.jpg"], [9])
    for first in (one, one[: 2 * 512 + 1024]):
        path.write_bytes(first + other)
        assert [(s.key, s.error) for s in read_shard(path)] == [("a", None), ("b", None)]


def test_zeros_where_members_were_are_reported(tmp_path: Path) -> None:
    whole = tar_bytes([f"{key}.jpg" for key in "abcd"], [2000] * 4)
    path = tmp_path / "x.tar"
    # A member takes five blocks: b and c are gone.
    path.write_bytes(whole[:2560] + bytes(5120) + whole[7680:])
    assert [(s.key, s.error) for s in read_shard(path)] == [
        ("a", None),
        ("a", "torn_tar: nothing but zeros from byte 2560 on, 5120 bytes are skipped"),
        ("d", None),
    ]


def test_a_compressed_tar_and_a_pipe_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(gzip.compress(tar_bytes(["a.jpg"], [9])))
    [sample] = read_shard(tmp_path / "x.tar")
    assert sample.error == "torn_tar: compressed with gzip"
    os.mkfifo(tmp_path / "pipe.tar")
    [sample] = read_shard(tmp_path / "pipe.tar")
    assert sample.error == "unreadable: not a regular file"
    [sample] = read_shard(tmp_path / "none.tar")
    assert sample.error == "unreadable: No such file or directory"


def test_links_with_a_size_and_long_names_of_links_have_no_content(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        link = tarfile.TarInfo("l" * 150)
        link.type, link.linkname, link.size = tarfile.SYMTYPE, "t" * 150, 4000
        tar.addfile(link)
        member = tarfile.TarInfo("a.jpg")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    assert [(s.key, s.error) for s in read_shard(path)] == [
        ("l" * 150, "unsafe_name"),
        ("a", None),
    ]


def test_contents_broken_off_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write(path, ["a.jpg", "a.txt", "b.jpg", "b.txt"], tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[: 5 * 512 + 5])
    with path.open("rb") as file:
        archive = Archive("x.tar", file)
        assert archive.keys == ["a"]
        assert archive.faults == [("x.tar", "", "torn_tar: broken off at byte 2565")]


def test_a_number_beyond_eight_gigabytes_and_numbers_in_records_are_read(tmp_path: Path) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        member = tarfile.TarInfo("huge.jpg")
        member.size = 9 << 30
        path = tmp_path / f"{form}.tar"
        path.write_bytes(member.tobuf(form))
        with path.open("r+b") as file:
            file.truncate(file.seek(0, io.SEEK_END) + (9 << 30))
            file.seek(0)
            archive = Archive("huge", file)
            assert archive.spans[0, 0, 1] == 9 << 30
            assert [fault.kind for fault in archive.faults] == ["torn_tar"]


def test_what_is_not_a_tar_is_one_fault(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"no tar at all" * 100, b"\1" * 700)):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        with path.open("rb") as file:
            archive = Archive(path.name, file)
            assert len(archive) == 0
            assert [fault.kind for fault in archive.faults] == ["torn_tar"]
