"""The folder of a job: what a stopped job left is resumed, what is another's is refused or kept."""

import json
from pathlib import Path

import pytest

from blip.capfilt.config import RecutConfig
from blip.capfilt.engine.local import InlineEngine
from blip.capfilt.job import run
from blip.capfilt.recut import recut
from blip.errors import BlipError, UsageError
from blip.outputs import JOB, claim
from blip.stage import exclusive_lock
from tests.support.capfilt import FakeModels, config, output_bytes, web_data
from tests.support.engines import Flaky


@pytest.fixture
def web(tmp_path: Path) -> Path:
    web_data(tmp_path / "web")
    return tmp_path


def test_a_batch_size_of_its_own_choice_is_kept_to_the_end(web):
    with pytest.raises(BlipError):
        run(
            config(web, batch_size="auto"),
            models=FakeModels(auto=2),
            engine=Flaky(["00002"], kind="raised"),
        )
    run(config(web, batch_size="auto"), models=FakeModels(auto=7))
    markers = sorted((web / "out/done").iterdir())
    assert [json.loads(path.read_text())["batch_size"] for path in markers] == [2, 2, 2]


def test_a_job_goes_on_where_it_was_interrupted(web):
    class Interrupting:
        def run(self, items, make_worker):
            for number, outcome in enumerate(InlineEngine().run(items, make_worker)):
                if number == 5:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        run(config(web), models=FakeModels(), engine=Interrupting())
    assert len(list((web / "out/done").iterdir())) == 1
    engine = Flaky([])
    run(config(web), models=FakeModels(), engine=engine)
    assert engine.begun == ["00001", "00002"]
    run(config(web, "whole"), models=FakeModels())
    assert output_bytes(web / "out") == output_bytes(web / "whole")


