"""Rules of the whole job, asked with the job itself: the bytes of a recut, whatever dies."""

import errno
import json
import shutil
import signal
from pathlib import Path

import pytest

from blip.capfilt.config import RecutConfig
from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.job import run
from blip.capfilt.ledger.files import find_ledgers, read_rows
from blip.capfilt.recut import recut
from blip.cli.capfilt import read_config
from blip.cli.main import main, parse
from blip.data.readers.shards import read_shard, read_written
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError, UsageError
from tests.support.capfilt import (
    FakeModels,
    config,
    die_at_file,
    exit_code_of,
    output_bytes,
    picture,
)
from tests.support.capfilt_command import options, web
from tests.support.engines import Flaky
from tests.support.recut import SAME, data_bytes, photos

pytestmark = pytest.mark.usefixtures("forked_workers")

RULES = {
    "repeats": JobRules(max_repeats=1),
    "images": JobRules(unique_images=8),
    "texts": JobRules(unique_texts=True),
    "all": JobRules(max_repeats=2, unique_images=0, unique_texts=True),
}


@pytest.fixture
def data(tmp_path) -> Path:
    """Three tars: resized copies, texts that repeat, bad samples, odd keys, several texts."""
    photos(tmp_path)
    with ShardWriter(tmp_path / "web/odd.tar") as writer:
        writer.write("bad", b"no picture", "jpg", "red", {})
        for key in ("two", "two", "k\u00e9y " + "x" * 200, "sub/two"):
            texts = {"captions": ["a blue", "red 1", "", "a blue"]}
            meta = json.dumps({**texts, "url": ["u", {"n": 1.5}]}).encode()
            # As others write it: our writer refuses such a key.
            parts = (("png", picture("blue")), ("txt", b"x"), ("json", meta))
            writer.write_members([(f"{key}.{suffix}", content) for suffix, content in parts])
        writer.write("mute", picture("red"), "png", "", {})
    return tmp_path


def summary_of(out: Path) -> dict[str, object]:
    written = json.loads((out / "summary.json").read_text())
    del written["settings"]
    return written


@pytest.mark.parametrize("write", ["shards", "texts"])
@pytest.mark.parametrize("asked", RULES)
def test_it_has_the_bytes_of_a_job_without_them_that_was_cut_by_them(data, asked, write):
    rules = {"threshold": 0.1, "rules": FilterRules(min_words=2), "job_rules": RULES[asked]}
    plain = run(config(data, "plain", captions=2), models=FakeModels())
    cut = RecutConfig(ledger=str(data / "plain"), out=str(data / "cut"), write=write, **rules)
    recut(cut)
    named = tuple(str(data / f"web/{name}.tar") for name in ("odd", "1", "0"))
    job = config(data, data=named, captions=2, write=write, **rules)
    summary = run(job, models=FakeModels())
    assert data_bytes(data / "out") == data_bytes(data / "cut")
    assert summary_of(data / "out") == summary_of(data / "cut")
    assert 0 < summary.counts.texts_kept < plain.counts.records
    assert summary.counts.images == plain.counts.images == 18
    status = json.loads((data / "out/status.json").read_text())
    result = summary.to_json()
    for name in ("web_kept", "web_dropped", "synthetic_kept", "synthetic_dropped"):
        assert status[name] == result[name]
    assert result["reasons"].keys() & {"repeated_text", "duplicate_image", "duplicate_text"}
    rows = list(read_rows(find_ledgers(data / "out")))
    assert all((row["repeats"] is None) == (row["itm_score"] is None) for row in rows)
    page = (data / "out/report.html").read_text()
    assert f"{summary.counts.images_kept:,} kept" in page


@pytest.mark.parametrize("write", ["shards", "texts"])
def test_one_and_two_workers_give_the_same_bytes(data, write):
    more = {"threshold": 0.0, "job_rules": RULES["all"], "write": write}
    run(config(data, "one", **more), models=FakeModels())
    run(config(data, "two", workers=2, **more), models=FakeModels())
    assert output_bytes(data / "one") == output_bytes(data / "two")


def test_a_job_that_is_done_is_not_looked_at_again(data, monkeypatch):
    job = config(data, threshold=0.0, job_rules=RULES["texts"])
    first = run(job, models=FakeModels())
    before = output_bytes(data / "out")

    def judged(*_):
        raise AssertionError("looked at again")

    monkeypatch.setattr("blip.capfilt.stages.job_rules.judge_ledgers", judged)
    engine = Flaky([])
    again = run(job, models=FakeModels(), engine=engine)
    assert engine.begun == []
    assert again.to_json() == first.to_json()
    assert output_bytes(data / "out") == before


def test_shards_hold_what_they_held_but_for_the_dropped(data):
    run(config(data, "plain", threshold=0.0), models=FakeModels())
    run(config(data, threshold=0.0, job_rules=RULES["texts"]), models=FakeModels())
    dropped = 0
    for path in sorted((data / "plain/shards").glob("*.tar")):
        held = list(read_written(path))
        left = list(read_written(data / "out/shards" / path.name))
        assert left == [sample for sample in held if sample in left]
        dropped += len(held) - len(left)
    assert dropped > 0
    written = [s.texts[0] for p in (data / "out/shards").glob("*.tar") for s in read_shard(p)]
    assert len(set(written)) == len(written)


