"""The job: same bytes for any number of workers and kills, and clear ends."""

import json
import multiprocessing
import re
import signal
from pathlib import Path

import pytest

from blip.capfilt.engine.local import InlineEngine
from blip.capfilt.job import run
from blip.capfilt.ledger.files import read_rows
from blip.capfilt.stages.pictures import open_batches
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError, StoppedError
from tests.support.capfilt import BrokenModels, FakeModels, config, output_bytes, picture, web_data
from tests.support.engines import Flaky

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def web(tmp_path: Path) -> Path:
    web_data(tmp_path / "web")
    return tmp_path


def test_one_and_two_workers_give_the_same_bytes(web):
    one = run(config(web, "one"), models=FakeModels())
    two = run(config(web, "two", workers=2), models=FakeModels())
    assert one.to_json() == two.to_json()
    files = output_bytes(web / "one")
    assert files == output_bytes(web / "two")
    assert len([name for name in files if name.endswith(".tar")]) == 3
    assert not any("part" in name for name in files)


def test_four_workers_give_the_same_bytes(tmp_path):
    web_data(tmp_path / "web", shards=6, samples=5)
    run(config(tmp_path, "one"), models=FakeModels())
    run(config(tmp_path, "four", workers=4), models=FakeModels())
    assert output_bytes(tmp_path / "one") == output_bytes(tmp_path / "four")


def test_where_memory_runs_out_shards_are_done_with_fewer_images_at_a_time(web, capsys):
    run(config(web, "whole", batch_size=16), models=FakeModels())
    models = FakeModels(auto=16, room=5)
    summary = run(config(web, batch_size="auto"), models=models)
    printed = capsys.readouterr().err
    assert "shard 00000: out of memory; 8 images at a time" in printed
    assert printed.count("out of memory") == 6, "every shard begins with the whole size"
    assert printed.count("forgotten") == 6
    files, whole = output_bytes(web / "out"), output_bytes(web / "whole")
    for name in files:
        if name.startswith("done/"):
            marker = json.loads(files[name])
            assert (marker["settings"]["batch_size"], marker["batch_size"]) == (16, 4)
        else:
            assert files[name] == whole[name], name
    assert summary.counts.images == 21
    status = json.loads((web / "out/status.json").read_text())
    assert status["images_done"] == 21, "what was done again is counted once"


def test_an_image_that_never_fits_ends_the_job(web):
    with pytest.raises(BlipError, match=r"00000 .* no memory for a single image: CUDA out"):
        run(config(web, batch_size=4), models=FakeModels(room=0))
    assert json.loads((web / "out/status.json").read_text())["state"] == "failed"


def test_the_status_says_how_far_a_job_is(web, monkeypatch):
    seen = []

    def noting(path, value):
        seen.append((path.name, value))

    monkeypatch.setattr("blip.capfilt.progress.status.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("blip.capfilt.progress.status.write_json", noting)
    run(config(web, max_bad="50%"), models=FakeModels())
    assert {name for name, _ in seen} == {"status.json"}
    result = [value for _, value in seen]
    assert [value["state"] for value in result] == ["running"] * (len(result) - 1) + ["done"]
    done = [value["images_done"] for value in result]
    assert done == sorted(done)
    assert set(done) > {3, 6, 7, 21}
    assert (result[0]["shards"], result[0]["images"]) == (3, None), "it is there before all work"
    assert [result[1][name] for name in ("shards", "shards_done", "images", "workers")] == [
        3,
        0,
        21,
        1,
    ]
    last = result[-1]
    assert (last["shards_done"], last["images_done"], last["seconds_left"]) == (3, 21, 0)
    assert last["web_kept"] + last["web_dropped"] == 21
    assert last["images_per_second"] > 0


def test_the_guide_describes_every_field_of_the_status_and_no_other(web):
    run(config(web), models=FakeModels())
    guide = (Path(__file__).parents[2] / "docs/capfilt.md").read_text(encoding="utf-8")
    table = guide.partition("| field | meaning |\n| --- | --- |\n")[2].partition("\n\n")[0]
    written = [
        name for row in table.splitlines() for name in re.findall("`(.*?)`", row.split("|")[1])
    ]
    assert sorted(written) == sorted(json.loads((web / "out/status.json").read_text()))


def test_a_job_that_is_interrupted_is_stopped_in_its_status(web):
    class Interrupting:
        def run(self, items, make_worker):
            yield from InlineEngine().run(items[:1], make_worker)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(web), models=FakeModels(), engine=Interrupting())
    status = json.loads((web / "out/status.json").read_text())
    assert (status["state"], status["shards_done"]) == ("stopped", 1)


def test_the_summary_counts_everything(web):
    summary = run(config(web), models=FakeModels())
    written = json.loads((web / "out/summary.json").read_text())
    assert written == summary.to_json()
    assert written["images"] == 21 == written["images_kept"] + written["images_dropped"]
    assert written["web_kept"] + written["web_dropped"] == 21
    assert written["synthetic_kept"] + written["synthetic_dropped"] == 21
    rows = list(read_rows(sorted((web / "out/ledger").glob("*.parquet"))))
    assert sum(row["kept"] for row in rows) == written["web_kept"] + written["synthetic_kept"]
    assert written["reasons"]["empty_text"] == sum(not row["text"] for row in rows)
    assert "seconds" not in json.dumps(written)
    assert json.loads((web / "out/timing.json").read_text())["images"] == 21


