"""Ray as an engine: the same protocol, on actors, and the bytes of the local engine."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator

import pytest

from blip.capfilt.engine.protocol import Done, Failed, News
from blip.capfilt.filters.config import JobRules
from blip.capfilt.job import run
from blip.errors import UsageError
from tests.support.capfilt import BrokenModels, FakeModels, config, output_bytes, web_data
from tests.support.ray_cluster import ray_cluster
from tests.support.replaced_models import check_what_workers_load, job_of_released
from tests.support.squares import make_worker, refuse, results

ray = pytest.importorskip("ray", reason="blip-capfilt[ray] is not installed")
from blip.capfilt.engine.ray import RayEngine  # noqa: E402 (behind the question whether it is there)


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs, and a GPU that Ray is made to believe in."""
    with ray_cluster(gpus=1):
        yield


@pytest.fixture
def engine(cluster):
    return RayEngine(2, None, 0.5)


class Device:
    """A worker that tells which GPU it was given."""

    def __call__(self, item: int) -> Generator[str, None, tuple[str, int]]:
        yield "begin"
        return os.environ.get("CUDA_VISIBLE_DEVICES", "none"), os.getpid()


def test_workers_share_a_gpu_where_that_is_asked_for(engine):
    outcomes = [o for o in engine.run([1, 2], lambda place: Device()) if isinstance(o, Done)]
    assert [o.result[0] for o in outcomes] == ["0", "0"]


def test_there_are_as_many_workers_as_have_room(cluster):
    assert (RayEngine(None, None, 0.5).workers, RayEngine(None, None, 0.0).workers) == (2, 2)
    whole = RayEngine(None, None, None)
    assert (whole.gpus, whole.workers) == (1.0, 1)
    with pytest.raises(UsageError, match=r"needs 1 CPU and 2 GPUs; this machine has 2 CPUs and 1"):
        RayEngine(None, None, 2.0)
    # A cluster may grow: there a worker waits for its room.
    assert RayEngine(None, "auto", 2.0).workers == 1
    assert ray.is_initialized(), "a cluster that was there before is left as it is"


def test_all_items_are_done_once_with_their_news(engine):
    outcomes = list(engine.run([3, 4, 5, 6, 7], make_worker))
    assert results(outcomes) == {3: 9, 4: 16, 5: 25, 6: 36, 7: 49}
    kinds = Counter((type(o), o.item) for o in outcomes)
    assert set(kinds.values()) == {1}
    assert len(kinds) == 10
    assert next(o for o in outcomes if o.item == 7) == News(7, "begin 7")
    pids = {o.result[1] for o in outcomes if isinstance(o, Done)}
    assert os.getpid() not in pids


def test_errors_and_deaths_cost_their_item_alone(engine):
    outcomes = list(engine.run([1, -2, 99, 66, 3], make_worker))
    assert results(outcomes) == {1: 1, 3: 9}
    failed = {o.item: o for o in outcomes if isinstance(o, Failed)}
    assert failed[-2] == Failed(-2, "raised", "ValueError: negative number", fatal=False)
    assert failed[99] == Failed(99, "raised", "the disk is full", fatal=True)
    assert failed[66].kind == "died"
    assert failed[66].error.startswith("its actor ended: ")
    assert "\n" not in failed[66].error


def test_a_worker_that_cannot_be_made_ends_the_run(engine):
    with pytest.raises(UsageError, match="no such checkpoint"):
        list(engine.run([1], refuse))


def test_nothing_to_do_makes_no_worker(engine):
    assert list(engine.run([], refuse)) == []


def test_closing_stops_actors_that_are_at_work(cluster):
    engine = RayEngine(1, None, 1.0)
    outcomes = engine.run([55], make_worker)
    assert next(iter(outcomes)) == News(55, "begin 55")
    assert isinstance(outcomes, Generator)
    outcomes.close()
    # There is one GPU, and the next actor gets it only when the one at work was stopped.
    assert results(engine.run([2], make_worker)) == {2: 4}


def test_a_missing_cluster_is_reported():
    code = (
        "from blip.capfilt.engine.ray import RayEngine\n"
        "from blip.errors import BlipError\n"
        "try:\n    RayEngine(1, '127.0.0.1:1', None)\n"
        "except BlipError as error:\n    print(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("no Ray cluster at 127.0.0.1:1: "), done.stderr
    assert done.stdout.count("\n") == 1


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
    job = config(tmp_path, engine="ray", workers=1, gpus_per_worker=0)
    with pytest.raises(Exception, match="no such weights"):
        run(job, models=BrokenModels())


def test_actors_check_what_they_load(cluster, tmp_path):
    check_what_workers_load(job_of_released(tmp_path), engine="ray", gpus_per_worker=0)