def killed_at(job, step: int) -> None:
    """Do a job and die by SIGKILL before the rules of the job put the file `step` in its place."""
    from blip.capfilt.stages import job_rules

    judge = job_rules.judge_ledgers

    def judge_and_arm(*arguments):
        verdicts = judge(*arguments)
        die_at_file(step)
        return verdicts

    job_rules.judge_ledgers = judge_and_arm
    run(job, models=FakeModels())


STEPS = 15
"""Of three shards: tar and ledger are made, both come to their places, and the marker stands."""


@pytest.mark.parametrize("write", ["shards", "texts"])
def test_a_kill_at_any_moment_of_the_rewriting_changes_no_byte(data, write):
    more = {"threshold": 0.0, "job_rules": RULES["all"], "write": write}
    run(config(data, "whole", **more), models=FakeModels())
    whole = output_bytes(data / "whole")
    again = []
    for step in range(STEPS):
        job = config(data, f"out-{step}", **more)
        assert exit_code_of(killed_at, job, step) == -signal.SIGKILL
        out = data / f"out-{step}"
        markers = [json.loads(path.read_text()) for path in (out / "done").glob("*.json")]
        assert len(markers) == 3
        assert sum("together" in marker for marker in markers) == step // 5
        engine = Flaky([])
        run(job, models=FakeModels(), engine=engine)
        assert output_bytes(out) == whole
        again.append(len(engine.begun))
        shutil.rmtree(out)
    # Between shard, ledger and marker the marker may be of neither: that shard alone is done again.
    assert all(shards <= (step % 5 > 2) for step, shards in enumerate(again)), again


def test_texts_that_come_back_as_data_changed_are_written_again(data):
    more = {"threshold": 0.0, "job_rules": RULES["texts"], "captions": 0}
    job = config(data, **more)
    run(job, models=FakeModels())
    rows = {row["key"]: row for row in read_rows(find_ledgers(data / "out"))}
    assert rows["07"]["reason"] == "duplicate_text"
    samples = list(read_shard(data / "web/0.tar"))
    with ShardWriter(data / "web/0.tar") as writer:
        for sample in samples:
            text = "red 77" if sample.key == "00" else sample.texts[0]
            writer.write(sample.key, sample.image, "png", text, {})
    engine = Flaky([])
    run(job, models=FakeModels(), engine=engine)
    assert engine.begun == ["0", "1"]
    rows = {row["key"]: row for row in read_rows(find_ledgers(data / "out"))}
    assert rows["07"]["kept"]
    run(config(data, "whole", **more), models=FakeModels())
    assert output_bytes(data / "out") == output_bytes(data / "whole")
    status = json.loads((data / "out/status.json").read_text())
    assert (status["state"], status["images_done"], status["shards_done"]) == ("done", 18, 3)


def test_a_full_disk_while_shards_are_rewritten_is_reported(data, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    more = {"threshold": 0.0, "job_rules": RULES["texts"]}
    with monkeypatch.context() as patch:
        patch.setattr("blip.capfilt.stages.job_rules.write_json", full)
        with pytest.raises(BlipError, match="; free some space, then run the same"):
            run(config(data, **more), models=FakeModels())
    assert json.loads((data / "out/status.json").read_text())["state"] == "failed"
    run(config(data, **more), models=FakeModels())
    run(config(data, "whole", **more), models=FakeModels())
    assert output_bytes(data / "out") == output_bytes(data / "whole")


def test_other_rules_of_the_job_are_refused(data):
    run(config(data, job_rules=RULES["texts"]), models=FakeModels())
    with pytest.raises(UsageError, match=r"job_rules .*unique_texts True.*now .*max_repeats 1"):
        run(config(data, job_rules=RULES["repeats"]), models=FakeModels())


def test_a_truncated_shard_of_ours_is_reported(data):
    run(config(data, "plain", threshold=0.0), models=FakeModels())
    path = data / "plain/shards/0.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BlipError, match=r"0.tar is not a whole shard: "):
        list(read_written(path))


def test_the_verb_and_its_config(models, tmp_path, capsys):
    folder = web(tmp_path / "web", shards=2, samples=10)
    asked = ("--threshold", "0", "--unique-texts", "--max-repeats", "30", "--captions", "0")
    assert main(options(models, folder, tmp_path / "out", *asked)) == 0
    assert "web texts kept                 5  25.0% of 20" in capsys.readouterr().out
    settings = json.loads((tmp_path / "out/summary.json").read_text())["settings"]
    asked = {"max_repeats": 30, "unique_images": None, "unique_texts": True}
    assert settings["job_rules"] == asked
    typed = ["capfilt", str(tmp_path / "out/config.json"), "--max-repeats", "2"]
    read = read_config(parse(typed)).job_rules
    assert read == JobRules(max_repeats=2, unique_texts=True)
    assert main([*typed, "--unique-images", "9"]) == 2
    assert "--unique-images is 9; allowed: a whole number from 0 to 8" in capsys.readouterr().err
    assert all(name.startswith(SAME) for name in data_bytes(tmp_path / "out"))
