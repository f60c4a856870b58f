"""Every place is read through one interface: samples, their number, and any slice of them."""

import gzip
import json
from pathlib import Path

import pytest

from blip.data.readers.open import find_kind, open_place
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.errors import UsageError
from tests.support.pictures import photo

KINDS = {
    "shards/00000.tar": "tar",
    "packed.tar.gz": "compressed tar",
    "rows.csv": "table",
    "rows.txt": "table",
    "list.json": "annotations",
    "pictures": "folder",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures with a text each, in every kind of place."""
    (tmp_path / "pictures").mkdir()
    for n in range(5):
        (tmp_path / f"pictures/p{n}.png").write_bytes(photo(n))
        (tmp_path / f"pictures/p{n}.txt").write_text(f"text {n}")
    rows = [(f"pictures/p{n}.png", f"text {n}") for n in range(5)]
    (tmp_path / "rows.csv").write_text("path,caption\n" + "".join(f"{p},{t}\n" for p, t in rows))
    (tmp_path / "rows.txt").write_text("path\tcaption\n" + "".join(f"{p}\t{t}\n" for p, t in rows))
    (tmp_path / "list.json").write_text(json.dumps([{"image": p, "caption": t} for p, t in rows]))
    samples = [Sample(f"p{n}", photo(n), (f"text {n}",), extension="png") for n in range(5)]
    write_shards(samples, tmp_path / "shards")
    content = (tmp_path / "shards/00000.tar").read_bytes()
    (tmp_path / "packed.tar.gz").write_bytes(gzip.compress(content))
    return tmp_path


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_every_kind_of_place_has_the_same_samples_and_slices(
    folder: Path, name: str, kind: str
) -> None:
    assert find_kind(folder / name) == kind
    reader = open_place(folder / name)
    reader.check()
    assert reader.count() == 5
    whole = list(reader.samples())
    assert [(s.image, s.texts, s.error) for s in whole] == [
        (photo(n), (f"text {n}",), None) for n in range(5)
    ]
    assert list(reader.samples(1, 3)) == whole[1:3]
    assert list(reader.samples(3)) == whole[3:]
    assert list(reader.samples(9)) == []
    assert list(reader.samples_at({4, 1, 9})) == [(1, whole[1]), (4, whole[4])]
    assert list(reader.samples_at(())) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shards/00000.tar", r"--split val: .*00000\.tar is a tar; allowed with annotation files"),
        ("pictures", r"--split val: .*pictures is a folder of pictures; allowed with"),
    ],
)
def test_a_split_has_a_meaning_in_tables_and_annotation_files_alone(
    folder: Path, name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_place(folder / name, split="val")


def test_a_file_that_is_not_what_its_name_says_is_refused_by_check_and_count(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no table")
    reader = open_place(tmp_path / "x.parquet")
    for look in (reader.check, reader.count, lambda: list(reader.samples())):
        with pytest.raises(UsageError, match=r"x\.parquet is not a Parquet file"):
            look()
