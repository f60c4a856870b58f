"""Compressed tars are packed and inspected; where shards are read in any order they are refused."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from blip.capfilt.shards.source import find_shards
from blip.cli.main import main
from blip.data.readers.compressed import read_compressed
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from tests.support.pairs import index_pairs
from tests.support.pictures import photo


def by_arrow(kind: str) -> Callable[[bytes], bytes]:
    def compress(content: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, kind) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    return compress


FORMS = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": by_arrow("zstd"),
    ".tar.lz4": by_arrow("lz4"),
}


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    write_shards([Sample(f"k{i}", photo(i), (f"text {i}",)) for i in range(5)], tmp_path / "plain")
    return (tmp_path / "plain/00000.tar").read_bytes()


def read(folder: Path) -> list[tuple[str, bytes | None, tuple[str, ...]]]:
    samples = [s for shard in expand([str(folder)]) for s in read_shard(shard)]
    return [(s.key, s.image, s.texts) for s in samples]


@pytest.mark.parametrize("ending", FORMS)
def test_pack_and_inspect_read_them(plain: bytes, tmp_path: Path, ending: str, capsys) -> None:
    path = tmp_path / f"web/s{ending}"
    path.parent.mkdir()
    path.write_bytes(FORMS[ending](plain))
    for number, source in enumerate((path, path.parent)):
        assert main(["data", "pack", str(source), str(tmp_path / str(number))]) == 0
        assert read(tmp_path / str(number)) == read(tmp_path / "plain")
    capsys.readouterr()
    assert main(["data", "inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["bad"]) == (5, 0)


@pytest.mark.parametrize("ending", FORMS)
def test_what_breaks_off_is_read_as_far_as_it_goes(
    plain: bytes, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"s{ending}"
    whole = FORMS[ending](plain)
    for content in (whole[: len(whole) * 9 // 10], b"nothing of the kind"):
        path.write_bytes(content)
        assert main(["data", "inspect", str(path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert "torn_tar" in found["faults"][-1]


def test_they_are_refused_where_samples_are_read_in_any_order_and_counted_by_index(
    plain: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.tar.gz"
    path.write_bytes(gzip.compress(plain))
    for use in (lambda: find_shards([str(path)], 5), lambda: index_pairs([str(path)])):
        with pytest.raises(UsageError, match=r"s\.tar\.gz is compressed"):
            use()
    assert main(["data", "index", str(path), "--cache", str(tmp_path / "cache"), "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    samples = sum(1 for _ in read_compressed(path))
    assert (found["shards"], found["samples_of_others"]) == (0, samples)
    assert "only plain tars are streamed" in output.err
