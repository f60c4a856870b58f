"""The guide to pre-training: its figures are the code's, its job script does what it says."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from blip.cli.main import parse
from blip.cli.recipe import recipe_names

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/pretraining.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "docs/slurm/pretrain.sbatch"


def test_the_hours_are_those_that_the_formula_gives(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(program, "guide", "exec"), {"__name__": "guide"})
    assert f"```text\n{capsys.readouterr().out}```" in GUIDE


def test_every_recipe_of_the_paper_s_data_is_described() -> None:
    for name in recipe_names("pretrain"):
        if name.endswith("m"):
            assert name in GUIDE


def fake(folder: Path, name: str, body: str) -> None:
    script = folder / name
    script.write_text(f'#!/bin/bash\necho "{name} $*" >> "$CALLS"\n{body}\n')
    script.chmod(0o755)


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """An environment in which `srun` runs its command twice, as two processes would."""
    tools = tmp_path / "bin"
    tools.mkdir()
    run_twice = (
        'shift\nfor rank in 0 1; do\nSLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" || exit\ndone'
    )
    fake(tools, "srun", run_twice)
    fake(tools, "scontrol", '[ "$1" = show ] && printf "first\\nsecond\\n" || true')
    fake(
        tools,
        "blip",
        'echo "env $RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR" >> "$CALLS"\neval "$DO"',
    )
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": "77",
        "SLURM_NTASKS": "2",
        "RECIPE": "base_129m",
        "OUT": str(tmp_path / "out"),
        "DO": "",
    }


def submit(cluster: dict[str, str]) -> tuple[int, list[str]]:
    done = subprocess.run(
        ["bash", SCRIPT], env=cluster, capture_output=True, text=True, check=False
    )
    return done.returncode, Path(cluster["CALLS"]).read_text().splitlines()


def test_a_job_that_was_stopped_is_queued_again(cluster: dict[str, str]) -> None:
    status, calls = submit(cluster)
    assert status == 0
    assert calls[-1] == "scontrol requeue 77"
    assert [call for call in calls if call.startswith("env")] == [
        "env 0/2 0 first",
        "env 1/2 1 first",
    ]
    (command, _) = (call for call in calls if call.startswith("blip"))
    args = parse(shlex.split(command)[1:])
    assert (args.recipe, vars(args)["training.out"]) == ("base_129m", cluster["OUT"])


def test_a_finished_job_is_not(cluster: dict[str, str]) -> None:
    status, calls = submit({**cluster, "DO": 'mkdir -p "$OUT/checkpoint"'})
    assert status == 0
    assert not any("requeue" in call for call in calls)


def test_a_failed_job_is_not(cluster: dict[str, str]) -> None:
    status, calls = submit({**cluster, "DO": "exit 3"})
    assert status == 3
    assert not any("requeue" in call for call in calls)
