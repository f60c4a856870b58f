"""The job on Ray: the bytes of the local engine, whatever is killed on the way."""

import json
import signal

import pytest

from blip.capfilt.filters.config import JobRules
from blip.capfilt.job import run
from blip.cli.main import main
from tests.support.capfilt import BrokenModels, FakeModels, config, output_bytes, web_data
from tests.support.capfilt_command import options, start, wait_for, web
from tests.support.ray_cluster import ray_cluster

pytest.importorskip("ray", reason="blip-capfilt[ray] is not installed")


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster():
        yield


def test_ray_gives_the_bytes_of_the_local_engine_though_an_actor_is_killed(cluster, tmp_path):
    web_data(tmp_path / "web")
    whole = run(config(tmp_path, "whole"), models=FakeModels())
    (tmp_path / "kills").mkdir()
    deadly = FakeModels(deadly=str(tmp_path / "kills"))
    on_ray = {"engine": "ray", "workers": 2, "gpus_per_worker": 0}
    summary = run(config(tmp_path, **on_ray), models=deadly)
    assert len(list((tmp_path / "kills").iterdir())) == 1
    assert summary.to_json() == whole.to_json()
    assert output_bytes(tmp_path / "out") == output_bytes(tmp_path / "whole")
    status = json.loads((tmp_path / "out/status.json").read_text())
    assert (status["state"], status["workers"], status["images_done"]) == ("done", 2, 21)


def test_ray_gives_the_bytes_of_the_local_engine_with_rules_of_the_whole_job(cluster, tmp_path):
    web_data(tmp_path / "web")
    rules = {"threshold": 0.0, "job_rules": JobRules(unique_texts=True, max_repeats=5)}
    whole = run(config(tmp_path, "whole", **rules), models=FakeModels())
    assert whole.counts.reasons["duplicate_text"] > 0
    on_ray = {"engine": "ray", "workers": 2, "gpus_per_worker": 0}
    run(config(tmp_path, **on_ray, **rules), models=FakeModels())
    assert output_bytes(tmp_path / "out") == output_bytes(tmp_path / "whole")


def test_models_that_cannot_be_loaded_end_the_job(cluster, tmp_path):
    web_data(tmp_path / "web", shards=1)
    job = config(tmp_path, engine="ray", workers=1)
    with pytest.raises(Exception, match="no such weights"):
        run(job, models=BrokenModels())


def test_a_driver_that_is_killed_takes_its_cluster_along_and_the_job_goes_on(models, tmp_path):
    data = web(tmp_path / "web", shards=6, samples=24)
    assert main(options(models, data, tmp_path / "one", "--workers", "1")) == 0
    on_ray = [*options(models, data, tmp_path / "out", "--workers", "2"), "--engine", "ray"]
    killed = start(on_ray)
    try:
        wait_for(lambda: list((tmp_path / "out").glob("done/*.json")), seconds=120)
    finally:
        killed.send_signal(signal.SIGKILL)
        # The pipe ends with the last process that holds it: no actor outlives its driver.
        killed.communicate(timeout=60)
    assert not (tmp_path / "out/summary.json").exists(), "the kill came too late"
    # What one engine began the other one ends.
    assert main(options(models, data, tmp_path / "out", "--workers", "1")) == 0
    assert output_bytes(tmp_path / "out") == output_bytes(tmp_path / "one")
