"""The table of a shard's members gives what reading the shard through gives."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.archive import Archive, count_samples
from blip.data.sample import Sample
from blip.data.shards import read_shard

NAMES = ["a", "b", "b", "folder/a", "./a", "x.y", "k" * 120, "folder/" + "원" * 60, "../up", "/top"]
SUFFIXES = ["jpg", "JPG", "png", "txt", "json", "cls", "seg.png"]


def write(path: Path, names: list[str], form: int) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for number, name in enumerate(names):
            content = f"[{number}]".encode() * (1 + 100 * (number % 7))
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def through(path: Path) -> tuple[list[Sample], list[str]]:
    """Samples, and the reasons for which something is no sample."""
    samples, reasons = [], []
    for sample in read_shard(path):
        reason = (sample.error or "").partition(":")[0]
        if reason in ("torn_tar", "unsafe_name"):
            reasons.append(reason)
        else:
            samples.append(sample)
    return samples, reasons


@given(
    names=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(SUFFIXES)).map(".".join), max_size=12
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    cut=st.integers(0, 40_000),
)
def test_a_table_gives_the_samples_of_a_reader(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], form: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / "00000.tar"
    write(path, names, form)
    path.write_bytes(path.read_bytes()[: max(cut, 1)])
    samples, reasons = through(path)
    with path.open("rb") as file:
        archive = Archive(path.name, file)
        assert [archive.sample(n) for n in range(len(archive))] == samples
        # tarfile and we differ in what is torn where only the padding or half a header is missing.
        kinds = [fault.kind for fault in archive.faults if fault.kind != "torn_tar"]
        assert kinds == [reason for reason in reasons if reason != "torn_tar"]
    with path.open("rb") as file:
        counted, _ = count_samples(path.name, file, file.read)
        # A stream does not know its length: what is broken off may count.
        assert len(samples) <= counted <= len(samples) + 1


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


def test_what_is_no_tar_is_torn(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"no tar at all" * 100, b"\1" * 700)):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        with path.open("rb") as file:
            archive = Archive(path.name, file)
            assert len(archive) == 0
            assert [fault.kind for fault in archive.faults] == ["torn_tar"]