def test_a_dead_worker_costs_a_second_try(web):
    whole = run(config(web, "whole"), models=FakeModels())
    engine = Flaky(["00001"])
    summary = run(config(web), models=FakeModels(), engine=engine)
    assert engine.begun == ["00000", "00001", "00002", "00001"]
    assert summary.to_json() == whole.to_json()
    assert output_bytes(web / "out") == output_bytes(web / "whole")


def test_a_worker_killed_for_memory_is_replaced(web):
    (web / "kills").mkdir()
    models = FakeModels(deadly=str(web / "kills"))
    summary = run(config(web, workers=2), models=models)
    assert len(list((web / "kills").iterdir())) == 1
    run(config(web, "whole"), models=FakeModels())
    assert summary.counts.images == 21
    assert output_bytes(web / "out") == output_bytes(web / "whole")


def test_a_shard_that_kills_twice_is_named_and_the_others_are_kept(web):
    with pytest.raises(BlipError, match=r"shard 00001 .*lost.*same command"):
        run(config(web), models=FakeModels(), engine=Flaky(["00001"] * 2))
    assert sorted(p.stem for p in (web / "out/done").iterdir()) == ["00000", "00002"]
    engine = Flaky([])
    run(config(web), models=FakeModels(), engine=engine)
    assert engine.begun == ["00001"]


def test_an_error_is_not_tried_again_at_once(web):
    engine = Flaky(["00001"], kind="raised")
    with pytest.raises(BlipError, match="00001"):
        run(config(web), models=FakeModels(), engine=engine)
    assert engine.begun == ["00000", "00001", "00002"]


def test_many_failures_in_a_row_stop_the_job(tmp_path):
    web_data(tmp_path / "web", shards=12, samples=1)
    engine = Flaky([f"{n:05d}" for n in range(12)])
    with pytest.raises(BlipError, match="and 7 more"):
        run(config(tmp_path), models=FakeModels(), engine=engine)
    assert len(engine.begun) == 8


def test_models_that_cannot_be_loaded_end_the_job(web):
    with pytest.raises(BlipError, match="no such weights"):
        run(config(web, workers=2), models=BrokenModels())


def broken_data(folder: Path, sound: int, broken: int) -> None:
    with ShardWriter(folder / "0.tar") as writer:
        for number in range(sound + broken):
            image = picture("red", size=8) if number < sound else b"<html>"
            writer.write(f"{number:05d}", image, "png", "red", {})


def test_max_bad_stops_a_job_whose_data_is_broken(tmp_path):
    broken_data(tmp_path / "web", sound=8, broken=2)
    with pytest.raises(BlipError, match=r"2 of 10 samples are bad.*10%.*not_an_image 2.*ledger"):
        run(config(tmp_path, max_bad="10%"), models=FakeModels())
    assert not (tmp_path / "out/summary.json").exists()
    summary = run(config(tmp_path, max_bad=0.2), models=FakeModels())
    assert summary.counts.images_bad == 2


def test_max_bad_does_not_wait_for_the_end(tmp_path):
    broken_data(tmp_path / "web", sound=0, broken=1200)
    web_data(tmp_path / "web", shards=1, samples=4)
    engine = Flaky([])
    with pytest.raises(BlipError, match="1200 of 1200"):
        run(config(tmp_path, max_bad="5%"), models=FakeModels(), engine=engine)
    assert engine.begun == ["0"]


def test_no_processes_are_left(web):
    run(config(web, workers=2), models=FakeModels())
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("places", "workers", "threads"),
    [
        ({"device": "cuda"}, 2, 12),
        ({"device": "cuda"}, 1, 16),
        ({"device": "cuda"}, 3, 8),
        ({"device": "cpu", "filter_device": "cuda"}, 2, 12),
        ({"device": "cpu"}, 1, 4),
    ],
)
def test_workers_of_gpus_decode_on_their_share_of_the_cores(
    web, monkeypatch, places, workers, threads
):
    run(config(web, "plain"), models=FakeModels())
    seen = set()

    def noting(samples, size, models, decoders, max_pixels):
        seen.add(decoders)
        return open_batches(samples, size, models, decoders, max_pixels)

    monkeypatch.setattr("blip.capfilt.models.checkpoints.usable_cpus", lambda: 24)
    monkeypatch.setattr("blip.capfilt.stages.shard.open_batches", noting)
    run(config(web, workers=workers, **places), models=FakeModels(), engine=InlineEngine())
    assert seen == {threads}
    assert output_bytes(web / "out") == output_bytes(web / "plain")


def test_the_status_is_done_last_of_all(web):
    status = web / "out/status.json"
    data = config(web, max_bad="0%")
    run(data, models=FakeModels())
    status.write_text('{"state": "running"}')
    run(data, models=FakeModels())
    written = json.loads(status.read_text())
    assert (written["state"], written["shards_done"], written["images_done"]) == ("done", 3, 21)
    broken_data(web / "web", sound=1, broken=1)
    with pytest.raises(BlipError, match="are bad"):
        run(data, models=FakeModels())
    assert json.loads(status.read_text())["state"] == "failed"


def test_a_job_that_is_terminated_is_stopped_in_its_status(web):
    class Terminating:
        def run(self, items, make_worker):
            for outcome in InlineEngine().run(items, make_worker):
                yield outcome
                signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="run the same command again to resume") as stop:
        run(config(web), models=FakeModels(), engine=Terminating())
    assert stop.value.status == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert json.loads((web / "out/status.json").read_text())["state"] == "stopped"
