"""What is done, what is to be done again, and what is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.models.protocols import Models
from blip.capfilt.progress.plan import Plan, estimate_samples, make_plan, plan_anew, resume_settings
from blip.capfilt.shards.layout import Layout
from blip.capfilt.shards.source import find_shards, name_shards
from blip.capfilt.stages.shard import process_shard
from blip.errors import UsageError
from tests.support.capfilt import FakeCaptioner, FakeFilter, web_data, web_shard
from tests.support.shard_job import SETTINGS


def plan(tmp_path: Path, settings=SETTINGS) -> Plan:
    tasks = find_shards([str(tmp_path / "web")], 1000)
    return make_plan(tasks, Layout(tmp_path / "out"), settings)


def finish(tmp_path: Path, plan: Plan) -> None:
    for task in plan.waiting:
        models = Models(FakeCaptioner(), FakeFilter())
        list(process_shard(task, Layout(tmp_path / "out"), SETTINGS, models, 4))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    web_data(tmp_path / "web")
    finish(tmp_path, plan(tmp_path))
    return tmp_path


def waiting(tmp_path: Path) -> list[str]:
    return [task.name for task in plan(tmp_path).waiting]


def test_what_is_done_is_not_done_again(job):
    assert waiting(job) == []
    assert sum(counts.images for counts in plan(job).done.values()) == 21


def test_a_new_shard_is_done(job):
    web_shard(job / "web/00003.tar", range(21, 25))
    assert waiting(job) == ["00003"]


def test_a_changed_shard_is_done_again(job):
    web_shard(job / "web/00001.tar", range(50, 57))
    assert waiting(job) == ["00001"]


def test_a_shard_that_was_only_touched_is_known_by_its_content(job):
    os.utime(job / "web/00001.tar", (1, 1))
    assert waiting(job) == []


@pytest.mark.parametrize("lost", ["shards/00002.tar", "ledger/00002.parquet", "done/00002.json"])
def test_a_shard_whose_files_are_not_whole_is_done_again(job, lost):
    path = job / "out" / lost
    path.write_bytes(path.read_bytes()[:-5])
    assert waiting(job) == ["00002"]
    path.unlink()
    assert waiting(job) == ["00002"]
    finish(job, plan(job))
    assert waiting(job) == []


def test_other_settings_are_refused_and_named(job):
    changed = replace(SETTINGS, threshold=0.7, decoding=replace(SETTINGS.decoding, top_p=0.5))
    with pytest.raises(UsageError) as error:
        plan(job, changed)
    message = str(error.value)
    assert "threshold 0.5 (now 0.7)" in message
    assert "top_p 0.9" in message
    assert "another --out" in message
    assert "seed" not in message.replace("seeds", "")


def test_what_a_release_made_that_called_decoding_a_search_is_done(job):
    for marker in (job / "out/done").iterdir():
        entry = json.loads(marker.read_text())
        entry["settings"]["search"] = entry["settings"].pop("decoding")
        marker.write_text(json.dumps(entry))
    assert waiting(job) == []


def test_shards_that_are_no_longer_named_are_refused(job):
    (job / "web/00000.tar").unlink()
    with pytest.raises(UsageError, match="'00000'"):
        plan(job)


def test_overwrite_clears_for_other_settings_and_for_no_other_error(job):
    layout = Layout(job / "out")
    other = replace(SETTINGS, threshold=0.75)

    def fail() -> Plan:
        raise UsageError("what reads https:// is not installed")

    with pytest.raises(UsageError, match="not installed"):
        plan_anew(fail, layout, overwrite=True)
    assert waiting(job) == []
    with pytest.raises(UsageError, match="threshold"):
        plan_anew(lambda: plan(job, other), layout, overwrite=False)
    assert waiting(job) == []
    assert len(plan_anew(lambda: plan(job, other), layout, overwrite=True).waiting) == 3


def test_a_foreign_file_in_place_of_a_marker_is_ignored(job):
    (job / "out/done/00000.json").write_text("[1]")
    marker = json.loads((job / "out/done/00001.json").read_text())
    del marker["counts"]["images"]
    (job / "out/done/00001.json").write_text(json.dumps(marker))
    assert waiting(job) == ["00000", "00001"]


@pytest.mark.parametrize(
    ("noted", "kept"),
    [
        ('{"batch_size": 7, "precision": "bfloat16"}', (7, "bfloat16")),
        ('{"batch_size": 7}', (7, "auto")),
        ('{"batch_size": "auto", "precision": "auto"}', ("auto", "auto")),
        ('{"batch_size": -7}', ("auto", "auto")),
        ('{"batch_size": 7, "precision": "float8"}', ("auto", "auto")),
        ("[7]", ("auto", "auto")),
        ("{", ("auto", "auto")),
    ],
)
def test_what_a_job_noted_before_its_first_marker_is_kept_if_it_makes_sense(tmp_path, noted, kept):
    (tmp_path / "config.json").write_text(noted)
    asked = CapFiltConfig(captioner="c", filter="f", data=("d",), out=str(tmp_path))
    begun = resume_settings(asked, Layout(tmp_path))
    assert (begun.batch_size, begun.precision) == kept
    assert replace(begun, batch_size="auto", precision="auto") == asked
    chosen = replace(asked, batch_size=3, precision="float32")
    assert resume_settings(chosen, Layout(tmp_path)) == chosen, "who asks for something gets it"


def test_markers_say_what_a_job_began_with(job):
    (job / "out/config.json").write_text('{"batch_size": 7, "precision": "bfloat16"}')
    asked = CapFiltConfig(captioner="c", filter="f", data=("d",), out=str(job / "out"))
    begun = resume_settings(asked, Layout(job / "out"))
    assert (begun.batch_size, begun.precision) == (SETTINGS.batch_size, "float32")


def test_shards_are_named_by_as_many_folders_as_it_takes():
    def names(*paths: str) -> list[str]:
        return [task.name for task in name_shards([Path(path) for path in paths])]

    assert names("/w/a/0.tar", "/w/b/1.tar") == ["0", "1"]
    assert names("/w/a/0.tar", "/w/b/0.tar") == ["a-0", "b-0"]
    assert names("/w/a/0.tar", "/w/c/../a/0.tar") == ["0"]
    assert names("/w/a/x/0.tar", "/w/b/x/0.tar", "/w/b/x/1.tar") == ["a-x-0", "b-x-0", "b-x-1"]
    assert len(set(names("/0.tar", "/a/0.tar"))) == 2


def test_samples_are_counted_in_few_shards_and_estimated_in_many(tmp_path):
    web_data(tmp_path / "few", shards=3, samples=5)
    few = name_shards(sorted((tmp_path / "few").glob("*.tar")))
    (tmp_path / "few/00001.tar").write_bytes(b"no tar")
    assert estimate_samples(few) == 10
    web_data(tmp_path / "many", shards=40, samples=4)
    many = name_shards(sorted((tmp_path / "many").glob("*.tar")))
    assert estimate_samples(many) == pytest.approx(160, rel=0.1)
    assert estimate_samples([]) == 0
