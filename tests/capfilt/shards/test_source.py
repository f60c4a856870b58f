"""Tables and folders become shards with stable names; each gives its own rows and no others."""

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.capfilt.config import RecutConfig
from blip.capfilt.job import run
from blip.capfilt.ledger.files import read_rows
from blip.capfilt.recut import recut
from blip.capfilt.shards.source import (
    check_count,
    describe_input,
    find_shards,
    is_same_input,
    read_samples,
)
from blip.data.readers.shards import read_shard
from blip.errors import BlipError, UsageError
from tests.support.capfilt import NAMES, FakeModels, config, picture, web_data, web_shard

ROWS = 11


def text(number: int) -> str:
    return f"a {NAMES[number % 3]} square, number {number}"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """The same pictures and texts in every form."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    names = [f"sub/{number:02d}.png" for number in range(ROWS)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(NAMES[number % 3]))
        (folder / name).with_suffix(".txt").write_text(text(number))
    rows = [[name, text(number)] for number, name in enumerate(names)]
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (folder / f"t{suffix}").open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([["path", "caption"], *rows])
    entries = [{"image": name, "caption": said} for name, said in rows]
    (folder / "t.json").write_text(json.dumps(entries))
    table = pa.table({"path": names, "caption": [said for _, said in rows]})
    pq.write_table(table, folder / "t.parquet", row_group_size=4)
    return folder


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.parquet", "sub"])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 100])
def test_every_row_is_in_one_shard(tables, name, rows):
    tasks = find_shards([str(tables / name)], rows)
    stem = Path(name).stem
    assert [task.name for task in tasks] == [f"{stem}-{n:09d}" for n in range(0, ROWS, rows)]
    texts = [[s.texts for s in read_samples(task)] for task in tasks]
    assert [said for of_shard in texts for (said,) in of_shard] == [text(n) for n in range(ROWS)]
    assert all(len(of_shard) <= rows for of_shard in texts)
    keys = [s.key for task in tasks for s in read_samples(task)]
    assert len(set(keys)) == ROWS


def test_a_folder_stands_for_what_lies_in_it(tables, tmp_path):
    web_data(tmp_path / "web", shards=2, samples=1)
    assert [task.name for task in find_shards([str(tmp_path / "web")], 5)] == ["00000", "00001"]
    assert [task.name for task in find_shards([str(tables)], 6)] == ["t-000000000", "t-000000006"]
    both = find_shards([str(tables / "t.parquet"), str(tmp_path / "web")], 100)
    assert [task.name for task in both] == ["t-000000000", "00000", "00001"]


def test_two_links_to_one_tar_are_one_shard(tmp_path):
    web_data(tmp_path / "web", shards=1, samples=1)
    (tmp_path / "link.tar").symlink_to(tmp_path / "web/00000.tar")
    data = [str(tmp_path / "web"), str(tmp_path / "link.tar")]
    assert [task.name for task in find_shards(data, 5)] == ["00000"]
    assert [task.name for task in find_shards(data[::-1], 5)] == ["link"]


def test_a_file_that_is_not_a_table_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no table")
    with pytest.raises(UsageError, match=r"t\.parquet is not a Parquet file"):
        find_shards([str(tmp_path / "t.parquet")], 5)
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        find_shards([str(tmp_path / "t.json")], 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no pictures"):
        find_shards([str(tmp_path / "empty")], 5)
    with pytest.raises(UsageError, match="no shards at"):
        find_shards([str(tmp_path / "none.parquet")], 5)


def test_pictures_and_texts_that_change_below_a_folder_are_noticed(tables):
    for path in tables.glob("t.*"):
        path.unlink()

    def known_of(tasks):
        return [describe_input(task) for task in tasks]

    def same(tasks, known):
        return [is_same_input(t, k, {}) for t, k in zip(tasks, known, strict=False)]

    tasks = find_shards([str(tables)], 4)
    known = known_of(tasks)
    assert same(tasks, known) == [True, True, True]
    (tables / "sub/05.txt").write_text("another text")
    assert same(tasks, known) == [True, False, True]
    known = known_of(tasks)
    # A new picture in a folder below leaves the time of the upper one as it was.
    (tables / "sub/045.png").write_bytes(picture("blue"))
    tasks = find_shards([str(tables)], 4)
    assert same(tasks, known) == [True, False, False]
    # A copy has other times and the same content.
    known = known_of(tasks)
    os.utime(tables / "sub/00.png", (1, 1))
    assert same(tasks, known) == [True, True, True]


def test_a_table_that_grew_is_known_where_it_is_the_same(tables):
    path = tables / "t.csv"
    before = find_shards([str(path)], 4)
    known = [describe_input(task) for task in before]
    os.utime(path, (1, 1))
    assert all(map(is_same_input, before, known))
    with path.open("a") as file:
        file.write("sub/00.png,again\n")
    after = find_shards([str(path)], 4)
    assert [is_same_input(t, k) for t, k in zip(after, known, strict=True)] == [True, True, False]
    (tables / "sub/01.png").write_bytes(picture("blue", size=9))
    os.utime(path, (2, 2))
    assert not is_same_input(after[0], known[0])
    assert is_same_input(after[1], known[1])


def test_a_job_over_a_table_goes_on_and_judges_as_over_a_folder(tables, tmp_path):
    verdicts = []
    for name in ("t.parquet", "sub"):
        job = config(tmp_path, f"out-{name}", data=(str(tables / name),), rows=4, captions=0)
        summary = run(job, models=FakeModels())
        assert (summary.shards, summary.counts.images) == (3, ROWS)
        ledger = sorted((tmp_path / f"out-{name}/ledger").glob("*.parquet"))
        verdicts.append([(row["text"], row["kept"]) for row in read_rows(ledger)])
        again = run(job, models=FakeModels())
        assert again.to_json() == summary.to_json()
        assert json.loads((tmp_path / f"out-{name}/timing.json").read_text())["images"] == 0
    assert verdicts[0] == verdicts[1]


def test_pictures_without_texts_are_captioned(tables, tmp_path):
    for path in (tables / "sub").glob("*.txt"):
        path.unlink()
    (tables / "sub/03.txt").write_bytes(b"caf\xe9")
    (tables / "sub/04.png").write_bytes(b"broken")
    summary = run(config(tmp_path, data=(str(tables / "sub"),)), models=FakeModels())
    reasons = summary.counts.reasons
    assert (reasons["missing_text"], reasons["text_not_utf8"]) == (ROWS - 2, 1)
    assert reasons["not_an_image"] == 1
    assert summary.counts.synthetic_kept + summary.counts.synthetic_dropped == ROWS - 1


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.parquet"])
def test_a_table_without_texts_is_captioned_and_refused_where_nothing_is_written(
    tables, tmp_path, name, capsys
):
    path = tables / name
    if name.endswith("parquet"):
        pq.write_table(pq.read_table(path).drop_columns("caption"), path)
    elif name.endswith("json"):
        entries = json.loads(path.read_text())
        path.write_text(json.dumps([{"image": entry["image"]} for entry in entries]))
    else:
        delimiter = "," if name.endswith("csv") else "\t"
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line.split(delimiter)[0]}\n" for line in lines))
    with pytest.raises(UsageError, match=r"caption|text"):
        run(config(tmp_path, data=(str(path),), captions=0), models=FakeModels())
    job = config(tmp_path, data=(str(path), str(tables / "sub")), rows=4, write="texts")
    summary = run(job, models=FakeModels())
    assert summary.counts.images == 2 * ROWS
    assert summary.counts.reasons["missing_text"] == ROWS
    assert summary.counts.synthetic_kept + summary.counts.synthetic_dropped == 2 * ROWS
    printed = capsys.readouterr().err
    assert printed.count("has no column for the text: its images get synthetic texts alone") == 1
    assert run(job, models=FakeModels()).to_json() == summary.to_json()
    recut(RecutConfig(ledger=job.out, out=str(tmp_path / "cut"), threshold=0.0))
    assert len(list((tmp_path / "cut/shards").glob("*.tar"))) == 6


def test_texts_are_written_beside_images_that_stay(tables, tmp_path):
    data = (str(tables / "t.parquet"),)
    whole = run(config(tmp_path, "whole", data=data, rows=6), models=FakeModels())
    job = config(tmp_path, "texts", data=data, rows=6, write="texts")
    summary = run(job, models=FakeModels())
    assert summary.counts == whole.counts
    assert not (tmp_path / "texts/shards").exists()
    files = sorted((tmp_path / "texts/texts").iterdir())
    assert [path.name for path in files] == ["t-000000000.parquet", "t-000000006.parquet"]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    ledger = [r for r in read_rows(sorted((tmp_path / "whole/ledger").iterdir())) if r["kept"]]
    assert [(r["key"], r["source"], r["text"]) for r in rows] == [
        (r["key"], r["source"], r["text"]) for r in ledger
    ]
    assert {r["path"] for r in rows} == set(data)
    assert {r["captioner"] for r in rows} == {"fake-captioner"}
    with pytest.raises(UsageError, match=r"write texts \(now shards\)"):
        run(config(tmp_path, "texts", data=data, rows=6), models=FakeModels())


def test_shards_of_one_name_and_files_of_no_kind_are_refused(tables):
    web_shard(tables / "web/t-000000000.tar", range(2))
    with pytest.raises(UsageError, match="both give 't-000000000'"):
        find_shards([str(tables / "t.csv"), str(tables / "web")], 5)
    (tables / "notes.txt").write_text("no shard")
    with pytest.raises(UsageError, match=r"notes\.txt is neither a \.tar nor a table"):
        find_shards([str(tables / "notes.txt")], 5)
    with pytest.raises(UsageError, match=r"is not a \.tar"):
        find_shards(["https://example.org/t.parquet"], 5)
    assert find_shards(["https://example.org/t.tar?token=1", "pipe:cat t"], 5)


def test_samples_that_went_missing_are_reported(tables, tmp_path):
    [task] = find_shards([str(tables / "t.csv")], 100)
    check_count(task, ROWS)
    with pytest.raises(BlipError, match="holds 11 samples, 10 were read"):
        check_count(task, ROWS - 1)
    web_shard(tmp_path / "w.tar", range(6))
    [task] = find_shards([str(tmp_path / "w.tar")], 100)
    check_count(task, 6)
    with pytest.raises(BlipError, match="holds 6 samples, 5 were read"):
        check_count(task, 5)
    (tmp_path / "w.tar").write_bytes(b"torn")
    check_count(task, 1)


def test_a_table_with_a_row_a_caption_can_be_cut_again(tables, tmp_path):
    rows = ["1,sub/00.png,a red square", "1,sub/00.png,a red thing", "2,sub/01.png,a green square"]
    path = tables / "rows.csv"
    path.write_text("\n".join(["image_id,path,caption", *rows]))
    run(config(tmp_path, data=(str(path),), threshold=0.0, captions=0), models=FakeModels())
    recut(RecutConfig(ledger=str(tmp_path / "out"), out=str(tmp_path / "cut"), threshold=0.0))
    for folder in ("out", "cut"):
        [shard] = (tmp_path / folder / "shards").glob("*.tar")
        written = [(sample.key, sample.error) for sample in read_shard(shard)]
        assert written == [("1-web", None), ("1-row-000000001-web", None), ("2-web", None)]


def test_one_broken_table_of_several_is_one_bad_sample(tmp_path):
    for number in range(2):
        columns = {"image": [picture("red")] * 2, "text": ["a red", "a blue"]}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    (tmp_path / "1.parquet").write_bytes(b"PAR1 broken off")
    tasks = find_shards([str(tmp_path)], 1000)
    assert [(task.name, task.stop) for task in tasks] == [("0-000000000", 2), ("1-000000000", 1)]
    (bad,) = read_samples(tasks[1])
    assert (bad.error or "").startswith("broken_table: ")
    check_count(tasks[1], 1)
    assert is_same_input(tasks[1], describe_input(tasks[1]))
    with pytest.raises(UsageError, match=r"1.parquet is not a Parquet file"):
        find_shards([str(tmp_path / "1.parquet")], 1000)


def test_shards_of_one_name_are_both_named(tmp_path):
    web_shard(tmp_path / "00000.tar", range(2))
    table = pa.table({"image": [picture("red")], "caption": ["red"]})
    pq.write_table(table, tmp_path / "00000.parquet")
    with pytest.raises(UsageError) as raised:
        find_shards([str(tmp_path / "00000.tar"), str(tmp_path / "00000.parquet")], 5)
    assert f"{tmp_path}/00000.tar and {tmp_path}/00000.parquet would give" in str(raised.value)
