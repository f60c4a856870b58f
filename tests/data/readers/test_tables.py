"""Tables of every make: cells of any type, columns by any usual name, faults that are counted."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.readers.tables import IMAGES, TEXTS, count_rows, is_table, read_table
from blip.data.sample import Sample
from blip.errors import UsageError
from tests.support.pictures import photo


def table(path: Path, /, **columns: list[Any]) -> Path:
    """A table of some columns, in the form that the path's name says."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path, row_group_size=4)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            mark = "\t" if path.suffix == ".tsv" else ","
            csv.writer(file, delimiter=mark).writerows(
                [columns, *zip(*columns.values(), strict=True)]
            )
    return path


def summarise(samples: list[Sample]) -> list[tuple[str, tuple[str, ...], str | None]]:
    return [(sample.key, sample.texts, sample.error) for sample in samples]


def faults(path: Path, **options: Any) -> list[str | None]:
    return [sample.error for sample in read_table(path, **options)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.png").write_bytes(photo(number))
    return tmp_path


@pytest.mark.parametrize(
    "captions",
    [[["one", None, "three"], None], [["one", "three"], []]],
)
def test_null_is_no_caption(tmp_path: Path, captions: list[Any]) -> None:
    path = table(tmp_path / "t.parquet", image=[photo()] * 2, captions=captions)
    assert summarise(list(read_table(path))) == [
        ("000000000", ("one", "three"), None),
        ("000000001", (), "missing_text"),
    ]


@pytest.mark.parametrize(
    "cells",
    [
        [5, 6],
        [1.5, 2.5],
        [True, False],
        [{"raw": "one", "id": 1}] * 2,
        [[{"raw": "one"}]] * 2,
        [[5]] * 2,
    ],
)
def test_a_caption_that_is_not_a_string_is_a_fault_and_never_a_repr(
    tmp_path: Path, cells: list[Any]
) -> None:
    path = table(tmp_path / "t.parquet", image=[photo()] * 2, caption=cells)
    assert summarise(list(read_table(path))) == [
        (f"{number:09d}", (), "text_not_a_string") for number in range(2)
    ]


def test_captions_in_bytes_are_decoded(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", image=[photo()] * 2, caption=[b"caf\xc3\xa9", b"caf\xe9"])
    assert [(s.texts, s.error) for s in read_table(path)] == [
        (("café",), None),
        ((), "text_not_utf8"),
    ]


def test_a_parquet_text_that_is_not_utf8_costs_itself_alone(tmp_path: Path) -> None:
    raw = pa.array([b"one", b"caf\xe9", b"three"], pa.binary()).view(pa.string())
    images = pa.array([photo(n) for n in range(3)])
    pq.write_table(pa.table({"image": images, "caption": raw}), tmp_path / "t.parquet")
    found = list(read_table(tmp_path / "t.parquet"))
    assert [(s.texts, s.error) for s in found] == [
        (("one",), None),
        ((), "text_not_utf8"),
        (("three",), None),
    ]
    assert [s.image for s in found] == [photo(n) for n in range(3)]


def test_a_broken_row_group_costs_its_own_rows(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", image=[photo(n) for n in range(12)], caption=["x"] * 12)
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    found = [(sample.error or "").partition(":")[0] for sample in read_table(path)]
    assert found == [""] * 4 + ["broken_row"] * 4 + [""] * 4
    assert count_rows(path) == 12
    assert [s.key for s in read_table(path, 3, 9)] == [f"{n:09d}" for n in range(3, 9)]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_keys_that_are_null_or_numbers(folder: Path, suffix: str) -> None:
    keys = [17.0, math.nan, 3.0] if suffix == ".parquet" else [17.0, "", "NaN"]
    path = table(folder / f"t{suffix}", id=keys, path=["a.png", "b.png", "c.png"], text=["x"] * 3)
    last = "3" if suffix == ".parquet" else "000000002"
    found = list(read_table(path))
    assert [sample.key for sample in found] == ["17", "000000001", last]
    # `id` counts rows in many tables: the picture says which image it is.
    assert [s.image_key for s in found] == [f"t/{name}.png" for name in "abc"]


@pytest.mark.parametrize("image", [*IMAGES, "Image", " FILE_NAME "])
@pytest.mark.parametrize("text", ["text", "Caption", "TEXT"])
def test_columns_by_any_usual_name(folder: Path, image: str, text: str) -> None:
    path = table(folder / "t.csv", **{image: ["a.png"], text: ["one"], "other": ["x"]})
    [sample] = read_table(path)
    assert (sample.image, sample.texts, sample.meta["other"]) == (photo(0), ("one",), "x")


@pytest.mark.parametrize("extension", ["webp", "jpg", "jpeg", "png"])
def test_columns_of_img2dataset(tmp_path: Path, extension: str) -> None:
    kind = {"jpg": "JPEG", "jpeg": "JPEG"}.get(extension, extension.upper())
    columns = {"url": ["u", "v"], "caption": ["one", "two"], extension: [photo(0, kind), None]}
    found = list(read_table(table(tmp_path / "t.parquet", **columns)))
    assert [(s.error, s.meta["url"]) for s in found] == [(None, "u"), ("missing_image", "v")]
    assert found[0].extension == extension.replace("jpeg", "jpg")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"URL": ["https://x/a.jpg"], "TEXT": ["one"]}, "column URL"),
        ({"url": ["https://x/a.jpg"], "caption": ["one"]}, "column url"),
        ({"image": ["https://x/a.jpg"], "caption": ["one"]}, "https://x/a.jpg"),
    ],
)
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_urls_are_to_be_downloaded_first(
    tmp_path: Path, columns: dict[str, Any], expected: str, suffix: str
) -> None:
    path = table(tmp_path / f"t{suffix}", **columns)
    with pytest.raises(UsageError, match=rf"\({expected}\).*download with img2dataset first"):
        list(read_table(path))


