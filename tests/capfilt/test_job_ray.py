"""A job on Ray whose driver is killed, with the cluster that it started."""

import signal

import pytest

from blip.cli.main import main
from tests.support.capfilt import output_bytes
from tests.support.capfilt_command import options, start, wait_for, web

pytest.importorskip("ray", reason="blip-capfilt[ray] is not installed")


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
