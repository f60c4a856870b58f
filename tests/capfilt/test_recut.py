"""A recut has the bytes of a job that was run so, whatever happens on the way."""

import json
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from blip.capfilt import recut as recut_module
from blip.capfilt.config import CapFiltConfig, RecutConfig
from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.job import run
from blip.capfilt.ledger import files as ledger_module
from blip.capfilt.ledger.files import find_ledgers, read_rows
from blip.capfilt.recut import recut
from blip.cli.main import main
from blip.data.readers.shards import read_shard
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError, UsageError
from tests.support.capfilt import (
    FakeModels,
    die_at_file,
    exit_code_of,
    output_bytes,
    picture,
    web_data,
)
from tests.support.recut import data_bytes, photos


def job(folder: Path, out: str = "job", **more) -> CapFiltConfig:
    config = CapFiltConfig(
        captioner="c",
        filter="f",
        data=(str(folder / "web"),),
        out=str(folder / out),
        captions=2,
        workers=1,
        batch_size=4,
        **more,
    )
    run(config, models=FakeModels())
    return config


def cut(folder: Path, out: str = "cut", **more) -> RecutConfig:
    config = RecutConfig(ledger=str(folder / "job"), out=str(folder / out), **more)
    recut(config)
    return config


@pytest.fixture
def web(tmp_path) -> Path:
    """Two tars with bad samples, texts that are long, and nothing."""
    web_data(tmp_path / "web", shards=2, samples=9)
    with ShardWriter(tmp_path / "web/odd.tar") as writer:
        writer.write("long", picture("red"), "png", "red " * 3000, {"captions": ["red " * 3000]})
        writer.write("bad", b"no picture", "jpg", "red", {})
        writer.write("two", picture("blue"), "png", "x", {"captions": ["a blue", "red", ""]})
        writer.write("two", picture("blue"), "png", "a second of its key", {})
        writer.write("mute", picture("blue"), "png", "", {})
    return tmp_path


@pytest.mark.parametrize("write", ["shards", "texts"])
@pytest.mark.parametrize(
    ("threshold", "rules"),
    [
        (0.95, FilterRules()),
        (0.0, FilterRules()),
        (0.0, FilterRules(keep="best-1", min_words=2)),
        (0.5, FilterRules(min_side=25)),
    ],
)
def test_it_has_the_bytes_of_a_job_run_so(web, threshold, rules, write):
    job(web)
    direct = job(web, "direct", threshold=threshold, rules=rules, write=write)
    cut(web, threshold=threshold, rules=rules, write=write)
    expected = data_bytes(Path(direct.out))
    assert data_bytes(web / "cut") == expected
    assert sum(name.startswith("ledger/") for name in expected) == 3
    if write == "shards":
        tars = {
            path.name: len(list(read_shard(path))) for path in (web / "cut/shards").glob("*.tar")
        }
        assert all(tars.values())
        assert json.loads(expected["shards/sizes.json"]) == tars
    written, of_job = (
        json.loads((web / name / "summary.json").read_text()) for name in ("cut", "direct")
    )
    del written["settings"], of_job["settings"]
    assert written == of_job


def test_row_groups_change_no_byte(web, monkeypatch):
    job(web)
    whole = data_bytes(web / "job")
    monkeypatch.setattr(ledger_module, "GROUP_ROWS", 7)
    small = job(web, "small")
    assert [r["text"] for r in read_rows(find_ledgers(Path(small.out)))] == [
        r["text"] for r in read_rows(find_ledgers(web / "job"))
    ]
    config = RecutConfig(ledger=small.out, out=str(web / "cut"))
    recut(config)
    cut_anew = data_bytes(web / "cut")
    assert {n: d for n, d in cut_anew.items() if n.startswith("shards")} == {
        n: d for n, d in whole.items() if n.startswith("shards")
    }
    assert cut_anew == data_bytes(Path(small.out))


def test_dropped_texts_come_back_from_the_originals(web):
    job(web, threshold=0.95)
    assert not any(list(read_shard(p)) for p in (web / "job/shards").glob("*.tar"))
    cut(web, threshold=0.0)
    samples = [s for p in sorted((web / "cut/shards").glob("*.tar")) for s in read_shard(p)]
    assert {s.image for s in samples if s.image_key == "odd/two"} == {picture("blue")}
    assert "red " * 2999 + "red" in [s.texts[0] for s in samples]