def test_urls_in_categories_are_urls(tmp_path: Path) -> None:
    urls = pa.array(["https://x/a.jpg", "https://x/b.jpg"]).dictionary_encode()
    pq.write_table(pa.table({"image": urls, "caption": ["one", "two"]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="download with img2dataset first"):
        list(read_table(tmp_path / "t.parquet"))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_of_two_columns_of_one_name_the_first_counts(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    columns = {"image": ["a.png"], "caption": ["one"], "\u00e9": [""]}
    names = [*columns, *columns]
    cells = [*columns.values(), ["b.png"], ["two"], [""]]
    if name == "t.parquet":
        pq.write_table(pa.table(cells, names=names), folder / name)
    else:
        rows = [names, [values[0] for values in cells]]
        (folder / name).write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    for _ in range(2):
        (sample,) = read_table(folder / name)
        assert (sample.image, sample.texts) == (photo(0), ("one",))
    assert capsys.readouterr().err == (
        f"{folder / name} has more than one column image, caption, \u00e9; the first one is read\n"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"PAR1 no table", r"is not a Parquet file"),
        ("t.parquet", b"", r"is not a Parquet file"),
        ("t.csv", b"", "has no header"),
        ("t.csv", b"a,b\n1,2\n", "no column for the image; it has a, b, allowed: image, "),
        (
            "t.csv",
            b"image,b\na.png,2\n",
            "no column for the text; it has image, b, allowed: caption",
        ),
        ("t.jsonl", b"[1]\n{\n", "holds no line that is a JSON object"),
        ("t.jsonl", b'{"a": 1}\n', "no column for the image; it has a"),
    ],
)
def test_what_is_not_a_table_is_reported_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        list(read_table(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_truncated_parquet_file_is_reported_in_one_line(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", image=[photo()], caption=["one"])
    for size in (4, 300, len(path.read_bytes()) - 1):
        (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:size])
        with pytest.raises(UsageError, match=r"cut\.parquet is not a Parquet file"):
            list(read_table(tmp_path / "cut.parquet"))


def test_a_table_of_urls_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a dog\thttps://x/a.jpg\na cat\thttps://x/b.jpg\n")
    with pytest.raises(UsageError, match=r"\(https://x/a.jpg\).*download with img2dataset first"):
        list(read_table(tmp_path / "t.tsv"))


def test_lines_of_json_need_not_have_the_same_fields(folder: Path) -> None:
    lines = ['{"file_name": "a.png"}', '{"image": "b.png", "caption": "two"}', '{"text": "three"}']
    (folder / "t.jsonl").write_text("\n".join(lines))
    assert [(s.key, s.texts, s.error) for s in read_table(folder / "t.jsonl")] == [
        ("000000000", (), "missing_text"),
        ("000000001", ("two",), None),
        ("000000002", ("three",), "missing_image"),
    ]


def test_metadata_of_datasets_and_captions_of_flickr8k(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "one"}\n{"file_name": "b.png", "text": null}\n{\n'
    )
    assert faults(folder / "metadata.jsonl") == [None, "missing_text", "broken_row: not JSON"]
    (folder / "captions.txt").write_text('image,caption\na.png,"one, two"\na.png,three\n')
    (folder / "notes.txt").write_text("a dog\na cat\n")
    assert is_table(folder / "captions.txt")
    assert not is_table(folder / "notes.txt")
    found = list(read_table(folder / "captions.txt"))
    assert [sample.texts for sample in found] == [("one, two",), ("three",)]
    assert {sample.image_key for sample in found} == {"captions/a.png"}


def test_cells_in_latin1_are_counted(folder: Path) -> None:
    rows = "image,caption,author\na.png,un caf\u00e9,x\nb.png,two,Jos\u00e9\nb.png,two,x\n"
    (folder / "t.csv").write_bytes(rows.encode("latin-1"))
    found = list(read_table(folder / "t.csv"))
    assert [sample.error for sample in found] == ["text_not_utf8", None, None]
    # What cannot be written is left out of the metadata.
    assert [sample.meta.get("author") for sample in found] == ["x", None, "x"]


def test_a_file_name_in_latin1_is_found(tmp_path: Path) -> None:
    import os

    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(photo(7))
    (tmp_path / "t.csv").write_bytes(b"image,caption\ncaf\xe9.png,one\n")
    [sample] = read_table(tmp_path / "t.csv")
    assert (sample.image, sample.error) == (photo(7), None)
    assert sample.image_key == "t/caf\\udce9.png"


def test_metadata_that_json_cannot_hold_is_left_out(folder: Path) -> None:
    line = '{"image": "a.png", "text": "x", "n": NaN, "s": "\\ud800", "ok": 1, "big": 1e999}\n'
    (folder / "t.jsonl").write_text(line)
    [sample] = read_table(folder / "t.jsonl")
    assert sample.meta == {"ok": 1, "image_key": "t/a.png"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_images_and_splits_of_any_table(folder: Path, tmp_path: Path, suffix: str) -> None:
    columns = {"path": ["a.png", "b.png", "c.png"], "text": ["1", "2", "3"]}
    other = tmp_path / "elsewhere"
    other.mkdir()
    path = table(other / f"t{suffix}", **columns, split=["train", "val", "train"])
    assert faults(path) == ["missing_image"] * 3
    assert [s.texts for s in read_table(path, images=folder, split="train")] == [("1",), ("3",)]
    with pytest.raises(UsageError, match=r"--split vall: .* has the splits train, val"):
        list(read_table(path, split="vall"))
    plain = table(other / f"u{suffix}", **columns)
    with pytest.raises(UsageError, match=r"--split val: .* has no column 'split'"):
        list(read_table(plain, split="val"))


def test_names_of_columns_as_webdataset_has_them(folder: Path) -> None:
    columns = {"__key__": ["k"], "jpg": [photo(7)], "txt": ["one"]}
    [sample] = read_table(table(folder / "t.parquet", **columns))
    assert (sample.key, sample.image, sample.texts) == ("k", photo(7), ("one",))
    [sample] = read_table(table(folder / "t.parquet", **columns, caption=["two"]))
    assert sample.texts == ("two",)


def test_splits_that_are_numbers_or_blank(folder: Path) -> None:
    path = table(folder / "t.parquet", path=["a.png", "b.png"], text=["1", "2"], split=[1, 2])
    assert [s.texts for s in read_table(path, split="2")] == [("2",)]
    path = table(folder / "t.csv", path=["a.png", "b.png"], text=["1", "2"], split=["", "val"])
    with pytest.raises(UsageError, match=r"has the splits '', val$"):
        list(read_table(path, split="test"))


CELLS = st.none() | st.text(max_size=8) | st.floats() | st.binary(max_size=8) | st.integers()


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"image": st.text(max_size=8)}, optional={"id": CELLS, "caption": CELLS, "meta": CELLS}
        ).map(lambda row: {n: v.hex() if isinstance(v, bytes) else v for n, v in row.items()}),
        min_size=1,
        max_size=6,
    )
)
def test_any_json_lines_give_a_sample_a_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "t.jsonl"
    first = {"id": 0, "image": "x", "caption": "x"}
    path.write_text("".join(json.dumps(row) + "\n" for row in (first, *rows)))
    found = list(read_table(path))
    assert len(found) == count_rows(path) == len(rows) + 1
    assert len({sample.key for sample in found}) == len(found)
    for sample in found:
        json.dumps([sample.texts, sample.meta], allow_nan=False, ensure_ascii=False).encode()


