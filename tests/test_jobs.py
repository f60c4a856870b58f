"""Stages side by side: their threads, their failures, and their end when the parent is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blip.errors import BlipError
from blip.jobs import run_together
from blip.stage import Stage
from tests.support.stages import KIND, CountThreads, Crash, Fail

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.usefixtures("forked_workers")
def test_share_of_the_cores_does_not_depend_on_what_is_done_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    for case, done in (("both", False), ("one", True)):
        stages = [
            Stage(name, tmp_path / case / name, 1, CountThreads(tmp_path / case / name), KIND)
            for name in "ab"
        ]
        if done:
            stages[0].folder.mkdir(parents=True)
            Stage("a", stages[0].folder, 1, lambda: None, KIND).run()
        run_together(stages, parallel=2)
        assert (stages[1].folder / "threads").read_text() == "3"
        assert all(stage.is_done() for stage in stages)


def test_a_failure_is_named_and_the_other_stage_is_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    works = {"bad": Fail(), "worse": Crash(), "good": CountThreads(tmp_path / "good")}
    stages = [Stage(name, tmp_path / name, 1, work, KIND) for name, work in works.items()]
    with pytest.raises(BlipError, match=r"^bad and worse failed; run the same command again"):
        run_together(stages, parallel=3)
    assert [stage.is_done() for stage in stages] == [False, False, True]
    err = capfd.readouterr().err
    assert "bad: no good\n" in err
    assert "worse failed unexpectedly: ZeroDivisionError: in two (" in err
    assert "Traceback" not in err


def test_a_single_stage_runs_in_this_process(tmp_path: Path) -> None:
    called = []
    stage = Stage("here", tmp_path / "here", 1, lambda: called.append(os.getpid()), KIND)
    run_together([stage], parallel=2)
    assert called == [os.getpid()]


PARENT = """
from pathlib import Path
from blip.jobs import run_together
from blip.stage import Stage
from tests.support.stages import KIND, Sleep
if __name__ == "__main__":
    out = Path({out!r})
    run_together([Stage(n, out / n, 1, Sleep(out / n), KIND) for n in "ab"], parallel=2)
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(out=str(tmp_path)))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment, cwd=REPOSITORY)
    pids = [int(wait_for(tmp_path / name / "pid")) for name in "ab"]
    parent.send_signal(number)
    parent.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in pids)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")
