"""Tables, annotation files and folders become the same samples."""

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.shards.source import find_shards
from blip.capfilt.shards.source import read_samples as read_of_job
from blip.data.keys import check_key
from blip.data.readers.folders import read_folder
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from blip.data.readers.sources import read_samples, resolve_source
from blip.data.readers.tables import read_table
from blip.data.readers.video_places import find_any
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from tests.support.pictures import photo

FLICKR = Path(os.environ.get("BLIP_SHARED", "../shared")) / "flickr8k" / "dev.parquet"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg", "sub/c.png")):
        (folder / name).write_bytes(photo(number))
    return folder


def test_parquet_with_bytes_records_and_paths(images: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "key": ["one", "two"],
            "image": [photo(0), photo(1)],
            "caption": [["red", "blue"], ["green"]],
            "width": [3, 4],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    first, second = read_samples(str(tmp_path / "t.parquet"))
    assert (first.key, first.image, first.texts) == ("one", photo(0), ("red", "blue"))
    assert second.meta == {"width": 4, "image_key": "t/two"}
    records = pa.table(
        {
            "image": [{"bytes": photo(2), "path": None}, {"bytes": None, "path": "images/a.jpg"}],
            "text": ["x", "y"],
        }
    )
    pq.write_table(records, tmp_path / "r.parquet")
    assert [s.image for s in read_samples(str(tmp_path / "r.parquet"))] == [photo(2), photo(0)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables_with_paths(images: Path, suffix: str) -> None:
    path = images / f"t{suffix}"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
        writer.writerows([["path", "caption"], ["a.jpg", "one, two"], ["none.jpg", "three"]])
    sound, missing = read_samples(str(path))
    assert sound.image == photo(0)
    assert sound.texts == ("one, two",)
    assert missing.error == "missing_image"


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,words\na.jpg,b\n")
    with pytest.raises(UsageError, match="no column for the text; it has path, words"):
        list(read_samples(str(tmp_path / "t.csv")))


def test_blip_and_karpathy_annotations(images: Path, tmp_path: Path) -> None:
    plain = [
        {"image": "a.jpg", "caption": "one"},
        {"image": "a.jpg", "caption": "two"},
        {"image": "sub/c.png", "caption": ["three", "four"]},
    ]
    (tmp_path / "p.json").write_text(json.dumps(plain))
    first, second = read_samples(str(tmp_path / "p.json"), images)
    assert first.texts == ("one", "two")
    assert (second.key, second.texts, second.extension) == ("sub/c", ("three", "four"), "png")
    karpathy = {
        "images": [
            {"filename": "a.jpg", "split": "val", "sentences": [{"raw": " one "}]},
            {"filename": "c.png", "filepath": "sub", "split": "test", "sentences": [{"raw": "x"}]},
        ]
    }
    (tmp_path / "k.json").write_text(json.dumps(karpathy))
    (only,) = read_samples(str(tmp_path / "k.json"), images, "test")
    assert (only.image, only.texts) == (photo(2), ("x",))
    (tmp_path / "w.json").write_text('[{"image": "a.jpg"}]')
    with pytest.raises(UsageError, match='entry 0 has no "image" and "caption"'):
        list(read_samples(str(tmp_path / "w.json"), images))


def test_a_folder_with_texts_beside(images: Path) -> None:
    (images / "a.txt").write_text("first\nsecond\n")
    (images / "b.txt").write_bytes(b"\xff\xff")
    found = {s.key: (s.texts, s.error) for s in read_samples(str(images))}
    assert found == {
        "a": (("first", "second"), None),
        "b": ((), "text_not_utf8"),
        "sub/c": ((), "missing_text"),
    }


@pytest.mark.skipif(not FLICKR.is_file(), reason=f"Flickr8k is not at {FLICKR} (BLIP_SHARED)")
def test_real_photos_go_through_pack(tmp_path: Path) -> None:
    from itertools import islice

    counts = write_shards(islice(read_samples(str(FLICKR)), 40), tmp_path, per_shard=16)
    assert counts == {"samples": 40, "shards": 3}
    samples = [s for shard in expand([str(tmp_path)]) for s in read_shard(shard)]
    assert all(len(s.texts) == 5 and s.error is None for s in samples)


def keys(path: Path) -> list[tuple[str, str | None]]:
    return [(sample.key, sample.error) for sample in read_samples(str(path))]


def test_a_row_for_every_caption_gives_each_a_key(images: Path) -> None:
    rows = ["42,a.jpg,one", "42,a.jpg,two", "7,b.jpg,three", "42-row-000000001,a.jpg,four"]
    (images / "t.csv").write_text("\n".join(["image_id,path,caption", *rows]))
    expected = ["42", "42-row-000000001", "7", "42-row-000000001-row-000000003"]
    assert keys(images / "t.csv") == [(key, None) for key in expected]
    columns = [row.split(",") for row in rows]
    of_names = [[row[place] for row in columns] for place in range(3)]
    pq.write_table(pa.table(of_names, ["id", "path", "text"]), images / "t.parquet")
    assert keys(images / "t.parquet") == [(key, None) for key in expected]
    of_part = [sample.key for sample in read_table(images / "t.parquet", 1, 3)]
    assert of_part == ["42", "7"]


def test_two_pictures_of_one_key_are_kept_apart(images: Path) -> None:
    for name in ("a.png", "x.y.jpg", "x_y.jpg", "B.jpg"):
        (images / name).write_bytes(photo(3))
    found = [key for key, _ in keys(images)]
    assert found == ["B", "a", "a-picture-000000002", "b-picture-000000003", "sub/c", "x_y",
                     "x_y-picture-000000006"]  # fmt: skip
    entries = [{"image": name, "caption": "c"} for name in ("a.jpg", "a.png", "/none/a.jpg")]
    (images / "t.json").write_text(json.dumps(entries))
    assert keys(images / "t.json") == [
        ("a", None),
        ("a-entry-000000001", None),
        ("none/a", "missing_image"),
    ]


def test_keys_that_lead_elsewhere_lead_nowhere(images: Path) -> None:
    given = ["../a", "a/../../b", "/../b", "a\0", "a..b"]
    table = pa.table({"key": given, "image": [photo()] * 5, "text": ["x"] * 5})
    pq.write_table(table, images / "t.parquet")
    assert [key for key, _ in keys(images / "t.parquet")] == ["_/a", "a/_/_/b", "_/b", "a", "a__b"]


def test_paths_that_are_not_files_hold_no_picture(images: Path, monkeypatch) -> None:
    os.mkfifo(images / "pipe.jpg")
    os.mkfifo(images / "a.txt")
    (images / "folder.jpg").mkdir()
    monkeypatch.setattr("blip.data.readers.image_files.IMAGE_LIMIT", 10)
    paths = ["pipe.jpg", "folder.jpg", "a\0.jpg", "\ud800.jpg", "/dev/zero", "a.jpg"]
    (images / "t.json").write_text(json.dumps([{"image": p, "caption": "c"} for p in paths]))
    found = list(read_samples(str(images / "t.json")))
    assert [sample.image for sample in found] == [None] * len(paths)
    assert found[-1].error == "missing_image"
    monkeypatch.undo()
    [beside] = [sample for sample in read_folder(images) if sample.key == "a"]
    assert (beside.image, beside.error) == (photo(0), "missing_text")


def test_one_broken_table_of_several_is_one_bad_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        table = pa.table({"image": [photo(2 * number), photo(2 * number + 1)], "text": ["a", "b"]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    with (tmp_path / "1.parquet").open("r+b") as file:
        file.truncate(200)
    samples = list(read_samples(str(tmp_path)))
    assert [(s.error or "sound").partition(":")[0] for s in samples] == [
        *["sound"] * 2,
        "broken_table",
        *["sound"] * 2,
    ]
    assert f"left out: {tmp_path}/1.parquet is not a Parquet file" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"1.parquet is not a Parquet file"):
        list(read_samples(str(tmp_path / "1.parquet")))


NAMES = st.sampled_from(
    ["image", "caption", "text", "id", "key", "split", "sentences", "raw", "tokens", "filename"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=4),
    max_leaves=8,
)
ENTRIES = st.lists(VALUES, max_size=4)
DOCUMENTS = st.one_of(
    VALUES,
    ENTRIES.map(lambda entries: [{"image": "a.jpg", "caption": "x"}, *entries]),
    ENTRIES.map(lambda some: {"images": [{"filename": "a.jpg", "sentences": some}, *some]}),
    ENTRIES.map(
        lambda some: {
            "images": [{"id": 1, "file_name": "a.jpg"}, *some],
            "annotations": [{"image_id": 1, "caption": some}, *some],
        }
    ),
)
RAW = st.binary(max_size=40) | st.text(st.sampled_from('",;\t\n\r a.jpg\0{}[]:'), max_size=60).map(
    str.encode
)


@given(
    content=st.one_of(
        RAW,
        RAW.map(lambda raw: b"image,caption\n" + raw),
        DOCUMENTS.map(lambda value: json.dumps(value).encode()),
        ENTRIES.map(
            lambda lines: "\n".join(map(json.dumps, [{"image": "a", "text": "b"}, *lines])).encode()
        ),
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet"]),
)
@settings(max_examples=200)
def test_any_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    refusal = None
    try:
        samples = list(read_samples(str(path)))
    except UsageError as error:
        refusal, samples = str(error), []
    if refusal is not None:
        assert refusal.isprintable()
        return
    # CapFilt reads the same samples in parts.
    tasks = find_shards([str(path)], 2)
    parts = [list(read_of_job(task)) for task in tasks]
    assert [len(part) for part in parts] == [task.stop - (task.start or 0) for task in tasks]
    expected = [(sample.texts, sample.error) for sample in samples]
    assert [(s.texts, s.error) for part in parts for s in part] == expected
    assert len({sample.key.casefold() for sample in samples}) == len(samples)
    for sample in samples:
        check_key(sample.key)
        json.dumps([sample.meta, sample.texts], allow_nan=False, ensure_ascii=False).encode()


def test_a_folder_stands_for_its_metadata_where_that_has_captions(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "a.txt").write_text("beside")
    metadata = images / "metadata.jsonl"
    metadata.write_text('{"file_name": "a.jpg", "label": 3}\n')
    assert [s.texts for s in read_samples(str(images))] == [("beside",), (), ()]
    assert "left out: " in capsys.readouterr().err
    metadata.write_text('{"file_name": "a.jpg", "text": "of the table"}\n')
    assert [s.texts for s in read_samples(str(images))] == [("of the table",)]


def test_a_broken_table_beside_pictures_and_tars_is_ignored(images: Path, tmp_path: Path) -> None:
    write_shards(read_samples(str(images)), tmp_path / "tars")
    (images / "00000.parquet").write_bytes(b"PAR1 broken off")
    (images / "._a.parquet").write_bytes(b"macOS")
    assert len(list(read_samples(str(images)))) == 3
    write_shards([Sample("k", photo(), ("text",))], tmp_path / "tars")
    (tmp_path / "tars/00000.parquet").write_bytes(b"PAR1 broken off")
    assert [s.key for s in read_samples(f"{tmp_path}/tars/*")] == ["k"]
    (tmp_path / "alone").mkdir()
    (images / "00000.parquet").rename(tmp_path / "alone/00000.parquet")
    with pytest.raises(UsageError, match=r"00000.parquet is not a Parquet file"):
        list(read_samples(str(tmp_path / "alone")))


def test_a_folder_stands_for_tables_in_upper_case(tmp_path: Path) -> None:
    table = pa.table({"image": [photo(0)], "caption": ["red"]})
    for name in ("0.parquet", "1.PARQUET"):
        pq.write_table(table, tmp_path / name)
    assert resolve_source(str(tmp_path)) == [tmp_path / "0.parquet", tmp_path / "1.PARQUET"]
    # What img2dataset writes beside a shard is no table of its own.
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "00.TAR").write_bytes(b"")
    pq.write_table(pa.table({"url": ["a"], "caption": ["red"]}), beside / "00.PARQUET")
    assert resolve_source(f"{beside}/*") == [beside / "00.TAR"]


def test_metadata_in_upper_case_are_those_of_a_folder(images: Path) -> None:
    (images / "METADATA.CSV").write_text("file_name,text\na.jpg,red\n")
    (sample,) = read_samples(str(images))
    assert sample.texts == ("red",)


def test_a_folder_stands_for_tables_of_videos_in_upper_case(tmp_path: Path) -> None:
    table = pa.table({"key": ["a"], "video": [b"1"], "caption": ["red"]})
    for name in ("0.parquet", "1.PARQUET"):
        pq.write_table(table, tmp_path / name)
    assert find_any([str(tmp_path)]) == [f"{tmp_path}/0.parquet", f"{tmp_path}/1.PARQUET"]
