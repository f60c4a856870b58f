"""Tables of pictures are read in bounded memory, each group of rows once, in any order."""

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.annotations import content_store, pictures
from blip.data.annotations.nlvr import list_stated
from blip.data.annotations.pictures import TablePictures
from blip.data.annotations.vqa import list_asked

SIZE, COUNT, GROUP = 1 << 18, 64, 4
CONTENTS = [b"\xff\xd8\xff" + bytes([n]) * SIZE for n in range(COUNT)]


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MEMORY", SIZE)
    monkeypatch.setattr(content_store, "MEMORY", SIZE)


def write(path: Path, columns: dict[str, list[Any]], group: int = GROUP, **options: Any) -> Path:
    # Small pages, so that these are not what takes the memory.
    pq.write_table(pa.table(columns), path, row_group_size=group, write_batch_size=1, **options)
    return path


def peak_of(work: Callable[[], object]) -> tuple[int, int]:
    """The most bytes that Python and that Arrow allocates; no file may be open afterwards."""
    usual = pa.default_memory_pool()
    watched = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(watched)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1], watched.max_memory() or 0
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)


@pytest.mark.parametrize("group", [GROUP, COUNT])
def test_a_table_of_pictures_is_not_held_to_read_one(tmp_path: Path, group: int) -> None:
    keys = [f"p{n}" for n in range(COUNT)]
    path = write(tmp_path / "images.parquet", {"key": keys, "image": CONTENTS}, group)
    for peak in peak_of(lambda: TablePictures(path).read("p33")):
        assert peak < COUNT * SIZE / 2
    table = TablePictures(path)
    assert table.read("p33") == (CONTENTS[33], "jpg")
    assert table.read(7) == (CONTENTS[7], "jpg")
    assert table.read("p99") == (None, "jpg")


def test_pictures_in_random_order_decode_each_group_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"p{n}" for n in range(COUNT)]
    table = TablePictures(write(tmp_path / "t.parquet", {"key": keys, "image": CONTENTS}))
    decoded: list[int] = []
    read_group = pictures.read_group

    def count(file: Any, group: int, length: int, batch: int, columns: Any) -> Any:
        decoded.append(group)
        return read_group(file, group, length, batch, columns)

    monkeypatch.setattr(pictures, "read_group", count)
    order = list(range(COUNT)) * 2
    random.Random(0).shuffle(order)
    for number in order:
        assert table.read(f"p{number}")[0] == CONTENTS[number]
    assert sorted(decoded) == list(range(COUNT // GROUP))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("record", [True, False])
def test_the_first_row_with_a_picture_counts(
    tmp_path: Path, record: bool, statistics: bool
) -> None:
    given = [None, b"GIF8 one", b"GIF8 two", b"GIF8 three", None, b""]
    images = [None if one is None else {"bytes": one, "path": "x"} for one in given]
    columns = {
        "key": ["a", "a", "a", "b_9", "c_9", None],
        "image_id": [1, 1, 1, 9, 9, 12],
        "image": images if record else given,
    }
    path = write(tmp_path / "t.parquet", columns, 2, write_statistics=statistics)
    table = TablePictures(path)
    assert table.read("a") == table.read(1) == (b"GIF8 one", "gif")
    # c_9 has no picture, so that the number is that of one row.
    assert table.read("x/9") == table.read(9) == table.read("b_9.jpg") == (b"GIF8 three", "gif")
    assert table.read("c_9") == (None, "jpg")
    assert table.read(12) == (b"", "jpg")


def test_a_number_of_two_pictures_finds_neither(tmp_path: Path) -> None:
    columns = {"key": ["a_5", "b_5", "c_6"], "image": CONTENTS[:3]}
    table = TablePictures(write(tmp_path / "t.parquet", columns))
    assert [table.read(number)[0] for number in (5, 6)] == [None, CONTENTS[2]]


def test_tables_that_hold_their_pictures_are_listed_without_their_bytes(tmp_path: Path) -> None:
    numbers = list(range(COUNT))
    asked = {"id": numbers, "question": ["what?"] * COUNT, "image": CONTENTS}
    stated = {
        **{"identifier": [f"d-{n}-0-0" for n in numbers], "sentence": ["so"] * COUNT},
        **{"label": ["True"] * COUNT, "left": CONTENTS, "right": CONTENTS[::-1]},
    }
    for list_all, columns in ((list_asked, asked), (list_stated, stated)):
        path = write(tmp_path / "t.parquet", columns)
        tracemalloc.start()
        listed = list_all(path)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(listed) == COUNT
        assert held < COUNT * SIZE / 4
