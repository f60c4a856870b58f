"""Whatever is wrong with tars and images is in the ledger with a reason; no harm is done."""

import importlib.util
import io
import lzma
import re
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from blip.capfilt.progress.plan import estimate_samples
from blip.capfilt.shards.source import ShardTask
from blip.data.images import BadImageError, decode_image
from blip.data.readers.shards import read_shard
from blip.processes import most_memory
from tests.support.capfilt import picture, read_kept, web_shard
from tests.support.ledgers import key_of
from tests.support.shard_job import process
from tests.support.tars import write_tar

SCRIPT = Path(__file__).parents[2] / "experiments" / "capfilt_robustness" / "plant.py"


@pytest.fixture(scope="module")
def planting() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plant_bad_samples", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_planted_samples_of_every_kind_are_in_the_ledger(planting, tmp_path):
    rng = np.random.default_rng(0)
    kinds = planting.KINDS
    assert len(kinds) >= 20

    def samples():
        for number in range(240):
            name = list(kinds)[number % len(kinds)]
            yield kinds[name](f"{number:05d}", rng)
            yield planting.sound(f"{number:05d}-sound", rng)

    planted = planting.write_shard(tmp_path / "in.tar", samples())
    outcome, ledger = process(tmp_path / "in.tar", tmp_path / "out")
    found: dict[str, set[str]] = {}
    for record in ledger:
        found.setdefault(record.key, set()).add(record.reason)
    for sample in planted:
        assert found[sample.key] & sample.reasons, sample.key
    first_of_two = 240 // len(kinds)
    assert outcome.counts.images == len(planted) + first_of_two
    outcome.counts.check(outcome.counts.images)


def whole_shard() -> bytes:
    with TemporaryDirectory() as folder:
        web_shard(Path(folder) / "w.tar", range(6))
        return (Path(folder) / "w.tar").read_bytes()


WHOLE = whole_shard()
with tarfile.open(fileobj=io.BytesIO(WHOLE)) as _whole:
    HEADERS = [member.offset for member in _whole]


def mend_checksums(content: bytearray) -> None:
    """Let changed headers be believed."""
    for place in HEADERS:
        header = content[place : place + 512]
        if len(header) == 512 and any(header):
            header[148:156] = b" " * 8
            content[place + 148 : place + 156] = b"%06o\0 " % sum(header)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cut=st.integers(0, len(WHOLE)),
    changes=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=40)), max_size=6
    ),
)
@example(cut=0, changes=[])
@example(cut=len(WHOLE), changes=[(124, b"77777777777")])
@example(cut=len(WHOLE), changes=[(156, b"x"), (600, b"\xff" * 40)])
@example(cut=len(WHOLE), changes=[(124, b"\x80\0\x7f")])
@example(cut=len(WHOLE), changes=[(124, b"-0000001000"), (156, b"Z")])
@example(cut=len(WHOLE), changes=[(124, b"\x80\0\x7f"), (156, b"L")])
def test_a_tar_with_any_bytes_changed_ends_in_whole_accounts(cut, changes):
    content = bytearray(WHOLE[:cut])
    for place, replacement in changes:
        if place < len(content):
            content[place : place + len(replacement)] = replacement
    mend_checksums(content)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.tar").write_bytes(bytes(content))
        outcome, ledger = process(folder / "in.tar", folder / "out")
        counts = outcome.counts
        counts.check(sum(1 for _ in read_shard(folder / "in.tar")))
        assert Counter(record.reason for record in ledger) == counts.reasons
        assert all(record.reason for record in ledger)
        kept = [key_of(record) for record in ledger if record.kept]
        assert [sample.key for sample in read_kept(folder / "out/shards/s.tar")] == kept
        assert sorted(p.name for p in folder.iterdir()) == ["in.tar", "out"]


PICTURES = [picture("red", kind, size=20) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]


@settings(max_examples=150, deadline=None)
@given(
    whole=st.sampled_from(PICTURES),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=5),
)
def test_an_image_with_any_bytes_changed_is_decoded_or_reported(whole, cut, changes):
    content = bytearray(whole[: round(cut * len(whole))])
    for share, replacement in changes:
        place = int(share * len(content))
        content[place : place + len(replacement)] = replacement
    assert re.fullmatch(r"RGB|[a-z_]+", decoded(bytes(content)))