def test_leftovers_of_killed_runs_are_removed(web):
    claim(web / "out", JOB)
    for name in (
        *(".parts/00000.1.tar", "ledger/.00000.parquet.x.part", "done/.y.json.z.part"),
        ".summary.json.0123abcd.part",
    ):
        (web / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (web / "out" / name).write_bytes(b"half")
    run(config(web), models=FakeModels())
    run(config(web, "whole"), models=FakeModels())
    assert output_bytes(web / "out") == output_bytes(web / "whole")


def test_what_lies_beside_a_job_stays(web):
    (web / "out").mkdir()
    for name in ("notes.txt", ".mine.part"):
        (web / "out" / name).write_text("mine")
    run(config(web), models=FakeModels())
    run(config(web, threshold=0.9), models=FakeModels(), overwrite=True)
    for name in ("notes.txt", ".mine.part"):
        assert (web / "out" / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["shards/00000.tar", "ledger/x.parquet", "summary.json"])
def test_a_folder_that_no_job_made_is_refused(web, name):
    (web / "out" / name).parent.mkdir(parents=True)
    (web / "out" / name).write_text("mine")
    with pytest.raises(UsageError, match="which `blip capfilt` did not make"):
        run(config(web), models=FakeModels(), overwrite=True)
    assert [p.read_text() for p in (web / "out").rglob("*") if p.is_file()] == ["mine"]


def test_a_job_of_an_earlier_version_goes_on(web):
    run(config(web), models=FakeModels())
    written = {path: path.stat().st_mtime_ns for path in web.glob("out/done/*.json")}
    (web / "out/.blip.json").unlink()
    run(config(web), models=FakeModels())
    assert written
    assert written == {path: path.stat().st_mtime_ns for path in web.glob("out/done/*.json")}


def test_a_job_that_calls_decoding_search_is_resumed_and_recut(web):
    """Its config.json and markers were written before the key had its name of today."""
    job = config(web, captions=2)
    run(job, models=FakeModels())
    out = web / "out"
    whole = {name: data for name, data in output_bytes(out).items() if "done/" not in name}
    for path in (out / "config.json", *(out / "done").iterdir()):
        written = json.loads(path.read_text())
        named = written.get("settings", written)
        named["search"] = named.pop("decoding")
        path.write_text(json.dumps(written))
    for lost in ("done/00001.json", "ledger/00001.parquet", "summary.json", "report.html"):
        (out / lost).unlink()
    assert run(job, models=FakeModels()).shards == 3
    resumed = {name: data for name, data in output_bytes(out).items() if "done/" not in name}
    assert resumed == whole
    assert json.loads((out / "timing.json").read_text())["images"] == 7, "one shard of three"
    cut = recut(RecutConfig(ledger=str(out), out=str(web / "cut")))
    assert cut.counts.images == 21
    with pytest.raises(UsageError, match=r"was made with captions 2 \(now 1\); --over"):
        run(config(web), models=FakeModels())


def test_another_job_is_replaced_on_request_alone(web):
    run(config(web), models=FakeModels())
    before = output_bytes(web / "out")
    other = config(web, threshold=0.9)
    with pytest.raises(UsageError, match=r"threshold 0\.5 \(now 0\.9\); --overwrite replaces it"):
        run(other, models=FakeModels())
    assert output_bytes(web / "out") == before
    run(other, models=FakeModels(), overwrite=True)
    run(config(web, "whole", threshold=0.9), models=FakeModels())
    assert output_bytes(web / "out") == output_bytes(web / "whole") != before


def test_other_models_are_refused(web):
    run(config(web), models=FakeModels())
    with pytest.raises(UsageError, match=r"filter fake-filter \(now newer\)"):
        run(config(web), models=FakeModels(filter="newer"))


def test_two_jobs_in_one_folder_are_refused(web):
    with exclusive_lock(web / "out"), pytest.raises(UsageError, match="another run"):
        run(config(web), models=FakeModels())
    run(config(web), models=FakeModels())


def test_an_output_that_is_not_a_folder_is_refused(web):
    (web / "out").write_text("a file")
    with pytest.raises(BlipError, match="out: File exists"):
        run(config(web), models=FakeModels())


def test_a_batch_size_is_kept_by_a_job_that_ends_before_its_first_shard(web):
    class Interrupting:
        def run(self, items, make_worker):
            raise KeyboardInterrupt
            yield

    job = config(web, batch_size="auto")
    with pytest.raises(KeyboardInterrupt):
        run(job, models=FakeModels(auto=2), engine=Interrupting())
    summary = run(job, models=FakeModels(auto=7))
    assert summary.settings.batch_size == 2


@pytest.mark.parametrize("losses", [["00002"], ["00000", "00001", "00002"]])
def test_a_precision_of_its_own_choice_is_kept_to_the_end(web, monkeypatch, losses):
    def choose(chosen: str) -> None:
        monkeypatch.setattr("blip.capfilt.models.choose.choose_precision", lambda devices: chosen)

    choose("float32")
    with pytest.raises(BlipError):
        run(config(web), models=FakeModels(), engine=Flaky(losses, kind="raised"))
    assert json.loads((web / "out/config.json").read_text())["precision"] == "float32"
    choose("bfloat16")
    summary = run(config(web), models=FakeModels())
    assert summary.settings.precision == "float32"
    markers = [json.loads(path.read_text()) for path in (web / "out/done").iterdir()]
    assert {marker["settings"]["precision"] for marker in markers} == {"float32"}
    assert run(config(web, "new"), models=FakeModels()).settings.precision == "bfloat16"


@pytest.mark.parametrize(("begun", "asked"), [("on", "off"), ("off", "on"), ("auto", "on")])
def test_compiling_or_not_is_kept_to_the_end(web, begun, asked):
    first = run(config(web, compile=begun), models=FakeModels())
    assert first.settings.compile == ("off" if begun == "auto" else begun)
    assert run(config(web), models=FakeModels()).settings == first.settings
    before = first.settings.compile
    with pytest.raises(UsageError, match=rf"made with compile {before} \(now {asked}\)"):
        run(config(web, compile=asked), models=FakeModels())


@pytest.mark.parametrize(
    ("begun", "asked", "message"),
    [
        ({"precision": "int8"}, {"compile": "on"}, r"with compile off \(now on\); --overwrite"),
        ({"compile": "on"}, {"precision": "int8"}, r"with precision float32 \(now int8\); --over"),
    ],
)
def test_what_cannot_go_with_the_begun_job_is_named_alone(
    web, begun, asked, message, monkeypatch, capsys
):
    monkeypatch.setattr("blip.nn.device.int8_multiplies", lambda: True)
    run(config(web, batch_size="auto", **begun), models=FakeModels(auto=2))
    before = output_bytes(web / "out")
    now = config(web, batch_size="auto", **asked)
    with pytest.raises(UsageError, match=message):
        run(now, models=FakeModels(auto=3))
    assert output_bytes(web / "out") == before
    settings = run(now, models=FakeModels(auto=3), overwrite=True).settings
    assert {name: getattr(settings, name) for name in asked} == asked
    assert settings.batch_size == 3
    assert "starting from scratch" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["bfloat16", "int8"])
def test_another_precision_is_refused(web, other, monkeypatch):
    # Fakes compute on any CPU.
    monkeypatch.setattr("blip.nn.device.int8_multiplies", lambda: True)
    assert run(config(web, precision=other), models=FakeModels()).settings.precision == other
    with pytest.raises(UsageError, match=rf"precision {other} \(now float32\)"):
        run(config(web, precision="float32"), models=FakeModels())
