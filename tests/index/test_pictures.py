"""Pictures of an index are read again in one pass over each place."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.config import strict
from blip.data.annotations import pictures
from blip.data.readers import delimited, image_files, parquet
from blip.index.pictures import read_again, read_place
from blip.index.store import Row
from tests.support.pictures import photo

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
