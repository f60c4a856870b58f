"""Pictures of an index are read again in one pass over each place, and decoded in little memory."""

import json
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from blip.config import strict
from blip.data import images
from blip.data.annotations import pictures
from blip.data.images import EncodedImage, Shrink
from blip.data.readers import delimited, image_files, parquet
from blip.index.pictures import read_again, read_pictures, read_place
from blip.index.store import Row
from tests.support.pictures import encode, photo, pixels

COUNT = 12
NUMBERS = range(COUNT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same pictures in every kind of place that is listed or parsed before one is read."""
    paths = [f"photos/p{n:02d}.png" for n in NUMBERS]
    for name in ("photos", "asked", "talks"):
        (tmp_path / name).mkdir()
    for number, path in enumerate(paths):
        (tmp_path / path).write_bytes(photo(number))
    lines = [{"image": path, "caption": "x"} for path in paths]
    (tmp_path / "list.json").write_text(json.dumps(lines))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "rows.csv").write_text("image,caption\n" + "".join(f"{p},x\n" for p in paths))
    table = pa.table({"key": list(map(str, NUMBERS)), "image": list(map(photo, NUMBERS))})
    for name in ("rows", "asked/images", "talks/images"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    questions = [{"question_id": n, "image_id": n, "question": f"{n}?"} for n in NUMBERS]
    (tmp_path / "asked/all.json").write_text(json.dumps({"questions": questions}))
    rounds = [{"question": 0, "answer": 0}]
    talks = [{"image_id": n, "caption": "x", "dialog": rounds} for n in NUMBERS]
    pools = {"questions": ["what?"], "answers": ["it"], "dialogs": talks}
    (tmp_path / "talks/all.json").write_text(json.dumps({"version": "1.0", "data": pools}))
    return tmp_path


def rows_of(place: Path) -> list[Row]:
    keys = [sample.key for sample in read_place(place, 0, videos=False)]
    return [Row(key, None, str(place), n, (), None, "indexed") for n, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("name", "module", "looks"),
    [
        ("photos", image_files, "walk_folders"),
        ("list.json", strict, "parse_json"),
        ("rows.jsonl", delimited, "open_text"),
        ("rows.csv", delimited, "open_text"),
        ("rows.parquet", parquet, "read_group"),
        ("asked/all.json", strict, "parse_json"),
        ("asked/all.json", pictures, "read_group"),
        ("talks/all.json", strict, "parse_json"),
        ("talks/all.json", pictures, "read_group"),
    ],
)
def test_a_place_is_looked_through_as_often_for_all_rows_as_for_one(
    name: str, module: ModuleType, looks: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(folder / name)
    assert len(rows) == COUNT
    look, count = getattr(module, looks), 0

    def look_and_count(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return look(*given, **named)

    monkeypatch.setattr(module, looks, look_and_count)
    for some in (rows[-1:], rows[::-1]):
        before, count = count, 0
        found = read_again(some, lambda sample: sample.image, videos=())
        assert found == [photo(row.number) for row in some]
    assert count == before > 0


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """A JPEG and a PNG of a size that counts as large."""
    monkeypatch.setattr(images, "LARGE", 1000)
    picture = Image.fromarray(pixels(900, 1500))
    for kind in ("JPEG", "PNG"):
        (tmp_path / f"photos-{kind}.{kind}").write_bytes(encode(picture, kind))
    return rows_of(tmp_path)


def test_a_jpeg_is_decoded_small_where_it_is_shown_small(
    large: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, shrinks = EncodedImage.decode, list[int]()

    def decode_and_note(self: EncodedImage, shrink: Shrink = 1) -> Image.Image:
        shrinks.append(shrink)
        return decode(self, shrink)

    monkeypatch.setattr(EncodedImage, "decode", decode_and_note)
    for picture in read_pictures(large, side=100):
        assert picture is not None
        assert picture.size == (100, 60)
    assert shrinks[0] == 4
    assert [picture and picture.size for picture in read_pictures(large)] == [(1500, 900)] * 2


@pytest.mark.parametrize("side", [None, 100])
def test_large_pictures_wait_for_each_other(large: list[Row], side: int | None) -> None:
    found: list[Image.Image | None] = []
    reading = threading.Thread(target=lambda: found.extend(read_pictures(large, side=side)))
    with images._large:
        reading.start()
        reading.join(0.5)
        assert reading.is_alive()
    reading.join(30)
    assert all(found)
    assert len(found) == 2
