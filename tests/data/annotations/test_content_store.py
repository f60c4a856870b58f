"""Contents of a table are kept in memory up to a bound, and in a temporary file beyond it."""

import errno
import tempfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.annotations import content_store
from blip.data.annotations.content_store import ContentStore, StoredContent
from blip.data.annotations.videos import list_videos
from blip.errors import BlipError

SIZE, COUNT = 1 << 18, 32


@pytest.mark.parametrize("asked", [False, True])
def test_a_table_of_videos_is_listed_without_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(content_store, "MEMORY", SIZE)
    keys, contents = [f"v{n}" for n in range(COUNT)], [bytes([n]) * SIZE for n in range(COUNT)]
    path = tmp_path / "videos.parquet"
    pq.write_table(pa.table({"key": keys, "video": contents}), path)
    if asked:
        path = tmp_path / "qa.parquet"
        pq.write_table(pa.table({"key": keys, "question": ["what?"] * COUNT}), path)
    tracemalloc.start()
    listed = list_videos(path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < COUNT * SIZE / 4
    for number in (7, 0, COUNT - 1, 7):
        source = listed[number].source
        assert isinstance(source, StoredContent)
        assert source.read() == contents[number]


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, max_size: int) -> None:
            self.max_size = max_size

        def seek(self, place: int, whence: int) -> int:
            return place + whence

        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(BlipError, match="No space left on device; set TMPDIR to a folder"):
        ContentStore("videos").add(b"video")