def test_what_was_stopped_goes_on_to_the_same_bytes(web, monkeypatch):
    job(web)
    cut(web, "whole", threshold=0.0)
    real, calls = recut_module._cut_shard, []

    def stops(*arguments):
        calls.append(arguments[2].task.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(recut_module, "_cut_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        cut(web, threshold=0.0)
    assert not (web / "cut/summary.json").exists()
    cut(web, threshold=0.0)
    assert calls == ["00000", "00001", "00001", "odd"], "what was done is not done again"
    expected = output_bytes(web / "whole")
    found = output_bytes(web / "cut")
    assert found.pop("recut.json") != expected.pop("recut.json")
    assert found == expected
    with pytest.raises(UsageError, match=r"was made with threshold 0.0 \(now 0.7\); --overwrite"):
        cut(web, threshold=0.7)
    assert output_bytes(web / "cut").keys() == found.keys() | {"recut.json"}


@pytest.mark.parametrize("rules", [JobRules(), JobRules(max_repeats=3, unique_texts=True)])
def test_a_kill_at_any_moment_changes_no_byte(web, rules):
    def killed_at(step: int) -> None:
        die_at_file(step)
        cut(web, **more)

    more = {"threshold": 0.0, "job_rules": rules}
    job(web)
    cut(web, **more)
    whole = output_bytes(web / "cut")
    # Of the folder's owner and of the configuration; of three shards: tar and ledger made, both in
    # their places, the marker.
    for step in range(2 + 3 * 5):
        shutil.rmtree(web / "cut")
        assert exit_code_of(killed_at, step) == -signal.SIGKILL
        done = {path.stem for path in (web / "cut/done").glob("*.json")}
        assert len(done) == max(step - 2, 0) // 5
        assert not (web / "cut/summary.json").exists()
        cut(web, **more)
        assert output_bytes(web / "cut") == whole


def test_a_ledger_that_changed_is_cut_again(web):
    job(web)
    cut(web, threshold=0.0)
    before = data_bytes(web / "cut")
    shutil.rmtree(web / "job")
    job(web, seed=8)
    cut(web, threshold=0.0)
    job(web, "direct", threshold=0.0, seed=8)
    assert data_bytes(web / "cut") == data_bytes(web / "direct") != before


def test_originals_that_are_not_those_of_the_job_are_refused(web, monkeypatch):
    job(web)
    other = web / "other"
    web_data(other, shards=2, samples=8)
    shutil.copy(web / "web/odd.tar", other)
    with pytest.raises(BlipError, match=r"00000.tar changed since the job read it"):
        cut(web, data=(str(other),))
    shutil.rmtree(web / "job/done")
    with pytest.raises(BlipError, match=r"sample 9 ends where the ledger has '000008'"):
        cut(web, data=(str(other),))
    assert [path.name for path in (web / "cut").rglob("*.tar")] == ["odd.tar"], "it is the job's"
    web_data(other, shards=1, samples=10)
    with pytest.raises(BlipError, match=r"sample 10 has a sample '000009' where the ledger ends"):
        cut(web, data=(str(other),))
    with pytest.raises(UsageError, match="does not name the originals of 1 ledgers, first 'odd'"):
        cut(web, data=(str(web / "web/0*.tar"),))
    shutil.move(web / "web", web / "moved")
    with pytest.raises(UsageError, match=r"no shards at .*name the originals with --data"):
        cut(web)
    cut(web, "moved-too", data=(str(web / "moved"),), threshold=0.0)


def test_a_ledger_alone_is_enough_with_its_originals(web):
    job(web)
    shutil.copytree(web / "job/ledger", web / "alone/ledger")
    config = RecutConfig(ledger=str(web / "alone/ledger"), out=str(web / "cut"))
    with pytest.raises(UsageError, match=r"has no config.json that says what was read"):
        recut(config)
    recut(replace(config, data=(str(web / "web"),), threshold=0.0))
    assert data_bytes(web / "cut") == data_bytes(Path(job(web, "direct", threshold=0.0).out))


def test_a_job_that_cannot_be_recut_is_refused(web):
    job(web)
    with pytest.raises(UsageError, match="is the job itself; choose another --out"):
        cut(web, "job")
    with pytest.raises(UsageError, match=r"would replace the input .*ledger; choose another place"):
        cut(web, "job/ledger")
    assert not (web / "job/ledger/.blip.json").exists()
    with pytest.raises(UsageError, match="no ledger in"):
        recut(RecutConfig(ledger=str(web / "none"), out=str(web / "cut")))
    torn = web / "job/ledger/00000.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(
        BlipError, match=r"1 of 3 shards could not be cut, first: .*not a whole Parqu"
    ):
        cut(web)
    assert len(list((web / "cut/done").glob("*.json"))) == 2, "the others are done"
    assert not (web / "cut/summary.json").exists()
    with pytest.raises(BlipError, match=r"00000.parquet is not a whole Parquet file"):
        cut(web, "rules", job_rules=JobRules(max_repeats=1))


def test_rules_of_the_whole_job_over_all_shards(tmp_path):
    photos(tmp_path)
    job(tmp_path)
    rules = JobRules(unique_images=8)
    cut(tmp_path, threshold=0.0, job_rules=rules)
    rows = list(read_rows(find_ledgers(tmp_path / "cut")))
    kept = {row["key"] for row in rows if row["kept"]}
    assert kept == {f"{number:02d}" for number in range(5)}
    assert {row["reason"] for row in rows if not row["kept"]} == {"duplicate_image"}
    cut(tmp_path, "texts", threshold=0.0, job_rules=JobRules(unique_texts=True))
    rows = list(read_rows(find_ledgers(tmp_path / "texts")))
    web = [row["key"] for row in rows if row["kept"] and row["source"] == "web"]
    assert web == [f"{number:02d}" for number in range(7)]
    # What is cut again from what was cut is the same: verdicts depend on scores and order alone.
    again = RecutConfig(
        ledger=str(tmp_path / "texts"),
        out=str(tmp_path / "again"),
        data=(str(tmp_path / "web"),),
        threshold=0.0,
        job_rules=JobRules(unique_texts=True),
    )
    recut(again)
    assert data_bytes(tmp_path / "again") == data_bytes(tmp_path / "texts")


def test_repeats_are_counted_over_all_shards_whichever_rule_of_the_whole_job_is_asked(tmp_path):
    photos(tmp_path)
    job(tmp_path)
    rows = list(read_rows(find_ledgers(tmp_path / "job")))
    assert {row["repeats"] for row in rows} == {None}
    counted = Counter(row["text"] for row in rows)
    assert set(counted.values()) == {1, 2}
    for out, rules in {
        "a": JobRules(max_repeats=1),
        "b": JobRules(unique_images=0),
        "c": JobRules(unique_texts=True),
    }.items():
        cut(tmp_path, out, threshold=0.0, job_rules=rules)
        rows = list(read_rows(find_ledgers(tmp_path / out)))
        assert [row["repeats"] for row in rows] == [counted[row["text"]] for row in rows]
    again = RecutConfig(
        ledger=str(tmp_path / "c"), out=str(tmp_path / "plain"), data=(str(tmp_path / "web"),)
    )
    recut(again)
    assert data_bytes(tmp_path / "plain") == data_bytes(tmp_path / "job")


def test_a_ledger_of_before_repeats_were_counted_is_cut(web):
    job(web)
    for path in find_ledgers(web / "job"):
        pq.write_table(pq.read_table(path).drop_columns("repeats"), path)
    cut(web, job_rules=JobRules(max_repeats=1))
    rows = list(read_rows(find_ledgers(web / "cut"), ["text", "repeats", "reason"]))
    assert {row["repeats"] > 1 for row in rows if row["reason"] == "match"} == {False}
    assert {row["repeats"] > 1 for row in rows if row["reason"] == "repeated_text"} == {True}


def test_the_verb(web, capsys):
    job(web)
    asked = ["capfilt", "recut", str(web / "job"), "--out", str(web / "cut")]
    assert main([*asked, "--threshold", "0", "--keep", "best-1", "--unique-texts"]) == 0
    printed = capsys.readouterr().out
    assert f"report   {web}/cut/report.html" in printed
    settings = json.loads((web / "cut/summary.json").read_text())["settings"]
    assert settings["rules"]["keep"] == "best-1"
    assert settings["job_rules"]["unique_texts"] is True
    assert main([*asked, "--threshold", "2"]) == 2
    assert "--threshold is 2.0; allowed: a finite number from 0 to 1" in capsys.readouterr().err
    assert main([*asked, "--keep", "some"]) == 2
    assert "--keep is some; allowed: all, or best-N such as best-1" in capsys.readouterr().err
    (web / "cut/report.html").unlink()
    assert main(["capfilt", "report", str(web / "cut")]) == 0
    assert "Synthetic text refused" in (web / "cut/report.html").read_text()


@pytest.mark.parametrize(
    "named", ["pipe:touch {0}; cat {1}", "{{pipe:cat {1};touch {0},s3://x/y.tar}}"]
)
def test_a_foreign_folder_runs_no_command(web, capsys, named):
    job(web)
    ran, tar = web / "ran", web / "web/00000.tar"
    path = web / "job/config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "data": [named.format(ran, tar)]}))
    with pytest.raises(UsageError, match=r"run only where --data names them; name it with --data"):
        cut(web)
    assert main(["capfilt", "report", str(web / "job")]) == 0
    assert "name it with --data" in capsys.readouterr().err
    assert not ran.exists()


def test_languages_that_no_rule_asks_for_are_forgotten(web):
    pytest.importorskip("py3langid")
    job(web, rules=FilterRules(languages=("en", "de", "fr")))
    rows = read_rows(find_ledgers(web / "job"))
    assert any(row["language"] is not None for row in rows)
    cut(web)
    direct = job(web, "direct")
    assert data_bytes(web / "cut") == data_bytes(Path(direct.out))