def decoded(content: bytes) -> str:
    """The mode of the picture, or the reason why there is none."""
    try:
        return decode_image(content, max_pixels=1_000_000).mode
    except BadImageError as bad:
        return str(bad)


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A header with a size of any number."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def records(**fields: str) -> bytes:
    """A PAX header, and what it says of the member behind it."""
    content = b""
    for name, value in fields.items():
        body = f" {name.replace('__', '.')}={value}\n".encode()
        length = len(body) + 2
        length += len(str(length)) - 2
        content += str(length).encode() + body
    return header("x", len(content), b"x") + content.ljust(512, b"\0")


def xz() -> bytes:
    """A compressed tar, broken in its middle."""
    noise = np.random.default_rng(0).bytes(100_352)
    content = bytearray(lzma.compress(header("a.jpg", len(noise)) + noise + bytes(1024)))
    content[50_000:50_200] = b"\xff" * 200
    return bytes(content)


HOSTILE = {
    **{
        f"{kind.decode()} of {size}": header("a.jpg", size, kind) + bytes(1024)
        for kind in (b"0", b"L", b"x", b"g", b"S", b"Z")
        for size in (1 << 40, 1 << 63, 1 << 80)
    },
    "size record": records(size="9" * 30) + header("a.jpg", 0) + bytes(1024),
    "long size record": records(size="9" * 490) + header("a.jpg", 0) + bytes(1024),
    "map": records(GNU__sparse__map="x,y") + header("a.jpg", 0) + bytes(1024),
    "holes": records(
        GNU__sparse__size=str(600 << 20), GNU__sparse__map=f"{600 << 20},0"
    ) + header("a.jpg", 0) + bytes(1024),
    "xz": xz(),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_header_stops_the_job_or_takes_memory(name, tmp_path):
    (tmp_path / "in.tar").write_bytes(HOSTILE[name])
    tracemalloc.start()
    _, ledger = process(tmp_path / "in.tar", tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {record.reason for record in ledger} <= {"torn_tar", "unsafe_name"}
    assert ledger
    assert peak < 50_000_000
    task = ShardTask(name="s", path=str(tmp_path / "in.tar"))
    assert estimate_samples([task]) == 0


@pytest.mark.parametrize("name", ["../../up.png", "/tmp/up.png", "a/../../up.png"])
def test_no_name_leads_out_of_the_output_folder(name, tmp_path):
    path = write_tar(tmp_path / "in.tar", [(name, picture("red")), ("b.png", picture("red"))])
    _, ledger = process(path, tmp_path / "out", threshold=0.0)
    assert (ledger[0].key, ledger[0].reason) == (name, "unsafe_name")
    with tarfile.open(tmp_path / "out/shards/s.tar") as written:
        assert written.getnames()
        assert all(inner.startswith("b-") for inner in written.getnames())
    assert not list(tmp_path.parent.rglob("up.*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_a_tar_are_not_followed(kind, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture("red"))
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = kind, str(secret)
        archive.addfile(link)
        through = tarfile.TarInfo("link.png/inner.png")
        through.size = 3
        archive.addfile(through, io.BytesIO(b"abc"))
    _, ledger = process(tmp_path / "in.tar", tmp_path / "out")
    assert [r.reason for r in ledger] == ["unsafe_name", "not_an_image"]
    assert not (tmp_path / "out/shards/s.tar").exists()
    assert secret.read_bytes() == picture("red")


def test_a_picture_of_900_million_pixels_costs_no_memory(tmp_path):
    """One that is sound, so that a decoder would get the gigabyte that it asks for."""
    if most_memory() is None:
        pytest.skip("the system does not tell what a process has held")
    code = """
import sys
from blip.processes import most_memory
from tests.support.shard_job import process_bomb
before = most_memory()
reason = process_bomb(sys.argv[1])
print(reason, (most_memory() - before) >> 20)
"""
    bomb(tmp_path / "in.tar", 30_000)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reason, megabytes = done.stdout.split()
    assert reason == "too_many_pixels"
    assert int(megabytes) < 100


def bomb(path: Path, side: int) -> None:
    """A shard with a sound PNG of `side` x `side` pixels, a bit each, all black."""
    packer, row = zlib.compressobj(1), bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    png = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    write_tar(path, [("a.png", b"\x89PNG\r\n\x1a\n" + png), ("a.txt", b"black")])


def test_the_bomb_is_a_picture_where_pixels_are_allowed(tmp_path):
    """What is refused above is refused for its size alone."""
    bomb(tmp_path / "in.tar", 64)
    [sample] = read_shard(tmp_path / "in.tar")
    assert sample.image is not None
    assert decode_image(sample.image).size == (64, 64)