def test_all_names_of_texts_are_taken(folder: Path) -> None:
    for name in TEXTS:
        [sample] = read_table(table(folder / "t.csv", image=["a.png"], **{name: ["one"]}))
        assert sample.texts == ("one",)


def test_a_row_is_not_read_past_the_part_that_is_asked_for(folder: Path) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["image", "text"], *([f"{n}.png", str(n)] for n in range(9))])
    (folder / "t.csv").write_text(buffer.getvalue())
    assert [s.texts for s in read_table(folder / "t.csv", 2, 5)] == [("2",), ("3",), ("4",)]


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"clip_name": "a", "caption": "a dog"}, "video_retrieval"),
        ({"video": "a.mp4", "caption": "a dog"}, "video_retrieval"),
        ({"video_id": "a", "question": "what?", "answer": "a dog"}, "video_qa"),
    ],
)
def test_a_table_of_videos_names_the_task_that_reads_it(
    tmp_path: Path, suffix: str, row: dict[str, str], task: str
) -> None:
    path = tmp_path / f"videos{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif suffix in (".csv", ".tsv"):
        mark = "," if suffix == ".csv" else "\t"
        path.write_text(f"{mark.join(row)}\n{mark.join(row.values())}\n")
    else:
        path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=f"lists videos; `blip evaluate --task {task}`"):
        list(read_table(path))
