"""Files of statements about pairs: every published layout is read, and what is broken is named."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.annotations.content_store import ContentStore
from blip.data.annotations.nlvr import holds_statements, read_statements
from blip.data.pack import Collection, pack_collection
from blip.data.readers.inspection import inspect_places
from blip.data.readers.open import open_place
from blip.data.readers.sources import find_sources, read_sources
from blip.data.sample import Sample
from blip.data.statements import statements_of
from blip.errors import UsageError
from tests.support.pictures import photo
from tests.support.vectors import FOLDER

SHARED = FOLDER.parent


def line(identifier: str, label: Any = "True", sentence: Any = "One dog.") -> dict[str, Any]:
    urls = {"left_url": "http://a/b.jpg", "right_url": "http://a/c.jpg"}
    return {"identifier": identifier, "sentence": sentence, "label": label, **urls}


LINES = [
    line("dev-850-0-0", "False"),
    line("dev-850-1-0", sentence="Two dogs."),
    line("dev-850-0-1"),
]


def write_lines(path: Path, entries: list[Any]) -> Path:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in entries)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def write_pictures(folder: Path, *pairs: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        for side in (0, 1):
            (folder / f"{pair}-img{side}.png").write_bytes(photo(2 * number + side))
    return folder


def stated(sample: Sample) -> list[tuple[str, str, bool | None]]:
    found, fault = statements_of(sample.meta)
    assert fault is None
    return [(one.identifier, one.text, one.label) for one in found]


def test_the_official_lines_with_pictures_in_one_folder(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "dev.json", LINES)
    write_pictures(tmp_path, "dev-850-0", "dev-850-1")
    assert holds_statements(path)
    first, second = read_statements(path)
    assert (first.key, second.key) == ("dev-850-0", "dev-850-1")
    assert (first.image, *first.more_images) == (photo(0), photo(1))
    assert (second.image, *second.more_images) == (photo(2), photo(3))
    assert stated(first) == [
        ("dev-850-0-0", "One dog.", False),
        ("dev-850-0-1", "One dog.", True),
    ]
    reader = open_place(path)
    reader.check()
    assert reader.count() == 2
    assert [one.key for one in reader.samples(1)] == ["dev-850-1"]


def test_the_pictures_of_train_lie_in_numbered_folders(tmp_path: Path) -> None:
    entries = [{**line("train-10171-0-0"), "directory": 39}, line("train-2-3-1")]
    path = write_lines(tmp_path / "train.json", entries)
    write_pictures(tmp_path / "images/train/39", "train-10171-0")
    write_pictures(tmp_path / "images/train/7", "train-2-3")
    samples = list(read_statements(path, images=tmp_path / "images"))
    assert [sample.key for sample in samples] == ["train-10171-0", "train-2-3"]
    assert all(len(sample.more_images) == 1 for sample in samples)


def test_lists_name_their_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "dev", "dev-1-0")
    names = [f"dev/dev-1-0-img{side}.png" for side in (0, 1)]
    blip = [
        {"sentence": "One dog.", "label": "True", "images": names},
        {"sentence": "A cat.", "label": "False", "images": names},
    ]
    own = [{"statement": "One dog.", "label": 1, "left": names[0], "right": names[1]}]
    (tmp_path / "nlvr_dev.json").write_text(json.dumps(blip), encoding="utf-8")
    (tmp_path / "own.jsonl").write_text(json.dumps(own[0]) + "\n", encoding="utf-8")
    (sample,) = open_place(tmp_path / "nlvr_dev.json").samples()
    assert stated(sample) == [("0", "One dog.", True), ("1", "A cat.", False)]
    assert sample.key == "dev-1-0"
    (other,) = open_place(tmp_path / "own.jsonl").samples()
    assert stated(other) == [("0", "One dog.", True)]
    assert (other.image, other.more_images) == (sample.image, sample.more_images)


def test_a_table_of_pairs_joins_rows_with_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(photo(1), photo(2)), (photo(2), photo(1)), (photo(1), photo(2))]
    rows = [
        {"identifier": f"d-{n}-0-0", "sentence": f"{n}", "label": "True", "left": a, "right": b}
        for n, (a, b) in enumerate(pairs)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    with monkeypatch.context() as patch:
        # Nothing is copied to count them.
        patch.setattr(ContentStore, "add", None)
        assert open_place(tmp_path / "pairs.parquet").count() == 2
    first, second = read_statements(tmp_path / "pairs.parquet")
    assert [text for _, text, _ in stated(first)] == ["0", "2"]
    assert (second.image, *second.more_images) == (photo(2), photo(1))
    # A folder with such a table stands for it.
    assert find_sources([str(tmp_path)]) == [tmp_path / "pairs.parquet"]


def test_labels_may_be_withheld_and_splits_are_chosen(tmp_path: Path) -> None:
    entries = [line("test2-1-0-0", None), line("dev-1-0-0"), line("mine", False)]
    path = write_lines(tmp_path / "all.json", entries)
    write_pictures(tmp_path, "test2-1-0", "dev-1-0")
    (hidden,) = read_statements(path, split="test2")
    assert stated(hidden) == [("test2-1-0-0", "One dog.", None)]
    with pytest.raises(UsageError, match=r"--split train: .* has the splits dev, test2"):
        list(read_statements(path, split="train"))


def test_empty_cells_of_pandas_are_nothing(tmp_path: Path) -> None:
    nan = float("nan")
    (tmp_path / "a.png").write_bytes(photo(1))
    pictures = {"left": nan, "left_image": "a.png", "right": "a.png", "images": nan}
    rows = [
        {"identifier": nan, "uid": 17.0, "sentence": nan, "text": "One.", "label": nan, **pictures},
        {"identifier": None, "sentence": "Two.", "label": True, **pictures},
        {"identifier": "c", "sentence": "Three.", "label": 1.0, **pictures},
        {"identifier": "d", "sentence": "Four.", "label": "0.0", **pictures},
        {"identifier": "e", "sentence": "Five.", "label": 0.5, **pictures},
    ]
    sample, broken = read_statements(write_lines(tmp_path / "pairs.jsonl", rows))
    assert stated(sample) == [
        ("17", "One.", None),
        ("1", "Two.", True),
        ("c", "Three.", True),
        ("d", "Four.", False),
    ]
    assert broken.error == "broken_label: e has 0.5"


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    entries = [
        *LINES,
        line("dev-850-0-1"),
        line("dev-850-9-0"),
        line("dev-850-0-2", "maybe"),
        line("dev-850-0-3", sentence=None),
        line("mine"),
        "[1]",
        "{",
    ]
    path = write_lines(tmp_path / "dev.json", entries)
    write_pictures(tmp_path, "dev-850-0", "dev-850-1")
    samples = list(read_statements(path))
    faults = {one.key: one.error for one in samples if one.error is not None}
    assert faults == {
        "dev-850-0-pair-000000002": "duplicate_identifier: dev-850-0-1",
        "dev-850-9": "missing_image: dev-850-9-img0.png, dev-850-9-img1.png",
        "entry-5": "broken_label: dev-850-0-2 has 'maybe'",
        "entry-6": "broken_statement: dev-850-0-3 has no text as its sentence",
        "mine": "missing_image",
        "entry-8": "broken_row: not an object",
        "entry-9": "broken_row: not JSON",
    }
    assert len(samples) == 2 + len(faults)


def test_files_of_other_kinds_are_refused_or_left_to_others(tmp_path: Path) -> None:
    first_edition = {"identifier": "1-0", "sentence": "A box.", "structured_rep": [], "label": "t"}
    path = write_lines(tmp_path / "train.json", [first_edition])
    with pytest.raises(UsageError, match=r"first edition \(2017\)"):
        list(read_statements(path))
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps([{"image": "a.jpg", "sentence": "a dog"}]), encoding="utf-8")
    assert not holds_statements(captions)
    with pytest.raises(UsageError, match="makes no statements that can be read; allowed: NLVR2's"):
        list(read_statements(captions))


def test_packed_statements_are_read_again_and_counted(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "dev.json", [*LINES, line("test2-1-0-0", None)])
    write_pictures(tmp_path / "images", "dev-850-0", "dev-850-1", "test2-1-0")
    out = tmp_path / "out"
    packed = pack_collection(Collection(source=str(source), images=tmp_path / "images"), out)
    assert (packed.samples, packed.left_out) == (3, {})
    again = [sample for _, sample in read_sources(find_sources([str(out)]))]
    before = list(read_statements(source, tmp_path / "images"))
    assert list(map(stated, again)) == list(map(stated, before))
    assert [one.more_images for one in again] == [one.more_images for one in before]
    counts = inspect_places([str(out / "00000.tar")]).counts()
    assert (counts["samples"], counts["statements"]) == (3, 4)


needs_samples = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no samples at {SHARED} (set BLIP_SHARED)"
)


@needs_samples
@pytest.mark.parametrize(
    ("name", "pairs", "statements"),
    [
        ("nlvr2/pairs.parquet", 12, 33),
        ("nlvr1/train.parquet", 10702, 11256),
        ("nlvr1/dev.parquet", 564, 588),
    ],
)
def test_real_tables(name: str, pairs: int, statements: int) -> None:
    samples = list(open_place(SHARED / name).samples())
    assert len(samples) == pairs
    assert not any(sample.error for sample in samples)
    found = [one for sample in samples for one in statements_of(sample.meta)[0]]
    assert len(found) == len({one.identifier for one in found}) == statements
    assert {one.label for one in found} == {True, False}


@needs_samples
def test_the_official_lines_of_real_pairs_give_the_same_as_their_table(tmp_path: Path) -> None:
    for row in pq.read_table(SHARED / "nlvr2/pairs.parquet").to_pylist():
        pair = row["identifier"].rpartition("-")[0]
        for side, name in enumerate(("left", "right")):
            (tmp_path / f"{pair}-img{side}.png").write_bytes(row[name])
    lines = list(read_statements(SHARED / "nlvr2/dev.json", images=tmp_path))
    table = list(read_statements(SHARED / "nlvr2/pairs.parquet"))
    assert [(s.image, s.more_images, stated(s)) for s in lines] == [
        (s.image, s.more_images, stated(s)) for s in table
    ]
    first = list(open_place(SHARED / "nlvr2/official_dev_first_500.json").samples())
    assert {(sample.error or "").partition(":")[0] for sample in first} == {"missing_image"}
    assert sum(len(sample.meta["statements"]) for sample in first) == 500
