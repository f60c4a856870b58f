"""What CapFilt writes is read by `datasets`, `webdataset` and pandas as it is."""

import json
import shutil
import signal
import warnings
from pathlib import Path

import pandas
import pytest
import webdataset

from blip.capfilt.config import RecutConfig
from blip.capfilt.filters.config import JobRules
from blip.capfilt.job import run
from blip.capfilt.ledger.files import SCHEMA, hash_numbers, read_groups, read_rows
from blip.capfilt.recut import recut
from blip.cli.main import main
from blip.data.readers.shards import read_shard
from blip.data.writers.shards import ShardWriter
from tests.support.capfilt import (
    NAMES,
    FakeModels,
    config,
    die_at_file,
    exit_code_of,
    output_bytes,
    picture,
)
from tests.support.ledgers import read_ledger

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import datasets

EXTENSIONS = ("jpg", "jpeg", "JPG", "jpe")
SAMPLES = 6


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets.disable_progress_bars()


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Shards as img2dataset writes them; of the first nothing can be kept."""
    for shard in range(4):
        with ShardWriter(tmp_path / f"web/{shard:05d}.tar") as writer:
            for number in range(SAMPLES):
                colour = NAMES[number % 3]
                text = f"a {colour} square" if number % 2 else "buy it"
                meta = {
                    "caption": text,
                    "LICENSE": None if number < SAMPLES - 1 else "CC BY",
                    "similarity": None if number == 0 else 0.25,
                    "tags": [] if number < SAMPLES - 1 else ["one"],
                    "exif": {} if number < SAMPLES - 1 else {"Make": "a maker"},
                    "url": f"u{number}",
                }
                image = picture(colour, "JPEG") if shard else b"no picture"
                members = (
                    (EXTENSIONS[number % 4], image),
                    ("txt", text.encode()),
                    ("json", json.dumps(meta).encode()),
                )
                key = f"{shard}{number:08d}"
                writer.write_members([(f"{key}.{end}", content) for end, content in members])
    return tmp_path


def load(shards: Path, cache: Path) -> "datasets.Dataset":
    files = str(shards / "*.tar")
    return datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=cache)


def test_a_folder_with_one_shard_is_read_by_datasets_as_it_is(web: Path) -> None:
    run(config(web, data=(str(web / "web/00001.tar"),)), models=FakeModels())
    shards = web / "out/shards"
    (tar,) = shards.glob("*.tar")
    found = datasets.load_dataset(str(shards), split="train", cache_dir=web / "cache")
    assert len(found) == json.loads((shards / "sizes.json").read_text())[tar.name]
    assert {"jpg", "txt", "json"} <= set(found.column_names)


def make(web: Path, how: str) -> Path:
    """The folder of a job that is done at once, by recut, or with the rules of the whole job."""
    rules = JobRules(unique_texts=True) if how == "rules" else JobRules()
    run(config(web, data=(str(web / "web"),), job_rules=rules), models=FakeModels())
    if how != "recut":
        return web / "out"
    recut(RecutConfig(ledger=str(web / "out"), out=str(web / "cut"), threshold=0.05))
    return web / "cut"


@pytest.mark.parametrize("how", ["job", "recut", "rules"])
def test_datasets_and_webdataset_read_every_row(web: Path, how: str) -> None:
    out = make(web, how)
    ours = [s for path in sorted((out / "shards").glob("*.tar")) for s in read_shard(path)]
    rows = list(load(out / "shards", web / "cache"))
    assert [row["__key__"] for row in rows] == [sample.key for sample in ours]
    assert [row["txt"] for row in rows] == [sample.texts[0] for sample in ours]
    assert all(row["jpg"].size == (24, 24) for row in rows)
    assert [row["json"]["caption"] for row in rows] == [row["txt"] for row in rows]
    sizes = json.loads((out / "shards/sizes.json").read_text())
    assert sum(sizes.values()) == len(rows) > 3
    for path in (out / "shards").glob("*.tar"):
        read = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("pil"))
        assert len(read) == sizes[path.name] > 0
        assert all(row["jpg"].size == (24, 24) for row in read)
        assert all(row["json"]["caption"] == row["txt"] for row in read)
    assert "00000.tar" not in sizes


def test_fields_that_repeat_a_text_follow_the_text(tmp_path: Path) -> None:
    said = {"caption": "buy it", "TEXT": "buy it ", "alt": "of something else", "texts": ["buy it"]}
    with ShardWriter(tmp_path / "web/0.tar") as writer:
        writer.write("k", picture("red"), "png", "buy it", {**said, "title": "buy it"})
    run(config(tmp_path, threshold=0.0), models=FakeModels())
    first, second = read_shard(tmp_path / "out/shards/0.tar")
    assert first.meta["original"] == second.meta["original"] == "buy it"
    assert [first.meta[name] for name in ("caption", "TEXT")] == ["buy it"] * 2
    assert [second.meta[name] for name in ("caption", "TEXT")] == [second.texts[0]] * 2
    assert second.meta["alt"] == "of something else"
    assert second.meta["title"] == "buy it"
    assert "texts" not in second.meta


def test_a_pack_of_what_others_wrote_is_read_alike(web: Path) -> None:
    (web / "web/00000.tar").unlink()
    assert main(["data", "pack", str(web / "web"), str(web / "packed")]) == 0
    rows = list(load(web / "packed", web / "cache"))
    assert len(rows) == 3 * SAMPLES
    assert all(row["jpg"].size == (24, 24) for row in rows)
    assert [row["json"]["caption"] for row in rows] == [row["txt"] for row in rows]


def test_an_empty_tar_of_an_earlier_version_goes_when_the_job_goes_on(web: Path) -> None:
    job = config(web, data=(str(web / "web"),))
    run(job, models=FakeModels())
    before = output_bytes(web / "out")
    with ShardWriter(web / "out/shards/00000.tar"):
        pass
    marker = web / "out/done/00000.json"
    written = json.loads(marker.read_text())
    written["output"]["shard_bytes"] = (web / "out/shards/00000.tar").stat().st_size
    marker.write_text(json.dumps(written))
    run(job, models=FakeModels())
    assert output_bytes(web / "out") == before


@pytest.mark.parametrize("rules", [JobRules(), JobRules(unique_texts=True)])
def test_a_kill_beside_an_empty_shard_changes_no_byte(web: Path, rules: JobRules) -> None:
    job = config(web, data=(str(web / "web"),), job_rules=rules)

    def killed_at(step: int) -> None:
        die_at_file(step)
        run(job, models=FakeModels())

    run(job, models=FakeModels())
    whole = output_bytes(web / "out")
    assert "shards/00000.tar" not in whole
    # Of each shard some five files come to their places: every third kill is enough for all kinds.
    # Of those at the end, each is another: sizes, card, summary.
    for step in (*range(1, 20, 3), *range(20, 27)):
        shutil.rmtree(web / "out")
        killed = exit_code_of(killed_at, step)
        assert killed == -signal.SIGKILL or step > 20
        run(job, models=FakeModels())
        assert output_bytes(web / "out") == whole, step


def test_pandas_keeps_the_hashes_of_a_ledger(web: Path) -> None:
    out = make(web, "job")
    ledgers = sorted((out / "ledger").glob("*.parquet"))
    frame = pandas.concat(pandas.read_parquet(path) for path in ledgers)
    hashes = [record.image_hash for path in ledgers for record in read_ledger(path)]
    read = [None if pandas.isna(digits) else int(digits, 16) for digits in frame["image_hash"]]
    assert read == hashes
    assert any(number is None for number in hashes)


def test_a_ledger_with_hashes_as_numbers_is_read_as_one_of_today(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = [2**64 - 1, None, 0, 2**53 + 1]
    row = {field.name: "x" for field in SCHEMA if field.type == pa.string()}
    row |= {"number": 0, "itm_score": 0.5, "itc_cosine": 0.5, "kept": True, "seed": 0}
    place = SCHEMA.get_field_index("image_hash")
    old = SCHEMA.set(place, pa.field("image_hash", pa.uint64()))
    table = pa.Table.from_pylist([{**row, "image_hash": number} for number in numbers], old)
    pq.write_table(table, tmp_path / "old.parquet")
    [group] = read_groups(tmp_path / "old.parquet")
    assert group.schema == SCHEMA
    assert hash_numbers(group["image_hash"]).tolist() == [2**64 - 1, 0, 0, 2**53 + 1]
    assert [r.image_hash for r in read_ledger(tmp_path / "old.parquet")] == numbers
    [first, *_] = read_rows([tmp_path / "old.parquet"], ["image_hash"])
    assert first == {"image_hash": "f" * 16}
